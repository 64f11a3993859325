//! What is done to each disk of a group, and what is said of it.
//!
//! ```text
//! table with draft GUIDs --> zeros at both ends of each draft --> table with final GUIDs
//! ```
//! Others find a partition by its final GUID alone: so what they find in it, they put there themselves. First all disks
//! of a group get their tables, then any of them is finished: so one whose mate is finished and that has no table is a
//! new disk, and not one that a power cut has left out.

use super::Disk;
use super::group::{Member, State};
use super::layout::{Changes, Piece, Room, compare};
use crate::act::{Act, Step};
use crate::ask::{Slice, Table};
use crate::facts::Facts;
use crate::inventory::{self, Drive, amount};
use crate::part::system;
use crate::plan::{Refusal, Verdict};
use crate::spec::Spec;

/// What is done to one disk, and a line about it.
pub(super) struct Work {
    pub note: String,
    /// New tables; those of all disks come first.
    tables: Vec<Step>,
    steps: Vec<Step>,
}

impl Work {
    fn has_steps(&self) -> bool {
        !self.tables.is_empty() || !self.steps.is_empty()
    }
}

/// All steps of a group, in their order.
pub(super) fn steps(works: Vec<Work>) -> Vec<Step> {
    let (tables, steps): (Vec<_>, Vec<_>) = works.into_iter().map(|work| (work.tables, work.steps)).unzip();
    tables.into_iter().chain(steps).flatten().collect()
}

impl Disk {
    /// What is to be done to each disk of the group.
    pub(super) fn look(&self, spec: &Spec, facts: &Facts) -> Result<Vec<Work>, Verdict> {
        if spec.node.is_none() {
            return Err(Verdict::Wait("disks belong to a node; this image is none yet".to_owned()));
        }
        let drives = match inventory::drives(facts) {
            None => return Err(Verdict::Wait("lsblk does not answer; see `firstboot facts`".to_owned())),
            Some(Err(saw)) => return Err(Verdict::refuse(saw, "a list of disks", "see `firstboot facts`")),
            Some(Ok(drives)) => drives,
        };
        let group = self.group(spec, facts, &drives)?;
        let work = |member: &Member| self.work(spec, facts, member).map_err(Verdict::Refuse);
        let mut works: Vec<Work> = group.members.iter().map(work).collect::<Result<_, _>>()?;
        if let Some(slot) = group.missing.first().filter(|_| works.iter().any(Work::has_steps)) {
            return Err(self.incomplete(*slot));
        }
        let missing = |slot: &u32| format!("MISSING {}/{slot}: no disk carries its mark", self.name);
        let missing = group.missing.iter().map(missing);
        works.extend(missing.map(|note| Work { note, tables: Vec::new(), steps: Vec::new() }));
        Ok(works)
    }

    /// Disks may be missing from a finished group only as long as nothing is to be done.
    fn incomplete(&self, slot: u32) -> Verdict {
        Verdict::refuse(
            format!("a change of disk {}, and no disk {}/{slot}", self.name, self.name),
            format!("all {} disks, before any of them is changed", self.count() - self.absent()),
            format!("plug it in; or put a new disk in its place, and run `firstboot replace {}/{slot}`", self.name),
        )
    }

    fn work(&self, spec: &Spec, facts: &Facts, member: &Member) -> Result<Work, Refusal> {
        let Member { drive, slot, state } = member;
        let name = format!("{}/{slot}", self.name);
        match state {
            State::Create { why } => {
                let note = format!("create  {drive}: {name}; {why}");
                self.create(spec, member, Step::new, why).map(|(tables, steps)| Work { note, tables, steps })
            }
            State::Erase { has, why } => {
                let note = format!("ERASE   {drive}: {name}; has {has}; {why}");
                let erases = |act, why: String| Step::new(act, why).erases(drive.identity());
                self.create(spec, member, erases, why).map(|(tables, steps)| Work { note, tables, steps })
            }
            State::Ours(table) => self.extend(spec, facts, member, table, 0, 0),
            State::InPlace(table) => self.behind_root(spec, facts, member, table),
        }
    }

