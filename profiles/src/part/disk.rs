//! `[[disk]]`: disks of the machine, chosen by a rule, and the partitions that they get.
//!
//! All disks that one `[[disk]]` chooses are a group: they have the same partitions, and numbers from 0, their slots.

mod check;
mod content;
mod group;
mod layout;
mod marks;
mod select;
mod work;

use super::Part;
use crate::ask::Ask;
use crate::device::Device;
use crate::facts::Facts;
use crate::inventory::{self, Bus};
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::ops::Range;
use uuid::Uuid;

/// Disks of the machine, chosen by a rule, and the partitions that they get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Disk {
    /// What they are called in device names such as `disk:system/data`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// Which disks are meant: all rules that are given must hold. A file that adds to a profile's disk may leave it out.
    #[serde(default)]
    pub select: Selector,
    /// How many disks the rules must match. With more or fewer nothing is touched. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How many of them are not there yet: arrays on them are made without these members. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<u32>,
    /// Raised by one, all disks of this group that were made by a lower one are ERASED and made anew. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// What of others may be ERASED: `foreign:FINGERPRINT`, as the refusal of that very disk has told it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^foreign:[0-9a-f]{16}$")))]
    pub erase: Vec<String>,
    /// The partitions, in their order on the disk.
    #[serde(default)]
    pub partition: Vec<Partition>,
}

/// Rules for disks; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Selector {
    /// How they are attached: one of these. "scsi" are SCSI disks that are none of the others, such as virtual ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bus: Vec<Bus>,
    /// Whether they turn (hard disks) or not (SSDs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// The least size. A "240 GB" disk has about 223G.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_min: Option<Size>,
    /// The greatest size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_max: Option<Size>,
    /// The serial number, as `firstboot plan` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The World Wide Name, as `firstboot plan` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The model, or its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where it is plugged in: a name below /dev/disk/by-path, without that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One partition of each disk of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Partition {
    /// What it is called in device names such as `disk:system/data`, and in the partition table.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// How large it is, or "rest": all that the others leave.
    pub size: Extent,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The boot loader's second half, for BIOS.
    Bios,
    /// The EFI system partition.
    Esp,
    /// A file system.
    Linux,
    /// A physical volume of LVM.
    Lvm,
    /// A member of an array.
    Raid,
    /// A member of a pool.
    Zfs,
    /// Swap space.
    Swap,
    /// An encrypted device.
    Luks,
}

/// The size of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Size(Size),
    Rest,
}

impl Extent {
    pub fn size(self) -> Option<Size> {
        match self {
            Extent::Size(size) => Some(size),
            Extent::Rest => None,
        }
    }
}

impl JsonSchema for Extent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "extent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let examples = ["64M", "8G", "rest"];
        json_schema!({"title": "size or \"rest\"", "type": "string", "pattern": "^([0-9]+[KMGT]?|rest)$", "examples": examples})
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Extent::Size(size) => size.serialize(serializer),
            Extent::Rest => serializer.serialize_str("rest"),
        }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "rest" => Ok(Extent::Rest),
            size => Size::parse(size).map(Extent::Size).map_err(|error| {
                serde::de::Error::custom(format!("{error}, or as \"rest\" for all that the others leave"))
            }),
        }
    }
}

/// What every table keeps free at each end of the disk, and what partitions are aligned to.
const ALIGN: u64 = 1 << 20;

impl Disk {
    /// How many disks are in the group, those that are absent included.
    pub fn count(&self) -> u32 {
        self.count.unwrap_or(1)
    }

    pub fn absent(&self) -> u32 {
        self.absent.unwrap_or(0)
    }

    pub fn slots(&self) -> Range<u32> {
        0..self.count()
    }

    /// The GUID of the table of a slot's disk: how a disk is known as ours.
    pub fn guid(&self, spec: &Spec, slot: u32) -> Uuid {
        spec.uuid(&path(&self.name, self.generation.unwrap_or(0), slot))
    }

    /// The GUID of that table until all its partitions are finished. (No name has a dot: it is no partition's.)
    fn draft_guid(&self, spec: &Spec, slot: u32) -> Uuid {
        spec.uuid(&format!("{}.new", path(&self.name, self.generation.unwrap_or(0), slot)))
    }

    /// The GUID of one partition of a slot's disk (PARTUUID), once it is made.
    pub fn partition_guid(&self, spec: &Spec, slot: u32, partition: &str) -> Uuid {
        spec.uuid(&format!("{}/{partition}", path(&self.name, self.generation.unwrap_or(0), slot)))
    }

    /// Bytes that the partitions of fixed size take.
    fn fixed(&self) -> u64 {
        let sizes = self.partition.iter().filter_map(|partition| partition.size.size());
        sizes.fold(0, |sum, size| sum.saturating_add(size.0.next_multiple_of(ALIGN)))
    }
}

/// What a slot's GUIDs are made from.
fn path(name: &str, generation: u32, slot: u32) -> String {
    match generation {
        0 => format!("disk/{name}/{slot}"),
        _ => format!("disk/{name}.{generation}/{slot}"),
    }
}

impl Part for Disk {
    fn name(&self) -> String {
        format!("disk {}", self.name)
    }

    fn after(&self) -> Vec<String> {
        vec!["node".to_owned()]
    }

    fn offers(&self) -> Vec<Device> {
        let device =
            |partition: &Partition| Device::Disk { group: self.name.clone(), partition: partition.name.clone() };
        self.partition.iter().map(device).collect()
    }

    fn least(&self, device: &Device, _: &Spec, _: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        let Device::Disk { partition, .. } = device else { return None };
        match self.partition.iter().find(|known| known.name == *partition)?.size {
            Extent::Size(size) => Some(size),
            Extent::Rest => Some(Size(self.select.size_min?.0.checked_sub(self.fixed() + 2 * ALIGN)?)),
        }
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["util-linux", "udev"]
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        self.findings()
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = inventory::asks(facts);
        asks.push(Ask::Consent);
        let drives = inventory::drives(facts).and_then(Result::ok).unwrap_or_default();
        let marks = self.marks(spec);
        asks.extend(drives.iter().map(|drive| Ask::Gpt(drive.path.clone())));
        for drive in drives.iter().filter(|drive| self.selects(drive)) {
            let drafts = facts.any_table(&drive.path).map_or(Vec::new(), |table| marks.drafts(table));
            asks.extend(drafts.into_iter().map(|number| Ask::Probe(inventory::partition(&drive.path, number))));
            // A whole disk of ours is looked at by those who have something on it.
            let whole = facts.table(&drive.path).is_some_and(|table| marks.finished(table));
            if facts.knows(&Ask::Gpt(drive.path.clone())) && !whole && !drive.holds_root {
                asks.extend(drive.partitions.iter().cloned().map(Ask::Probe));
                asks.push(Ask::Probe(drive.path.clone()));
            }
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        match self.look(spec, facts) {
            Ok(works) => Verdict::from_steps(work::steps(works)),
            Err(verdict) => verdict,
        }
    }

    fn notes(&self, spec: &Spec, facts: &Facts) -> Vec<String> {
        match (self.look(spec, facts), inventory::drives(facts)) {
            (Ok(works), _) => works.into_iter().map(|work| work.note).collect(),
            (Err(Verdict::Refuse(_)), Some(Ok(drives))) => self.candidates(spec, facts, &drives),
            _ => Vec::new(),
        }
    }
}
