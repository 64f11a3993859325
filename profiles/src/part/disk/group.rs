//! The disks of a group: which they are, which slot each has, and what is to become of each.

use super::Disk;
use super::content::Content;
use super::marks::{Mark, Marks};
use crate::ask::{Consent, Table};
use crate::facts::Facts;
use crate::inventory::{self, Drive};
use crate::plan::{Refusal, Verdict};
use crate::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// A disk of the group.
pub(super) struct Member<'a> {
    pub drive: &'a Drive,
    pub slot: u32,
    pub state: State<'a>,
}

/// What a member is, and so what may become of it.
pub(super) enum State<'a> {
    /// It has our table; all that is on it is ours.
    Ours(&'a Table),
    /// The machine runs from it, and the table is the image's: partitions are added behind the one at /.
    InPlace(&'a Table),
    /// A new table is made on it: nothing is on it, or a table of ours that was never finished.
    Create { why: &'static str },
    /// All that is on it is ERASED, for this reason.
    Erase { has: String, why: String },
}

/// What a look at the group came to.
pub(super) struct Group<'a> {
    pub members: Vec<Member<'a>>,
    /// Slots of a finished group whose disk is not there.
    pub missing: Vec<u32>,
}

impl Disk {
    /// Finds the members; a verdict instead where nothing may be done.
    pub(super) fn group<'a>(&self, spec: &Spec, facts: &'a Facts, drives: &'a [Drive]) -> Result<Group<'a>, Verdict> {
        let meant: Vec<&Drive> = drives.iter().filter(|drive| self.selects(drive)).collect();
        self.apart(spec, &meant)?;
        let marks = self.marks(spec);
        let marked: Vec<(&Drive, Option<Mark>)> = meant.iter().map(|drive| (*drive, marks.of(facts, drive))).collect();
        self.no_slot_twice(&marked)?;
        let finished =
            meant.iter().any(|drive| facts.any_table(&drive.path).is_some_and(|table| marks.finished(table)));
        let missing = self.counted(&marked, finished, facts)?;
        let members = self.slots_given(marked);
        let members = members.into_iter().map(|(drive, slot, mark)| {
            let state = match mark {
                Some(mark) => self.of_ours(facts, drive, mark, &marks),
                None => self.of_others(facts, drive, slot, finished),
            };
            state.map(|state| Member { drive, slot, state })
        });
        Ok(Group { members: members.collect::<Result<_, Refusal>>().map_err(Verdict::Refuse)?, missing })
    }

    /// No disk may be meant by two groups.
    fn apart(&self, spec: &Spec, meant: &[&Drive]) -> Result<(), Verdict> {
        for other in spec.settings.disk.iter().filter(|other| other.name != self.name) {
            if let Some(drive) = meant.iter().find(|drive| other.selects(drive)) {
                return Err(Verdict::refuse(
                    format!("{drive}, which both disk {} and disk {} mean", self.name, other.name),
                    "disks that one rule alone means",
                    format!("narrow `select` of [[disk]] {} or {}, by size or serial", self.name, other.name),
                ));
            }
        }
        Ok(())
    }

    fn no_slot_twice(&self, marked: &[(&Drive, Option<Mark>)]) -> Result<(), Verdict> {
        let mut seen: BTreeMap<u32, &Drive> = BTreeMap::new();
        for (drive, mark) in marked.iter().filter_map(|(drive, mark)| Some((drive, (*mark)?))) {
            if let Some(other) = seen.insert(mark.slot, drive) {
                return Err(Verdict::refuse(
                    format!("two disks that both are {}/{}: {other}, and {drive}", self.name, mark.slot),
                    "one disk for each slot: one of them is a copy, or was away while the other took its place",
                    "take the one out that is not to be kept",
                ));
            }
            if mark.slot >= self.count() {
                return Err(Verdict::refuse(
                    format!("{drive}, which is {}/{}, with count = {}", self.name, mark.slot, self.count()),
                    format!("slots 0 to {}: a group never gets smaller", self.count() - 1),
                    format!("write count = {}, or take that disk out", mark.slot + 1),
                ));
            }
        }
        Ok(())
    }

    /// Whether it is exactly the number that the settings state. In a group that was finished once, disks may be missing
    /// as long as nothing is to be made; the answer is their slots.
    fn counted(&self, marked: &[(&Drive, Option<Mark>)], finished: bool, facts: &Facts) -> Result<Vec<u32>, Verdict> {
        let wanted = (self.count() - self.absent()) as usize;
        if marked.len() == wanted {
            return Ok(Vec::new());
        }
        let known: Vec<u32> = marked.iter().filter_map(|(_, mark)| Some((*mark)?.slot)).collect();
        if finished && known.len() == marked.len() && marked.len() < wanted {
            return Ok(self.slots().filter(|slot| !known.contains(slot)).collect());
        }
        let names: Vec<String> = marked.iter().map(|(drive, _)| drive.to_string()).collect();
        let saw = match names.len() {
            0 => "no disk that matches".to_owned(),
            1 => format!("1 disk that matches: {}", names[0]),
            many => format!("{many} disks that match: {}", names.join("; ")),
        };
        let exact = match self.absent() {
            0 => format!("exactly {wanted}"),
            absent => format!("exactly {wanted}: {} less {absent} that are absent", self.count()),
        };
        Err(Verdict::refuse(saw, exact, self.cure(marked.len() < wanted, facts)))
    }

    fn cure(&self, too_few: bool, facts: &Facts) -> String {
        let rule = format!("`select` of [[disk]] {}", self.name);
        if !too_few && self.absent() > 0 {
            return format!("take `absent` out of [[disk]] {} if all are there now; or narrow {rule}", self.name);
        }
        if !too_few {
            return format!("narrow {rule}, by serial or size; or set count to what is there; or take a disk out");
        }
        match inventory::controllers(facts) {
            hidden if hidden.is_empty() => {
                format!("look at what `firstboot plan` says of each disk, and widen {rule}, or plug in what lacks")
            }
            hidden => format!(
                "a RAID controller hides its disks ({}): switch it to HBA mode (IT mode, non-RAID) in its own setup, so that \
                 each disk is seen with its serial number; or widen {rule}",
                hidden.join(", ")
            ),
        }
    }

    /// Disks of ours keep their slots; the others get the free ones, the disk that the machine runs from first, then in
    /// the order of what they are told apart by.
    fn slots_given<'a>(&self, marked: Vec<(&'a Drive, Option<Mark>)>) -> Vec<(&'a Drive, u32, Option<Mark>)> {
        let taken: BTreeSet<u32> = marked.iter().filter_map(|(_, mark)| Some((*mark)?.slot)).collect();
        let mut free = (0..).filter(|slot| !taken.contains(slot));
        let mut marked = marked;
        marked.sort_by_key(|(drive, _)| (!drive.holds_root, drive.key()));
        let mut members = Vec::new();
        for (drive, mark) in marked {
            members.extend(mark.map(|mark| mark.slot).or_else(|| free.next()).map(|slot| (drive, slot, mark)));
        }
        members.sort_by_key(|(_, slot, _)| *slot);
        members
    }

    fn of_ours<'a>(&self, facts: &'a Facts, drive: &'a Drive, mark: Mark, marks: &Marks) -> Result<State<'a>, Refusal> {
        let (wanted, name) = (self.generation.unwrap_or(0), format!("{}/{}", self.name, mark.slot));
        let Some(table) = facts.any_table(&drive.path) else { return Err(silent(drive)) };
        if !marks.owns(table) {
            return self.in_place(drive, table);
        }
        if mark.generation > wanted {
            return Err(refusal(
                format!("{drive}, which is {name} of generation {}", mark.generation),
                format!("generation {wanted} or lower: a later one is never replaced by an earlier one"),
                format!("write generation = {} in [[disk]] {}", mark.generation, self.name),
            ));
        }
        if mark.generation < wanted {
            idle(drive, &format!("to be remade as generation {wanted}"))?;
            let has = format!("{name} of generation {}", mark.generation);
            return Ok(State::Erase { has, why: format!("the settings have generation {wanted}") });
        }
        if !mark.draft && table.primary {
            return Ok(State::Ours(table));
        }
        let Some(content) = Content::of(drive, facts) else { return Err(silent(drive)) };
        // Somebody made something of a disk that was ours: only the table's copy at the end is left.
        if !table.primary && content.signatures().next().is_some() {
            return self.foreign(drive, &content);
        }
        match mark.draft {
            true => begun(drive, table, &content, marks),
            false if table.partitions.is_empty() => Err(lost(drive, &name)),
            false => Ok(State::Ours(table)),
        }
    }

    /// A disk without any GUID of ours.
    fn of_others<'a>(
        &self,
        facts: &'a Facts,
        drive: &'a Drive,
        slot: u32,
        finished: bool,
    ) -> Result<State<'a>, Refusal> {
        if drive.holds_root {
            let table = facts.table(&drive.path).ok_or_else(|| silent(drive))?;
            return self.in_place(drive, table);
        }
        let Some(content) = Content::of(drive, facts) else { return Err(silent(drive)) };
        let name = format!("{}/{slot}", self.name);
        if finished && !facts.allows(&Consent::Replace(name.clone())) {
            return Err(refusal(
                format!("{drive}, which is new, while {name} is missing"),
                "a word that the missing disk does not come back".to_owned(),
                format!("`firstboot replace {name}` gives its place to the new disk; or plug the missing one in"),
            ));
        }
        if content.is_blank() {
            return Ok(State::Create { why: "nothing is on it" });
        }
        self.foreign(drive, &content)
    }

    fn foreign<'a>(&self, drive: &'a Drive, content: &Content) -> Result<State<'a>, Refusal> {
        let (has, allowed) = (content.shown(), format!("foreign:{}", content.fingerprint()));
        idle(drive, "to be erased")?;
        let told = content.is_told_apart();
        if told && self.erase.contains(&allowed) {
            return Ok(State::Erase { has, why: format!("`erase` has {allowed}") });
        }
        let by_hand = format!(
            "nothing tells it from another: to ERASE it, `wipefs --all {0}` and `blkdiscard -z {0}`",
            drive.path
        );
        let written = format!("to ERASE all of it, write erase = [\"{allowed}\"] in [[disk]] {}", self.name);
        Err(refusal(
            format!("{drive}, which has {has}"),
            "a disk with nothing on it, or one of ours".to_owned(),
            format!("take the disk out; or, {}", if told { written } else { by_hand }),
        ))
    }

    /// The disk that the machine runs from is never given a new table.
    fn in_place<'a>(&self, drive: &'a Drive, table: &'a Table) -> Result<State<'a>, Refusal> {
        if !drive.holds_root {
            return Err(refusal(
                format!("{drive}, which has partitions of ours behind those of an image, and is not the disk of /"),
                "a disk with nothing on it, or the one that the machine booted from".to_owned(),
                "boot from it; or take it out".to_owned(),
            ));
        }
        if self.generation.unwrap_or(0) > 0 {
            return Err(refusal(
                format!("{drive}, which the machine runs from"),
                "a generation that needs no new table on it".to_owned(),
                format!("take generation out of [[disk]] {}; write a new image to the disk to begin anew", self.name),
            ));
        }
        Ok(State::InPlace(table))
    }
}

