//! Devices as settings name them, and the graph of Parts that stand on each other.
//!
//! ```text
//! filesystem data --uses--> lv:main/data --offered by--> lv main/data --uses--> … --> disk:system/data
//! ```
//! A reference such as `lv:main/data` leads to the Part that offers it and to paths in /dev that do not depend on the
//! order in which a kernel found its disks.

use crate::part::Part;
use crate::problem::{Finding, nearest};
use crate::size::Size;
use crate::spec::Spec;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

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

/// A device that a Part stands on, and the keys of the setting that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub device: Device,
    pub keys: Vec<String>,
}

impl Use {
    pub fn new(device: &Device, keys: &[&str]) -> Self {
        Use { device: device.clone(), keys: keys.iter().map(|key| key.to_string()).collect() }
    }
}

/// How deep things may stand on each other: the answer to a ring is "unknown".
const DEPTH: u32 = 16;

impl Spec {
    /// The paths of a device; see `Device::paths`.
    pub fn devices(&self, device: &Device) -> Vec<String> {
        device.paths(self)
    }

    /// The least size that (each of) `device` has on any machine that the settings let in; `None` where they do not say.
    pub fn least(&self, device: &Device) -> Option<Size> {
        self.least_within(device, DEPTH)
    }

    fn least_within(&self, device: &Device, depth: u32) -> Option<Size> {
        let (name, depth) = (device.part(), depth.checked_sub(1)?);
        let part = self.parts().into_iter().find(|part| part.name() == name)?;
        part.least(device, &|below| self.least_within(below, depth))
    }
}

/// What is wrong with the graph of all Parts: devices that nobody offers, that two stand on, or that stand on themselves.
pub(crate) fn check(parts: &[Box<dyn Part + '_>]) -> Vec<Finding> {
    let offered: Vec<String> = parts.iter().flat_map(|part| part.offers()).map(|device| device.to_string()).collect();
    let mut users: BTreeMap<Device, String> = BTreeMap::new();
    let mut findings = Vec::new();
    for part in parts {
        for wish in part.uses() {
            findings.extend(unknown(&wish, &offered));
            if let Some(other) = users.insert(wish.device.clone(), part.name()) {
                findings.push(found(
                    &wish,
                    format!("{}, which {other} stands on already", wish.device),
                    "a device that nothing else stands on",
                ));
            }
        }
    }
    let above: BTreeMap<String, Vec<Use>> = parts.iter().map(|part| (part.name(), part.uses())).collect();
    let after: BTreeMap<String, Vec<String>> = parts.iter().map(|part| (part.name(), part.after())).collect();
    for (name, wish) in above.iter().flat_map(|(name, uses)| uses.iter().map(move |wish| (name, wish))) {
        if let Some(ring) = way(&after, &wish.device.part(), name) {
            let saw = format!("{}, which stands on {name} itself ({})", wish.device, ring.join(" on "));
            findings.push(found(wish, saw, "devices that end at a disk"));
            return findings;
        }
    }
    findings
}

fn found(wish: &Use, saw: String, wanted: &str) -> Finding {
    Finding { keys: wish.keys.clone(), saw, wanted: wanted.to_owned(), cure: "name another device".to_owned() }
}

fn unknown(wish: &Use, offered: &[String]) -> Option<Finding> {
    let device = wish.device.to_string();
    if offered.contains(&device) {
        return None;
    }
    let cure = match nearest(&device, offered.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("define {}", wish.device.part()),
    };
    let known = if offered.is_empty() { "none is defined yet".to_owned() } else { offered.join(", ") };
    Some(Finding { keys: wish.keys.clone(), saw: format!("no {device}"), wanted: format!("one of: {known}"), cure })
}

/// A way from one Part down to another through what each comes after.
fn way(after: &BTreeMap<String, Vec<String>>, from: &str, to: &str) -> Option<Vec<String>> {
    fn walk(after: &BTreeMap<String, Vec<String>>, path: &mut Vec<String>, seen: &mut Vec<String>, to: &str) -> bool {
        let Some(last) = path.last().cloned() else { return false };
        if last == to {
            return true;
        }
        for next in after.get(&last).into_iter().flatten() {
            if !seen.contains(next) {
                seen.push(next.clone());
                path.push(next.clone());
                if walk(after, path, seen, to) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }
    let mut path = vec![from.to_owned()];
    let mut seen = path.clone();
    walk(after, &mut path, &mut seen, to).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Ask;
    use crate::facts::Facts;
    use crate::plan::Verdict;

    /// What makes one device of others.
    struct Made {
        of: Vec<Device>,
        offers: Device,
    }

    impl Part for Made {
        fn name(&self) -> String {
            self.offers.part()
        }

        fn uses(&self) -> Vec<Use> {
            self.of.iter().map(|device| Use::new(device, &["md", "of"])).collect()
        }

        fn offers(&self) -> Vec<Device> {
            vec![self.offers.clone()]
        }

        fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
            Vec::new()
        }

        fn plan(&self, _: &Spec, _: &Facts) -> Verdict {
            Verdict::Done
        }
    }

    /// What is found wrong with devices that are made of others.
    fn findings(all: &[(&str, &[&str])]) -> Vec<String> {
        let device = |text: &&str| Device::parse(text).unwrap();
        let made = |(offers, of): &(&str, &[&str])| {
            let part = Made { of: of.iter().map(device).collect(), offers: device(offers) };
            Box::new(part) as Box<dyn Part>
        };
        let parts: Vec<Box<dyn Part>> = all.iter().map(made).collect();
        check(&parts)
            .into_iter()
            .map(|finding| format!("{}; {}; {}", finding.saw, finding.wanted, finding.cure))
            .collect()
    }

    #[test]
    fn devices_that_nobody_offers_that_two_want_or_that_stand_on_themselves_are_told() {
        assert_eq!(findings(&[("disk:a/b", &[]), ("md:x", &["disk:a/b"]), ("lv:v/l", &["md:x"])]), [""; 0]);
        assert_eq!(
            findings(&[("md:boot", &[]), ("luks:x", &["md:bot"])]),
            ["no md:bot; one of: md:boot, luks:x; did you mean \"md:boot\"?"]
        );
        assert_eq!(
            findings(&[("md:x", &[]), ("lv:v/a", &["md:x"]), ("lv:v/b", &["md:x"])]),
            ["md:x, which lv v/a stands on already; a device that nothing else stands on; name another device"]
        );
        assert_eq!(
            findings(&[("md:x", &["luks:y"]), ("luks:y", &["md:x"])]),
            ["md:x, which stands on luks y itself (md x on luks y); devices that end at a disk; name another device"]
        );
        assert_eq!(findings(&[("md:x", &["md:x"])]).len(), 1);
    }

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
