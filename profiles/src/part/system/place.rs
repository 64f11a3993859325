//! From where the machine runs now.

use super::System;
use super::layout::Layout;
use crate::ask::Table;
use crate::facts::Facts;
use crate::inventory::{self, Drive};
use crate::spec::Spec;

/// Where / is.
pub(crate) enum Where {
    /// In the slot of this name: as it is to be.
    Slot(String),
    /// On the disk that has the slots, to which the image was written: it stays there.
    InPlace,
    /// On another one: what installs.
    Medium(Box<Medium>),
}

/// What the machine booted from.
pub(crate) struct Medium {
    pub drive: Drive,
    pub table: Table,
}

impl System {
    /// Where / is; `None` where that is not known yet. An error is what was seen instead of a partition at /.
    pub(crate) fn place(&self, spec: &Spec, layout: &Layout, facts: &Facts) -> Result<Option<Where>, String> {
        let Some(drives) = inventory::drives(facts) else { return Ok(None) };
        let holding = drives?.into_iter().find(|drive| drive.holds_root);
        let Some(drive) = holding else { return Err("no disk that holds /".to_owned()) };
        let Some(partition) = &drive.root else { return Err(format!("no partition of {drive} that is mounted at /")) };
        let Some(table) = facts.any_table(&drive.path) else { return Ok(None) };
        let mut slices = table.partitions.iter();
        let root = slices.find(|slice| inventory::partition(&drive.path, slice.number) == *partition);
        let Some(root) = root else { return Err(format!("no partition {partition} in the table of {drive}")) };
        let slot = layout.slots.iter().find(|(_, slot)| layout.guid(spec, slot) == root.guid);
        Ok(Some(match slot {
            Some((_, slot)) => Where::Slot(slot.name.clone()),
            None if layout.disk.selects(&drive) => Where::InPlace,
            None => Where::Medium(Box::new(Medium { table: table.clone(), drive })),
        }))
    }
}
