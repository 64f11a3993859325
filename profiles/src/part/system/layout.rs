//! The slots and what boots them, found in the settings.

use super::System;
use crate::device::Device;
use crate::grub;
use crate::part::disk::{Disk, Partition};
use crate::spec::Spec;

/// Partitions of one disk, and their numbers.
pub(crate) struct Layout<'a> {
    pub disk: &'a Disk,
    pub bios: &'a Partition,
    pub esp: &'a Partition,
    pub slots: [(usize, &'a Partition); 2],
}

impl System {
    /// `None` where the settings do not say it as `check` wants it.
    pub(crate) fn layout<'a>(&self, spec: &'a Spec) -> Option<Layout<'a>> {
        let [one, other] = self.slots.as_slice() else { return None };
        let Device::Disk { group, .. } = one else { return None };
        let disk = spec.settings.disk.iter().find(|disk| disk.name == *group)?;
        let find = |device: &Device| match device {
            Device::Disk { group, partition } if *group == disk.name => {
                let index = disk.partition.iter().position(|known| known.name == *partition)?;
                Some((index + 1, &disk.partition[index]))
            }
            _ => None,
        };
        let (bios, esp) = (find(self.bios.as_ref()?)?.1, find(self.esp.as_ref()?)?.1);
        Some(Layout { disk, bios, esp, slots: [find(one)?, find(other)?] })
    }
}

impl Layout<'_> {
    /// The GUID of a partition.
    pub fn guid(&self, spec: &Spec, partition: &Partition) -> String {
        self.disk.partition_guid(spec, 0, &partition.name).to_string()
    }

    /// Where a partition is found, whatever the disk is called.
    pub fn path(&self, spec: &Spec, partition: &Partition) -> String {
        format!("/dev/disk/by-partuuid/{}", self.guid(spec, partition))
    }

    /// grub.cfg of the machine's own disk.
    pub fn grub(&self, spec: &Spec) -> String {
        let slots = self.slots.map(|(number, partition)| grub::Slot {
            name: &partition.name,
            number,
            guid: self.guid(spec, partition),
            draft: draft(spec, partition),
        });
        grub::slots(&slots)
    }
}

/// The UUID of a file system in a slot that is not whole yet.
pub(super) fn draft(spec: &Spec, slot: &Partition) -> String {
    spec.uuid(&format!("slot/{}/new", slot.name)).to_string()
}
