//! The lower half: disks as they will be, and all that stands on them, from left to right.

use super::board::{Area, Board, Fate, MARGIN};
use super::now::content;
use profiles::act::{Act, Harm};
use profiles::ask::Slice;
use profiles::device::Device;
use profiles::facts::Facts;
use profiles::inventory::{Drive, amount};
use profiles::part::Part;
use profiles::plan::{Plan, Verdict};
use profiles::spec::Spec;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

const WIDTH: f64 = 230.0;
const HEIGHT: f64 = 36.0;
const STEP: f64 = 44.0;
const APART: f64 = 60.0;

/// Where the boxes are that others stand on: partitions by their GUIDs, Parts by their names.
type Places = BTreeMap<String, Area>;

/// Draws all from `top` on, and tells where it ends.
pub fn draw(board: &mut Board, spec: &Spec, plan: &Plan, facts: &Facts, drives: &[Drive], top: f64) -> f64 {
    board.heading("Afterwards", top);
    let mut places = Places::new();
    let mut bottom = top + MARGIN;
    for drive in drives {
        bottom = draw_drive(board, plan, facts, drive, bottom, &mut places);
    }
    bottom = draw_missing(board, spec, bottom, &mut places);
    let parts = spec.parts();
    let storage = storage(&parts);
    for column in storage.chunk_by(|one, next| one.1 == next.1) {
        bottom = bottom.max(draw_column(board, spec, plan, column, top + MARGIN, &mut places));
    }
    bottom
}

/// Parts that are equally far from the disks, each about where it stands on something.
fn draw_column(
    board: &mut Board,
    spec: &Spec,
    plan: &Plan,
    column: &[(&dyn Part, usize)],
    top: f64,
    places: &mut Places,
) -> f64 {
    let mut boxes: Vec<(f64, &dyn Part, usize, Vec<Area>)> = Vec::new();
    for (part, depth) in column {
        let below = stands_on(spec, *part, places);
        let middle = below.iter().map(|area| area.y).sum::<f64>() / below.len().max(1) as f64;
        boxes.push((middle, *part, *depth, below));
    }
    boxes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut end = top;
    for (middle, part, depth, below) in boxes {
        let x = MARGIN + depth as f64 * (WIDTH + APART);
        let area = Area { x, y: middle.max(end), width: WIDTH, height: HEIGHT };
        end = area.y + STEP;
        below.iter().for_each(|from| board.arrow(*from, area));
        board.area(area, fate(plan, &part.name()), &part.name(), &part.about());
        places.insert(part.name(), area);
    }
    end
}

fn draw_drive(board: &mut Board, plan: &Plan, facts: &Facts, drive: &Drive, top: f64, places: &mut Places) -> f64 {
    board.line(&drive.path, MARGIN, top + 12.0);
    board.line(&format!("{}, {}", drive.identity(), amount(drive.size)), MARGIN, top + 26.0);
    let mut y = top + 34.0;
    let before: &[Slice] = facts.any_table(&drive.path).map_or(&[], |table| &table.partitions);
    for slice in later(plan, drive, before) {
        let old = before.iter().find(|old| (old.number, old.first) == (slice.number, slice.first));
        let fate = match old {
            None => Fate::Create,
            Some(old) if old.last < slice.last => Fate::Grow,
            Some(old) if old.guid != slice.guid => Fate::Change,
            Some(_) => Fate::Keep,
        };
        let size = amount((slice.last + 1).saturating_sub(slice.first).saturating_mul(drive.sector));
        let detail = if fate == Fate::Create { size } else { format!("{size} {}", content(drive, &slice, facts)) };
        let area = Area { x: MARGIN, y, width: WIDTH, height: HEIGHT };
        board.area(area, fate, &slice.name, &detail);
        places.insert(slice.guid, area);
        y += STEP;
    }
    y + MARGIN / 2.0
}

/// The partitions that a disk has once the plan is done.
fn later(plan: &Plan, drive: &Drive, before: &[Slice]) -> Vec<Slice> {
    let mut slices = before.to_vec();
    for line in &plan.0 {
        let Verdict::Do(steps) = &line.verdict else { continue };
        for step in steps {
            match &step.act {
                Act::Table { disk, slices: new, .. } if *disk == drive.path => slices = new.clone(),
                Act::Grow { disk, number, last } if *disk == drive.path => {
                    let grown = slices.iter_mut().find(|slice| slice.number == *number);
                    grown.into_iter().for_each(|slice| slice.last = *last);
                }
                _ => {}
            }
        }
    }
    slices
}

/// Partitions that the settings want and no disk has, nor gets.
fn draw_missing(board: &mut Board, spec: &Spec, top: f64, places: &mut Places) -> f64 {
    let mut y = top;
    for disk in &spec.settings.disk {
        for (slot, partition) in disk.slots().flat_map(|slot| disk.partition.iter().map(move |part| (slot, part))) {
            let guid = disk.partition_guid(spec, slot, &partition.name).to_string();
            if let Entry::Vacant(place) = places.entry(guid) {
                let area = Area { x: MARGIN, y, width: WIDTH, height: HEIGHT };
                let detail = format!("of disk {}/{slot}: not there", disk.name);
                board.area(area, Fate::Wait, &partition.name, &detail);
                place.insert(area);
                y += STEP;
            }
        }
    }
    y
}

/// The Parts that stand on disks, each after those that it stands on, with the length of the way to a disk.
fn storage<'a>(parts: &'a [Box<dyn Part + 'a>]) -> Vec<(&'a dyn Part, usize)> {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    // What stands on disks through any number of others is known after as many rounds at most.
    for _ in parts {
        for part in parts {
            let on_disk = part.uses().iter().any(|wish| matches!(wish.device, Device::Disk { .. }));
            let below = below(part.as_ref()).filter_map(|name| depths.get(&name).copied()).max();
            if let Some(depth) = below.or(on_disk.then_some(0)).filter(|_| !part.about().is_empty()) {
                depths.insert(part.name(), depth + 1);
            }
        }
    }
    let parts = parts.iter().map(|part| part.as_ref());
    let mut found: Vec<(&dyn Part, usize)> =
        parts.filter_map(|part| Some((part, *depths.get(&part.name())?))).collect();
    found.sort_by_key(|(_, depth)| *depth);
    found
}

/// The names of those that a Part stands on. The system it only waits for.
fn below(part: &dyn Part) -> impl Iterator<Item = String> {
    part.after().into_iter().filter(|name| name != "system")
}

/// The boxes that a Part stands on.
fn stands_on(spec: &Spec, part: &dyn Part, places: &Places) -> Vec<Area> {
    let uses = part.uses();
    let partitions = uses.iter().filter(|wish| matches!(wish.device, Device::Disk { .. }));
    let paths = partitions.flat_map(|wish| spec.devices(&wish.device));
    let guids = paths.filter_map(|path| path.rsplit('/').next().map(str::to_owned));
    guids.chain(below(part)).filter_map(|key| places.get(&key).copied()).collect()
}

fn fate(plan: &Plan, name: &str) -> Fate {
    let verdict = plan.0.iter().find(|line| line.part == name).map(|line| &line.verdict);
    match verdict {
        None | Some(Verdict::Done) => Fate::Keep,
        Some(Verdict::Wait(_)) => Fate::Wait,
        Some(Verdict::Refuse(_)) => Fate::Refuse,
        Some(Verdict::Do(steps)) if steps.iter().any(|step| matches!(step.harm, Harm::Erases(_))) => Fate::Erase,
        Some(Verdict::Do(_)) => Fate::Change,
    }
}
