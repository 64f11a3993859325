//! What is ours: the GUIDs that a disk of a group, and its partitions, can have.

use super::Disk;
use crate::ask::{Slice, Table};
use crate::facts::Facts;
use crate::inventory::Drive;
use crate::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// How far beyond the settings a slot or generation of ours is still recognised, to be told instead of taken for foreign.
const BEYOND: u32 = 4;

/// What the GUIDs on a disk say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub slot: u32,
    pub generation: u32,
}

/// All GUIDs that a disk of the group can have: those of tables, and of partitions.
#[derive(Default)]
pub(super) struct Marks {
    tables: BTreeMap<String, Mark>,
    partitions: BTreeMap<String, Mark>,
    /// Partitions of the wanted generation, as they are once they are made.
    finished: BTreeSet<String>,
    drafts: BTreeSet<String>,
}

impl Disk {
    pub(super) fn marks(&self, spec: &Spec) -> Marks {
        let wanted = self.generation.unwrap_or(0);
        let mut marks = Marks::default();
        for generation in 0..=wanted + BEYOND {
            let disk = Disk { generation: Some(generation), ..self.clone() };
            for slot in 0..self.count() + BEYOND {
                let mark = Mark { slot, generation };
                marks.tables.insert(disk.guid(spec, slot).to_string(), mark);
                for partition in &self.partition {
                    let guid = disk.partition_guid(spec, slot, &partition.name).to_string();
                    if generation == wanted {
                        marks.finished.insert(guid.clone());
                    }
                    let draft = disk.partition_guid(spec, slot, &format!("{}/new", partition.name)).to_string();
                    marks.drafts.insert(draft.clone());
                    marks.partitions.extend([(guid, mark), (draft, mark)]);
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

    /// A partition of the wanted generation was finished: others may have put something there.
    pub(super) fn finished(&self, table: &Table) -> bool {
        table.partitions.iter().any(|slice| self.finished.contains(&slice.guid))
    }

    /// The slot that a disk has, by what is on it.
    pub(super) fn slot(&self, facts: &Facts, drive: &Drive) -> Option<u32> {
        self.of(facts, drive).map(|mark| mark.slot)
    }

    /// Numbers of partitions that are drafts.
    pub(super) fn drafts(&self, table: &Table) -> Vec<u32> {
        let draft = |slice: &&Slice| self.drafts.contains(&slice.guid);
        table.partitions.iter().filter(draft).map(|slice| slice.number).collect()
    }
}
