//! What a person is told of an installation.

use super::install::{Installation, Target};
use crate::part::disk::Partition;
use crate::plan::Verdict;

impl Installation<'_> {
    pub(super) fn was_installed(&self, target: &Target) -> Verdict {
        Verdict::Wait(format!(
            "this system was installed before, in {} on {}: take the medium out and restart, or choose \"Install again\" in the \
             medium's menu",
            target.slot.name, self.drive
        ))
    }

    pub(super) fn unlinked(&self, slot: &Partition) -> Verdict {
        Verdict::Wait(format!("partition {} is not to be seen yet; see `lsblk`", slot.name))
    }

    pub(super) fn foreign(&self, slot: &Partition, words: &str) -> Verdict {
        let path = self.layout.path(self.spec, slot);
        Verdict::refuse(
            format!("partition {} of {}, which has {words}", slot.name, self.drive),
            "nothing there, or what was put there by us",
            format!("look at it; if nobody needs it, free it with `wipefs --all {path}`"),
        )
    }

    pub(super) fn remarks(&self) -> Vec<String> {
        let (Ok(esp), slots) = (self.esp(), self.slots()) else { return Vec::new() };
        let Ok(target) = self.target(&slots, &esp) else { return Vec::new() };
        let mut remarks = vec![format!("from {} to {} of {}", self.medium.drive, target.slot.name, self.drive)];
        let whole = slots.iter().any(|(slot, seen)| slot.name == target.slot.name && self.is_whole(seen, &target.name));
        match self.identity(&slots, &esp, &target) {
            _ if whole => {}
            Ok(kept) => remarks
                .push(format!("the identity of the system in the other slot is taken over: {}", kept.paths.join(", "))),
            Err(why) => remarks.push(format!("the machine gets a new identity: {why}")),
        }
        if self.bios().is_none() {
            remarks.push(format!("a BIOS will not boot from it: its sectors have {} bytes", self.drive.sector));
        }
        remarks
    }
}
