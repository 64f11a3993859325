//! The upper half: every disk as it is, as a bar.

use super::board::{Area, Board, Fate, MARGIN};
use profiles::act::{Act, Harm};
use profiles::ask::Slice;
use profiles::facts::Facts;
use profiles::inventory::{self, Drive, amount};
use profiles::plan::{Plan, Verdict};
use profiles::spec::Spec;

const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 36.0;
/// No partition is drawn narrower.
const LEAST: f64 = 46.0;

/// Draws the disks from `top` on, and tells where it ends.
pub fn draw(board: &mut Board, spec: &Spec, plan: &Plan, facts: &Facts, drives: &[Drive], top: f64) -> f64 {
    board.heading("Now", top);
    let mut y = top + MARGIN;
    for drive in drives {
        board.line(&format!("{drive}{}", slot(spec, drive, facts)), MARGIN, y);
        let erased = is_erased(plan, drive);
        let segments = segments(drive, facts);
        let widths = widths(&segments, drive.size);
        let mut x = MARGIN;
        for (segment, width) in segments.iter().zip(widths) {
            let area = Area { x, y: y + 6.0, width, height: HEIGHT };
            let fate = if erased { Fate::Erase } else { Fate::Keep };
            board.area(area, fate, &segment.name, &segment.detail);
            x += width;
        }
        y += HEIGHT + 2.0 * MARGIN;
    }
    y
}

/// A piece of a disk: a partition, or all of it.
struct Segment {
    name: String,
    detail: String,
    bytes: u64,
}

fn segments(drive: &Drive, facts: &Facts) -> Vec<Segment> {
    let Some(table) = facts.any_table(&drive.path) else {
        let name = if drive.content.is_empty() { "blank" } else { &drive.content };
        return vec![Segment { name: name.to_owned(), detail: amount(drive.size), bytes: drive.size }];
    };
    let bytes = |slice: &Slice| (slice.last + 1).saturating_sub(slice.first).saturating_mul(drive.sector);
    let mut segments: Vec<Segment> = table
        .partitions
        .iter()
        .map(|slice| Segment {
            name: if slice.name.is_empty() { format!("partition {}", slice.number) } else { slice.name.clone() },
            detail: format!("{} {}", amount(bytes(slice)), content(drive, slice, facts)),
            bytes: bytes(slice),
        })
        .collect();
    let taken: u64 = segments.iter().map(|segment| segment.bytes).fold(0, u64::saturating_add);
    let free = drive.size.saturating_sub(taken);
    if free > drive.size / 100 {
        segments.push(Segment { name: "free".to_owned(), detail: amount(free), bytes: free });
    }
    segments
}

/// What is on a partition, as far as the machine was asked.
pub fn content(drive: &Drive, slice: &Slice, facts: &Facts) -> String {
    let probe = facts.probe(&inventory::partition(&drive.path, slice.number));
    let kinds = probe.into_iter().flat_map(|probe| &probe.signatures).map(|signature| match &signature.label {
        Some(label) => format!("{} {label:?}", signature.kind),
        None => signature.kind.clone(),
    });
    kinds.collect::<Vec<_>>().join(", ")
}

/// In proportion, as far as all of them can be read.
fn widths(segments: &[Segment], size: u64) -> Vec<f64> {
    let wide: Vec<f64> =
        segments.iter().map(|segment| (segment.bytes as f64 / size.max(1) as f64 * WIDTH).max(LEAST)).collect();
    let over = WIDTH.max(LEAST * segments.len() as f64) / wide.iter().sum::<f64>();
    wide.into_iter().map(|width| width * over).collect()
}

/// The slot whose table is on it.
fn slot(spec: &Spec, drive: &Drive, facts: &Facts) -> String {
    let guid = facts.any_table(&drive.path).map(|table| table.guid.as_str());
    let groups = spec.settings.disk.iter().flat_map(|disk| disk.slots().map(move |slot| (disk, slot)));
    let known = groups.filter(|(disk, slot)| guid == Some(disk.guid(spec, *slot).to_string().as_str()));
    known.map(|(disk, slot)| format!(", {}/{slot}", disk.name)).next().unwrap_or_default()
}

/// Whether the plan writes a new table over what is there.
fn is_erased(plan: &Plan, drive: &Drive) -> bool {
    let steps = plan.0.iter().flat_map(|line| match &line.verdict {
        Verdict::Do(steps) => steps.as_slice(),
        _ => &[],
    });
    let mut tables = steps.filter(|step| matches!(&step.act, Act::Table { disk, .. } if *disk == drive.path));
    tables.any(|step| matches!(step.harm, Harm::Erases(_)))
}
