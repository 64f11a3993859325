//! The graph of Parts that stand on each other: what is wrong with it, and what follows from it.

use super::Device;
use crate::ask::Ask;
use crate::facts::Facts;
use crate::part::Part;
use crate::part::disk::Kind;
use crate::plan::Verdict;
use crate::problem::{Finding, nearest};
use crate::size::Size;
use crate::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

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

    /// Whether any Part offers this device.
    pub(crate) fn offers(&self, device: &Device) -> bool {
        self.parts().iter().any(|part| part.offers().contains(device))
    }

    /// The least size that (each of) `device` has on any machine that the settings let in; `None` where they do not say.
    pub fn least(&self, device: &Device) -> Option<Size> {
        self.least_within(device, DEPTH)
    }

    fn least_within(&self, device: &Device, depth: u32) -> Option<Size> {
        let (name, depth) = (device.part(), depth.checked_sub(1)?);
        let part = self.parts().into_iter().find(|part| part.name() == name)?;
        part.least(device, self, &|below| self.least_within(below, depth))
    }

    /// All that the Part of this name comes after, and what those come after.
    fn below(&self, name: &str) -> Vec<Box<dyn Part + '_>> {
        let mut parts: Vec<Option<Box<dyn Part>>> = self.parts().into_iter().map(Some).collect();
        let mut open = vec![name.to_owned()];
        let mut below = Vec::new();
        while let Some(name) = open.pop() {
            let found = parts.iter_mut().find(|part| part.as_ref().is_some_and(|part| part.name() == name));
            if let Some(part) = found.and_then(Option::take) {
                open.extend(part.after());
                below.push(part);
            }
        }
        below
    }

    /// What has to be asked to know whether the Part of this name, and all that it comes after, is done.
    pub(crate) fn asks_below(&self, name: &str, facts: &Facts) -> Vec<Ask> {
        self.below(name).iter().flat_map(|part| part.asks(self, facts)).collect()
    }

    /// The Part of this name, and all that it comes after, has nothing left to do.
    pub(crate) fn is_settled(&self, name: &str, facts: &Facts) -> bool {
        self.below(name).iter().all(|part| part.plan(self, facts) == Verdict::Done)
    }

    /// What is wrong where `device` is a partition of a type that is not for this.
    pub(crate) fn misfit(&self, keys: &[&str], device: &Device, fit: Kind) -> Option<Finding> {
        let Device::Disk { group, partition } = device else { return None };
        let disk = self.settings.disk.iter().find(|disk| disk.name == *group)?;
        let kind = disk.partition.iter().find(|known| known.name == *partition)?.kind;
        let word = |kind: Kind| format!("{kind:?}").to_lowercase();
        (kind != fit).then(|| {
            let (saw, fit) = (format!("{device}, a partition of type \"{}\"", word(kind)), word(fit));
            let cure = format!("write type = \"{fit}\" for {partition} in [[disk]] {group}, or name another device");
            Finding::new(keys, saw, format!("a partition of type \"{fit}\""), cure)
        })
    }

    /// What is wrong where `device` is on disks that are not all there, below something that needs them all.
    pub(crate) fn lacking(&self, keys: &[&str], device: &Device) -> Option<Finding> {
        let Device::Disk { group, .. } = device else { return None };
        let absent = self.settings.disk.iter().find(|disk| disk.name == *group)?.absent();
        (absent > 0).then(|| {
            let saw = format!("{device}, with {absent} of its disks absent");
            let cure = format!("take `absent` out of [[disk]] {group}, or make an array of it with [[md]]");
            Finding::new(keys, saw, "disks that are all there: only arrays are made without a member", cure)
        })
    }

    /// What is wrong where `device` is not one, but one on each disk of a group.
    pub(crate) fn several(&self, keys: &[&str], device: &Device) -> Option<Finding> {
        let count = self.devices(device).len();
        (count > 1).then(|| {
            let saw = format!("{device}, which is {count} partitions: one on each disk of the group");
            let cure = "make an array of them with [[md]], or choose a group of one disk";
            Finding::new(keys, saw, "one device", cure)
        })
    }
}

/// What is wrong with the graph of all Parts: devices that nobody offers, that two stand on, or that stand on themselves.
pub(crate) fn check(parts: &[Box<dyn Part + '_>]) -> Vec<Finding> {
    let mut offered: Vec<String> =
        parts.iter().flat_map(|part| part.offers()).map(|device| device.to_string()).collect();
    let mut known = BTreeSet::new();
    offered.retain(|device| known.insert(device.clone()));
    let mut users: BTreeMap<Device, String> = BTreeMap::new();
    let mut findings = twice(parts);
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
    findings.extend(ring(parts));
    findings
}

/// Things in the settings stand on themselves.
pub(crate) fn is_ring(spec: &Spec) -> bool {
    ring(&spec.parts()).is_some()
}

/// The first use that leads back to the Part that has it.
fn ring(parts: &[Box<dyn Part + '_>]) -> Option<Finding> {
    let after: BTreeMap<String, Vec<String>> = parts.iter().map(|part| (part.name(), part.after())).collect();
    let uses = parts.iter().flat_map(|part| part.uses().into_iter().map(|wish| (part.name(), wish)));
    uses.into_iter().find_map(|(name, wish)| {
        let ring = way(&after, &wish.device.part(), &name)?;
        let saw = format!("{}, which stands on {name} itself ({})", wish.device, ring.join(" on "));
        Some(found(&wish, saw, "devices that end at a disk"))
    })
}

/// Parts of one name: plans could not tell them apart.
fn twice(parts: &[Box<dyn Part + '_>]) -> Vec<Finding> {
    let mut names = BTreeSet::new();
    let again = parts.iter().map(|part| part.name()).filter(|name| !names.insert(name.clone()));
    let finding = |name: String| {
        let (kind, own) = name.split_once(' ').unwrap_or((&name, ""));
        Finding::new(&[kind, own], format!("{name}, a second time"), "each name once", "write another name")
    };
    again.map(finding).collect()
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
            ["luks:y, which stands on md x itself (luks y on md x); devices that end at a disk; name another device"]
        );
        assert_eq!(findings(&[("md:x", &["md:x"])]).len(), 1);
    }
}