    /// A new table on the whole disk. The first list of steps makes it, the second finishes it.
    fn create(
        &self,
        spec: &Spec,
        member: &Member,
        step: impl Fn(Act, String) -> Step,
        why: &str,
    ) -> Result<(Vec<Step>, Vec<Step>), Refusal> {
        let (drive, slot) = (member.drive, member.slot);
        let pieces = self.pieces(spec, slot, 0);
        let room = Room { sector: drive.sector, sectors: drive.size / drive.sector.max(1) };
        let slices = room.fresh(&pieces).map_err(|refusal| of(drive, refusal))?;
        let (guid, draft) = (self.guid(spec, slot).to_string(), self.draft_guid(spec, slot).to_string());
        let act = Act::Table { disk: drive.path.clone(), guid: draft, slices: slices.clone(), fresh: true };
        let table = step(act, format!("{}/{slot}; {why}", self.name));
        let mut steps: Vec<Step> = slices.iter().map(|slice| blank(drive, slice)).collect();
        steps.push(finish(drive, &guid, slices, &pieces));
        Ok((vec![table], steps))
    }

    /// The disk that the machine runs from: partitions behind the root file system's slot.
    fn behind_root(&self, spec: &Spec, facts: &Facts, member: &Member, table: &Table) -> Result<Work, Refusal> {
        let drive = member.drive;
        let pieces = self.pieces(spec, member.slot, 1);
        let mine = |slice: &Slice| pieces.iter().any(|piece| [&piece.guid, &piece.draft].contains(&&slice.guid));
        let own = table.partitions.iter().take_while(|slice| !mine(slice)).count();
        let Some(root) = own.checked_sub(1).and_then(|index| table.partitions.get(index)) else {
            return Err(of(drive, no_root()));
        };
        let pieces = self.pieces(spec, member.slot, own);
        let system = spec.settings.system.clone().unwrap_or_default();
        if system.root == Some(system::Extent::Rest) && !pieces.is_empty() {
            return Err(of(drive, greedy(&pieces)));
        }
        // Where the settings name the image's own partitions too, the third one is its root.
        let named = self.partition.len() > pieces.len();
        let third = self.partition.get(2).filter(|_| named).and_then(|root| root.size.size());
        let slot = third.map_or(system.slot_size(), |size| size.max(system.slot_size()));
        self.extend(spec, facts, member, table, own, root.first + slot.0 / table.sector - 1)
    }

    /// A table that is there: what lacks is added, what is too small grows, what is a draft is finished.
    fn extend(
        &self,
        spec: &Spec,
        facts: &Facts,
        member: &Member,
        table: &Table,
        own: usize,
        reserved: u64,
    ) -> Result<Work, Refusal> {
        let drive = member.drive;
        let pieces = self.pieces(spec, member.slot, own);
        let changes = compare(table, &pieces, own, reserved).map_err(|refusal| of(drive, refusal))?;
        let (mut steps, mut told) = (Vec::new(), String::new());
        let grows = changes.grown.is_some() || !changes.added.is_empty();
        let mut push = |step: Step| {
            told += &format!("; {}", step.why);
            steps.push(step);
        };
        if let Some(why) = damage(drive, table, own, &changes) {
            push(set(drive, &table.guid, table.partitions.clone(), why));
        }
        let mut slices = table.partitions.clone();
        for slice in &mut slices {
            if let Some((_, last)) = changes.grown.filter(|(number, _)| *number == slice.number) {
                push(grow(drive, table, slice, last));
            }
        }
        if !changes.added.is_empty() {
            slices.extend(changes.added.iter().cloned());
            let names: Vec<&str> = changes.added.iter().map(|slice| slice.name.as_str()).collect();
            push(set(drive, &table.guid, slices.clone(), &format!("it gets {}", names.join(", "))));
        }
        let drafts: Vec<&Slice> =
            slices.iter().filter(|slice| pieces.iter().any(|piece| piece.draft == slice.guid)).collect();
        for slice in &drafts {
            let probe = facts.probe(&inventory::partition(&drive.path, slice.number));
            if !probe.is_some_and(|probe| probe.blank && probe.signatures.is_empty()) {
                steps.push(blank(drive, slice));
            }
        }
        if !drafts.is_empty() {
            // The table of an image keeps its own.
            let guid = if own == 0 { self.guid(spec, member.slot).to_string() } else { table.guid.clone() };
            steps.push(finish(drive, &guid, slices.clone(), &pieces));
        }
        if told.is_empty() && !drafts.is_empty() {
            told = "; it was not finished".to_owned();
        }
        let names: Vec<&str> = table.partitions.iter().map(|slice| slice.name.as_str()).collect();
        let fate = if grows || !drafts.is_empty() { "grow  " } else { "keep  " };
        let note = format!("{fate}  {drive}: {}/{}; has {}{told}", self.name, member.slot, names.join(", "));
        Ok(Work { note, tables: Vec::new(), steps })
    }
}

