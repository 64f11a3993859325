//! What is wrong with slots before any machine is seen.

use super::{Extent, System};
use crate::device::Device;
use crate::part::disk::{self, Kind, Partition};
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;

/// A Debian system, and the room for its next kernel.
const LEAST: Size = Size(2 << 30);
/// Firmware takes a file system of fewer clusters for another kind of FAT, and does not boot: 512 bytes in each.
const LEAST_ESP: Size = Size(40 << 20);

impl System {
    pub(super) fn findings(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = self.whole();
        findings.extend(self.on_one_disk(spec));
        if !findings.is_empty() {
            return findings;
        }
        // What names no partition is told by the check of all devices.
        let Some(layout) = self.layout(spec) else { return findings };
        let named = |partition: &Partition| layout.disk.partition.iter().position(|known| known.name == partition.name);
        let place = [(layout.bios, "bios", 0, "first"), (layout.esp, "esp", 1, "second")];
        for (partition, key, index, wanted) in place {
            if named(partition) != Some(index) {
                findings.push(Finding::new(
                    &["system", key],
                    format!("{}, which is not the {wanted} partition of disk {}", partition.name, layout.disk.name),
                    format!("its {wanted} partition: the boot loader finds it by its number"),
                    format!("write its [[disk.partition]] as the {wanted} one"),
                ));
            }
        }
        let kinds = [(layout.bios, Kind::Bios, "bios"), (layout.esp, Kind::Esp, "esp")];
        let slots = layout.slots.iter().map(|(_, slot)| (*slot, Kind::Linux, "slots"));
        for (partition, kind, key) in kinds.into_iter().chain(slots) {
            findings.extend(of_kind(partition, kind, key));
        }
        let sizes = layout.slots.iter().map(|(_, slot)| (*slot, LEAST, "slots"));
        for (partition, least, key) in sizes.chain([(layout.esp, LEAST_ESP, "esp")]) {
            findings.extend(large_enough(partition, least, key));
        }
        findings
    }

    /// All keys, or none.
    fn whole(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let given = [("slots", !self.slots.is_empty()), ("esp", self.esp.is_some()), ("bios", self.bios.is_some())];
        let missing: Vec<&str> = given.iter().filter(|(_, given)| !given).map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            findings.push(Finding::new(
                &["system"],
                format!("no {}", missing.join(" and no ")),
                "slots, esp and bios together, or none of them",
                "name partitions of one disk, such as slots = [\"disk:system/root-a\", \"disk:system/root-b\"]",
            ));
        }
        if !self.slots.is_empty() && self.slots.len() != 2 {
            findings.push(Finding::new(
                &["system", "slots"],
                format!("{} of them", self.slots.len()),
                "two: one that the machine runs from, one for the next system",
                "name two partitions of one disk",
            ));
        }
        if self.root == Some(Extent::Rest) && self.has_slots() {
            findings.push(Finding::new(
                &["system", "root"],
                "\"rest\", and slots",
                "slots of the sizes that [[disk.partition]] says",
                "take root out; a last slot may have size = \"rest\"",
            ));
        }
        findings
    }

    fn on_one_disk(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut groups: Vec<String> = Vec::new();
        for wish in self.devices() {
            let keys: Vec<&str> = wish.keys.iter().map(String::as_str).collect();
            match &wish.device {
                Device::Disk { group, .. } if groups.first().is_some_and(|first| first != group) => {
                    let wanted = format!("partitions of one disk: {} is named before", groups[0]);
                    let cure = "name partitions of the same [[disk]]";
                    findings.push(Finding::new(&keys, wish.device.to_string(), wanted, cure));
                }
                Device::Disk { group, .. } => groups.push(group.clone()),
                other => findings.push(Finding::new(
                    &keys,
                    other.to_string(),
                    "a partition, such as disk:system/root-a: a system on LVM, md or ZFS is not supported yet",
                    "give the system partitions of its own",
                )),
            }
        }
        let many = spec.settings.disk.iter().find(|disk| groups.contains(&disk.name) && disk.count() > 1);
        findings.extend(many.map(|disk| {
            Finding::new(
                &["system", "slots"],
                format!("disk {} with count = {}", disk.name, disk.count()),
                "one disk: a system on several is not supported yet",
                "give the system a [[disk]] of its own, without count",
            )
        }));
        findings
    }
}

fn of_kind(partition: &Partition, kind: Kind, key: &str) -> Option<Finding> {
    let name = |kind: Kind| format!("{kind:?}").to_lowercase();
    (partition.kind != kind).then(|| {
        Finding::new(
            &["system", key],
            format!("{}, which has type = \"{}\"", partition.name, name(partition.kind)),
            format!("a partition with type = \"{}\"", name(kind)),
            format!("write type = \"{}\" in its [[disk.partition]]", name(kind)),
        )
    })
}

fn large_enough(partition: &Partition, least: Size, key: &str) -> Option<Finding> {
    let finding = |saw: String, wanted: String| {
        let cure = format!("write size = \"{least}\" or more in its [[disk.partition]]");
        Some(Finding::new(&["system", key], saw, wanted, cure))
    };
    match partition.size {
        disk::Extent::Size(size) if size < least => {
            finding(format!("{}, which has {size}", partition.name), format!("at least {least}"))
        }
        disk::Extent::Rest if key == "esp" => {
            finding(format!("{}, which has size = \"rest\"", partition.name), "a size".to_owned())
        }
        _ => None,
    }
}
