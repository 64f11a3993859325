//! Devices as settings name them, and the graph of Parts that stand on each other.
//!
//! ```text
//! filesystem data --uses--> lv:main/data --offered by--> lv main/data --uses--> … --> disk:system/data
//! ```
//! A reference such as `lv:main/data` leads to the Part that offers it and to paths in /dev that do not depend on the
//! order in which a kernel found its disks.

mod graph;

use crate::problem::nearest;
use crate::spec::Spec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

pub use graph::Use;
pub(crate) use graph::{check, is_ring};

/// A device, written `KIND:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// `disk:GROUP/PARTITION`: that partition of every disk of a group.
    Disk { group: String, partition: String },
    /// `md:NAME`.
    Md(String),
    /// `lv:VG/LV`.
    Lv { vg: String, lv: String },
    /// `luks:NAME`.
    Luks(String),
    /// `zvol:POOL/NAME`; the name may have further `/`.
    Zvol { pool: String, name: String },
}

const KINDS: [&str; 5] = ["disk", "md", "lv", "luks", "zvol"];
const FORMS: &str = "disk:GROUP/PARTITION, md:NAME, lv:VG/LV, luks:NAME or zvol:POOL/NAME";

/// Whether `name` can name what storage is made of: it becomes a part of paths in /dev and of names on disks.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.len() <= 32 && name.chars().all(|c| plain(c) || c == '-' || c == '_')
}

/// What `is_name` wants, in words.
pub const NAME: &str = "a name of a-z, 0-9, - and _, at most 32, that begins with a letter or digit";

impl Device {
    /// Reads `KIND:NAME`; an error tells what was seen, then ", expected " and what was wanted.
    pub fn parse(text: &str) -> Result<Device, String> {
        let (kind, name) = text.split_once(':').unwrap_or(("", text));
        let pair = || name.split_once('/').filter(|(above, below)| is_name(above) && below.split('/').all(is_name));
        let two = || pair().filter(|(_, below)| is_name(below)).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let one = || Some(name.to_owned()).filter(|name| is_name(name));
        let device = match kind {
            "disk" => two().map(|(group, partition)| Device::Disk { group, partition }),
            "md" => one().map(Device::Md),
            "lv" => two().map(|(vg, lv)| Device::Lv { vg, lv }),
            "luks" => one().map(Device::Luks),
            "zvol" => pair().map(|(pool, name)| Device::Zvol { pool: pool.to_owned(), name: name.to_owned() }),
            _ => return Err(Self::of_no_kind(text, kind, name)),
        };
        device.ok_or_else(|| format!("{text:?} names no device, expected {FORMS}, each name {NAME}"))
    }

    fn of_no_kind(text: &str, kind: &str, name: &str) -> String {
        let meant = nearest(kind, KINDS.into_iter()).map(|near| format!("; did you mean \"{near}:{name}\"?"));
        format!("{text:?} names no device{}, expected {FORMS}", meant.unwrap_or_default())
    }

    /// The name of the Part that offers it, such as "disk system" or "lv main/data".
    pub fn part(&self) -> String {
        match self {
            Device::Disk { group, .. } => format!("disk {group}"),
            other => other.to_string().replacen(':', " ", 1),
        }
    }

    /// Its paths on a machine that has `spec`: one, or of a group of disks one for each slot, whether that disk is there
    /// or not. None where the settings have no such group.
    pub fn paths(&self, spec: &Spec) -> Vec<String> {
        match self {
            Device::Disk { group, partition } => {
                let disk = spec.settings.disk.iter().find(|disk| disk.name == *group);
                let slots = disk.into_iter().flat_map(|disk| disk.slots().map(move |slot| (disk, slot)));
                slots
                    .map(|(disk, slot)| format!("/dev/disk/by-partuuid/{}", disk.partition_guid(spec, slot, partition)))
                    .collect()
            }
            Device::Md(name) => vec![format!("/dev/md/{name}")],
            Device::Lv { vg, lv } => vec![format!("/dev/{vg}/{lv}")],
            Device::Luks(name) => vec![format!("/dev/mapper/{name}")],
            Device::Zvol { pool, name } => vec![format!("/dev/zvol/{pool}/{name}")],
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Disk { group, partition } => write!(out, "disk:{group}/{partition}"),
            Device::Md(name) => write!(out, "md:{name}"),
            Device::Lv { vg, lv } => write!(out, "lv:{vg}/{lv}"),
            Device::Luks(name) => write!(out, "luks:{name}"),
            Device::Zvol { pool, name } => write!(out, "zvol:{pool}/{name}"),
        }
    }
}

impl JsonSchema for Device {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "device".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "device",
            "type": "string",
            "pattern": r"^((disk|lv)(:[a-z0-9][a-z0-9_-]*/)|(md|luks):|zvol:([a-z0-9][a-z0-9_-]*/)+)[a-z0-9][a-z0-9_-]*$",
            "examples": ["disk:system/data", "md:boot", "lv:main/data"],
        })
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Device::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        for text in ["disk:system/data", "md:boot", "lv:main/data", "luks:crypt", "zvol:fast/vm", "zvol:fast/vms/a-1"] {
            assert_eq!(Device::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Device::parse("disk:boot/raid").unwrap().part(), "disk boot");
        assert_eq!(Device::parse("zvol:fast/vms/one").unwrap().part(), "zvol fast/vms/one");
    }

    #[test]
    fn what_names_no_device_is_refused_with_the_forms_that_there_are() {
        for text in [
            "",
            "sda",
            "/dev/sda1",
            "disk:a",
            "disk:a/b/c",
            "md:",
            "md:a/b",
            "lv:../x",
            "lv:a/..",
            "disk:A/b",
            "zvol:a",
        ] {
            let error = Device::parse(text).unwrap_err();
            assert!(error.contains(", expected disk:GROUP/PARTITION"), "{text}: {error}");
        }
        assert!(Device::parse("dsk:system/data").unwrap_err().contains("did you mean \"disk:system/data\"?"));
    }
}