/// Why a table is to be written again as it is. The second one of an image is left to those who grow its root.
fn damage(drive: &Drive, table: &Table, own: usize, changes: &Changes) -> Option<&'static str> {
    let known = |slice: &Slice| drive.partitions.contains(&inventory::partition(&drive.path, slice.number));
    if !table.primary {
        return Some("its first table is damaged, the second one is whole");
    }
    if !table.partitions.iter().all(known) {
        return Some("the kernel does not have all of its partitions");
    }
    let rewritten = own > 0 || changes.grown.is_some() || !changes.added.is_empty();
    let moved = table.backup != table.sectors - 1;
    (moved && !rewritten).then_some("its second table is missing, or not at the disk's end")
}

/// The table with these slices, on a disk that may be in use.
fn set(drive: &Drive, guid: &str, slices: Vec<Slice>, why: &str) -> Step {
    Step::new(Act::Table { disk: drive.path.clone(), guid: guid.to_owned(), slices, fresh: false }, why)
}

fn blank(drive: &Drive, slice: &Slice) -> Step {
    let act = Act::Blank { device: inventory::partition(&drive.path, slice.number) };
    Step::new(act, format!("{} is new: what was there before is nobody's", slice.name))
}

/// The same table with the final GUIDs of all that was a draft.
fn finish(drive: &Drive, guid: &str, mut slices: Vec<Slice>, pieces: &[Piece]) -> Step {
    for slice in &mut slices {
        if let Some(piece) = pieces.iter().find(|piece| piece.draft == slice.guid) {
            slice.guid = piece.guid.clone();
        }
    }
    set(drive, guid, slices, "its new partitions are empty: from now on they are found by their own GUIDs")
}

fn grow(drive: &Drive, table: &Table, slice: &mut Slice, last: u64) -> Step {
    let size = |last: u64| amount((last + 1 - slice.first) * table.sector);
    let why = format!("{} grows from {} to {}", slice.name, size(slice.last), size(last));
    slice.last = last;
    Step::new(Act::Grow { disk: drive.path.clone(), number: slice.number, last }, why)
}

/// A refusal about this very disk.
fn of(drive: &Drive, refusal: Refusal) -> Refusal {
    Refusal { saw: format!("{drive}: {}", refusal.saw), ..refusal }
}

fn no_root() -> Refusal {
    Refusal {
        saw: "a table without the partition of /".to_owned(),
        wanted: "the one that the image was built with".to_owned(),
        cure: "look at it with `sfdisk --dump`".to_owned(),
    }
}

fn greedy(pieces: &[Piece]) -> Refusal {
    let names: Vec<&str> = pieces.iter().map(|piece| piece.partition.name.as_str()).collect();
    Refusal {
        saw: "the root file system takes the rest of this disk (root = \"rest\")".to_owned(),
        wanted: format!("room behind it for {}", names.join(", ")),
        cure: "write root = \"slot\" in [system], or select another disk".to_owned(),
    }
}
