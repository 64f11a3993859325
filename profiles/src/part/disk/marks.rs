//! What is ours: the GUIDs that a disk of a group, and its partitions, can have.

use super::{Disk, Partition};
use crate::ask::{Slice, Table};
use crate::facts::Facts;
use crate::inventory::Drive;
use crate::spec::Spec;
use std::collections::BTreeMap;

/// How far beyond the settings a slot or generation of ours is still recognised, to be told instead of taken for foreign.
const BEYOND: u32 = 4;

/// What a GUID on a disk says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub slot: u32,
    pub generation: u32,
    /// It was never finished, so nobody else has put anything there.
    pub draft: bool,
}

/// All GUIDs that a disk of the group can have: those of tables, and of partitions.
#[derive(Default)]
pub(super) struct Marks {
    tables: BTreeMap<String, Mark>,
    partitions: BTreeMap<String, Mark>,
}

impl Disk {
    pub(super) fn marks(&self, spec: &Spec) -> Marks {
        let mut marks = Marks::default();
        for generation in 0..=self.generation.unwrap_or(0) + BEYOND {
            let disk = Disk { generation: Some(generation), ..self.clone() };
            for slot in 0..self.count() + BEYOND {
                let (mark, draft) = (Mark { slot, generation, draft: false }, Mark { slot, generation, draft: true });
                let tables = [(disk.guid(spec, slot), mark), (disk.draft_guid(spec, slot), draft)];
                marks.tables.extend(tables.map(|(guid, mark)| (guid.to_string(), mark)));
                for Partition { name, .. } in &self.partition {
                    let guids = [(name.clone(), mark), (format!("{name}/new"), draft)];
                    let guid = |name: &str| disk.partition_guid(spec, slot, name).to_string();
                    marks.partitions.extend(guids.map(|(name, mark)| (guid(&name), mark)));
                }
            }
        }
        marks
    }
}

impl Marks {
    /// What a disk is, by its table or one of its partitions.
    pub(super) fn of(&self, facts: &Facts, drive: &Drive) -> Option<Mark> {
        let table = facts.any_table(&drive.path)?;
        let of_partition = || table.partitions.iter().find_map(|slice| self.partitions.get(&slice.guid));
        self.tables.get(&table.guid).or_else(of_partition).copied()
    }

    /// The table as a whole is ours, and not only partitions in it.
    pub(super) fn owns(&self, table: &Table) -> bool {
        self.tables.contains_key(&table.guid)
    }

    /// It was finished, as a whole or a partition in it: others may have put something there.
    pub(super) fn finished(&self, table: &Table) -> bool {
        match self.tables.get(&table.guid) {
            Some(mark) => !mark.draft,
            None => {
                table.partitions.iter().any(|slice| self.partitions.get(&slice.guid).is_some_and(|mark| !mark.draft))
            }
        }
    }

    /// All that it has are partitions that were never finished.
    pub(super) fn begun(&self, table: &Table) -> bool {
        table.partitions.iter().all(|slice| self.partitions.get(&slice.guid).is_some_and(|mark| mark.draft))
    }

    /// The slot that a disk has, by what is on it.
    pub(super) fn slot(&self, facts: &Facts, drive: &Drive) -> Option<u32> {
        self.of(facts, drive).map(|mark| mark.slot)
    }

    /// Numbers of partitions that are drafts.
    pub(super) fn drafts(&self, table: &Table) -> Vec<u32> {
        let draft = |slice: &&Slice| self.partitions.get(&slice.guid).is_some_and(|mark| mark.draft);
        table.partitions.iter().filter(draft).map(|slice| slice.number).collect()
    }
}