/// A disk whose partitions were never finished: its table is written anew, unless it is as it should be.
fn begun<'a>(drive: &Drive, table: &'a Table, content: &Content, marks: &Marks) -> Result<State<'a>, Refusal> {
    let inside = |lba: u64| table.partitions.iter().any(|slice| (slice.first..=slice.last).contains(&lba));
    let traces = content.signatures().any(|signature| !inside(signature.offset / table.sector));
    let whole = table.primary && table.backup == table.sectors - 1 && marks.begun(table);
    if whole && !traces {
        return Ok(State::Ours(table));
    }
    idle(drive, "to be given a table")?;
    Ok(State::Create { why: "writing its table was cut off" })
}

fn lost(drive: &Drive, name: &str) -> Refusal {
    refusal(
        format!("{drive}, which is {name}, with both of its partition tables damaged"),
        "at least one whole table: its partitions may hold data".to_owned(),
        "look for a copy of it (`sgdisk --load-backup`) or at the disk with `gdisk`; or take the disk out, and replace it".to_owned(),
    )
}

fn refusal(saw: String, wanted: String, cure: String) -> Refusal {
    Refusal { saw, wanted, cure }
}

fn silent(drive: &Drive) -> Refusal {
    refusal(
        format!("{drive}, which does not answer"),
        "a disk that can be read".to_owned(),
        "see `firstboot facts` and `journalctl -k` for its errors; a disk that dies is taken out, and its slot replaced".to_owned(),
    )
}

/// Nothing on the disk is in use.
fn idle(drive: &Drive, what: &str) -> Result<(), Refusal> {
    if drive.users.is_empty() {
        return Ok(());
    }
    Err(refusal(
        format!("{drive}, {what}, and in use: {}", drive.users.join(", ")),
        "a disk that nothing uses: the one that the machine runs from is never erased".to_owned(),
        "stop what uses it, and unmount it; or boot from another medium".to_owned(),
    ))
}
