//! `[[md]]`: arrays of several devices, known by a UUID that is made from the fleet's id.
//!
//! ```text
//! empty members --create--> array, running        its members carry our UUID
//! array of ours, stopped --assemble--> running    from members that carry our UUID, and no others
//! array of ours, running, and an empty member --add--> the member takes the place of one that is lost
//! ```
//! How far a resync has come, and that a member is lost, is told and never waited for.

mod array;
mod level;
mod stopped;

use super::Part;
use crate::act::{Act, Step};
use crate::ask::Ask;
use crate::device::{Device, NAME, Use, is_name};
use crate::facts::Facts;
use crate::file::File;
use crate::ground::{Ground, Place};
use crate::part::disk::Kind;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use array::Array;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use stopped::{SCAN, examine};

pub use level::Level;

/// Where data begins on a member: within the MiB that was filled with zeros when its partition was made. So nothing of
/// what was on the disks before can be seen in a new array.
const OFFSET: u64 = 512 << 10;
/// What libblkid calls a member.
const MEMBER: &str = "linux_raid_member";

/// An array of devices that outlives the loss of some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Md {
    /// What it is called in device names such as `md:boot`, and below /dev/md.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// How data is spread: "0" over all members, without any spare copy; "1" the same on each; "5" and "6" with room for
    /// one or two lost members; "10" twice, over all.
    pub level: Level,
    /// Its members: all partitions that these names lead to. `absent` of a [[disk]] says how many are not there yet.
    pub devices: Vec<Device>,
}

impl Md {
    fn path(&self) -> String {
        format!("/dev/md/{}", self.name)
    }

    fn uuid(&self, spec: &Spec) -> String {
        spec.uuid(&format!("md/{}", self.name)).to_string()
    }

    /// udev's rules assemble it at boot, as soon as its members are there: AUTO -all in mdadm.conf keeps others off.
    fn file(&self, spec: &Spec) -> File {
        let (path, uuid) = (self.path(), spec.uuid(&format!("md/{}", self.name)).simple().to_string());
        let words: Vec<&str> = [0, 8, 16, 24].iter().map(|start| &uuid[*start..start + 8]).collect();
        let text = format!(
            "# Written by mimg from [[md]] {:?}.\nARRAY {path} metadata=1.2 UUID={}\n",
            self.name,
            words.join(":")
        );
        File::new(format!("/etc/mdadm/mdadm.conf.d/mimg-{}.conf", self.name), text)
    }

    fn detail(&self) -> Vec<String> {
        ["mdadm", "--detail", &self.path()].map(str::to_owned).to_vec()
    }

    /// How many members the settings name, and how many of them are said not to be there yet.
    fn counts(&self, spec: &Spec) -> (usize, usize) {
        let absent = |device: &Device| match device {
            Device::Disk { group, .. } => spec.settings.disk.iter().find(|disk| disk.name == *group),
            _ => None,
        };
        let absent = self.devices.iter().filter_map(absent).map(|disk| disk.absent() as usize).sum();
        (self.devices.iter().map(|device| spec.devices(device).len()).sum(), absent)
    }

    fn array(&self, facts: &Facts) -> Option<Array> {
        Array::read(facts.said(&self.detail())?)
    }

    fn is_member(&self, spec: &Spec, place: &Place) -> bool {
        let Ground::There(probe) = place.ground else { return false };
        probe.find(MEMBER).is_some_and(|found| found.uuid == Some(self.uuid(spec)))
    }

    fn is_empty(place: &Place) -> bool {
        matches!(place.ground, Ground::There(probe) if probe.is_empty())
    }

    /// Refuses a member that holds something of somebody's.
    fn foreign(&self, spec: &Spec, members: &[Place]) -> Option<Verdict> {
        members.iter().filter(|place| !self.is_member(spec, place)).find_map(|place| match place.ground {
            Ground::There(probe) if !probe.is_empty() => {
                let wanted =
                    format!("a device with nothing on it, or a member of md {} ({})", self.name, self.uuid(spec));
                Some(place.foreign(probe, wanted))
            }
            _ => None,
        })
    }

    fn running(&self, spec: &Spec, members: &[Place], array: &Array) -> Verdict {
        let (count, _) = self.counts(spec);
        let path = self.path();
        if array.uuid != self.uuid(spec).replace('-', "") {
            return Verdict::refuse(
                format!("an array with the UUID {} as {path}", array.uuid),
                format!("md {} with the UUID {}", self.name, self.uuid(spec)),
                format!("`mdadm --stop {path}`, or choose another name in [[md]]"),
            );
        }
        if array.level != format!("raid{}", self.level.digits()) || array.members != count {
            return Verdict::refuse(
                format!("md {} of {} members at {}", self.name, array.members, array.level),
                format!("{count} members at raid{}", self.level.digits()),
                format!("write what is there into [[md]], or change it by hand with `mdadm --grow {path}`"),
            );
        }
        let empty: Vec<&Place> = members.iter().filter(|place| Self::is_empty(place)).collect();
        if array.working + empty.len() > count {
            return Verdict::refuse(
                format!("md {} with all its {count} members, and {} empty", self.name, empty[0].shown()),
                "an array whose members are the ones that [[md]] names",
                format!("see `mdadm --detail {path}`; name its members in `devices`"),
            );
        }
        let add = |place: &&Place| {
            let why = format!("{} is empty, and a member is lost", place.device);
            Step::new(Act::run(&["mdadm", &path, "--add", &place.path]), why)
        };
        Verdict::from_steps(empty.iter().map(add).collect())
    }
}

impl Part for Md {
    fn name(&self) -> String {
        format!("md {}", self.name)
    }

    fn about(&self) -> String {
        format!("RAID {}", self.level.digits())
    }

    fn uses(&self) -> Vec<Use> {
        let key =
            |(index, device): (usize, &Device)| Use::new(device, &["md", &self.name, "devices", &index.to_string()]);
        self.devices.iter().enumerate().map(key).collect()
    }

    fn offers(&self) -> Vec<Device> {
        vec![Device::Md(self.name.clone())]
    }

    fn least(&self, _: &Device, spec: &Spec, below: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        let sizes: Option<Vec<u64>> = self.devices.iter().map(|device| below(device).map(|size| size.0)).collect();
        let least = sizes?.into_iter().min()?;
        // What is left behind the last whole chunk of each member is not used.
        let component = least.checked_sub(OFFSET)? / OFFSET * OFFSET;
        Some(Size(self.level.size(self.counts(spec).0 as u64, component)))
    }

    fn makes(&self, _: &Device, spec: &Spec, facts: &Facts) -> bool {
        let fresh = |place: &Place| place.ground == Ground::ToCome || Self::is_empty(place);
        spec.places(&self.devices, facts).iter().all(fresh)
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["mdadm"]
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        let (count, absent) = self.counts(spec);
        let level = self.level.digits();
        let mut findings = Vec::new();
        if !is_name(&self.name) {
            findings.push(Finding::new(
                &["md", &self.name, "name"],
                format!("{:?}", self.name),
                NAME,
                "write another name",
            ));
        }
        if count < self.level.fewest() {
            let (saw, wanted) =
                (format!("{count} members"), format!("at least {} at level {level}", self.level.fewest()));
            let cure = "name more devices, raise `count` of their [[disk]], or choose another level";
            findings.push(Finding::new(&["md", &self.name, "devices"], saw, wanted, cure));
        } else if absent > self.level.spare(count) {
            let saw = format!("{absent} absent of {count} members");
            let wanted = format!("at most {} absent at level {level}", self.level.spare(count));
            let cure = "lower `absent` of the [[disk]], or choose another level";
            findings.push(Finding::new(&["md", &self.name, "level"], saw, wanted, cure));
        }
        let misfit = |(index, device): (usize, &Device)| {
            spec.misfit(&["md", &self.name, "devices", &index.to_string()], device, Kind::Raid)
        };
        findings.extend(self.devices.iter().enumerate().filter_map(misfit));
        findings
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = spec.place_asks(&self.devices, facts);
        asks.push(Ask::File(self.file(spec).path));
        // Asked after its members: then udev had the time to assemble it.
        if !asks.iter().any(|ask| matches!(ask, Ask::Probe(_)) && facts.knows(ask)) {
            return asks;
        }
        asks.push(Ask::Run(self.detail()));
        let members = spec.places(&self.devices, facts);
        let ours: Vec<&Place> = members.iter().filter(|place| self.is_member(spec, place)).collect();
        if facts.knows(&Ask::Run(self.detail())) && self.array(facts).is_none() && !ours.is_empty() {
            asks.push(Ask::run(&SCAN));
            if members.iter().any(Self::is_empty) {
                asks.extend(ours.iter().map(|place| Ask::run(&examine(&place.path))));
            }
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let members = spec.places(&self.devices, facts);
        if let Some(verdict) = super::of_nobody(spec).or_else(|| self.foreign(spec, &members)) {
            return verdict;
        }
        if !facts.knows(&Ask::Run(self.detail())) {
            return Verdict::Wait("its members do not answer; see `firstboot facts`".to_owned());
        }
        let verdict = match self.array(facts) {
            Some(array) => self.running(spec, &members, &array),
            None => self.stopped(spec, &members, facts),
        };
        let file = super::differing(&[self.file(spec)], facts);
        let there = members.iter().any(|place| self.is_member(spec, place));
        let why = if there { super::ADOPTED } else { "so that it is assembled at every boot" };
        let put = file.into_iter().map(|file| Step::new(Act::Put(file), why));
        super::before(put.collect(), verdict)
    }

    fn notes(&self, spec: &Spec, facts: &Facts) -> Vec<String> {
        let Some(array) = self.array(facts) else { return Vec::new() };
        let (count, path) = (self.counts(spec).0, self.path());
        let words =
            array.state.split(", ").map(str::trim).filter(|word| !["clean", "active", "Not Started"].contains(word));
        let words: Vec<&str> = words.collect();
        if words.is_empty() {
            return Vec::new();
        }
        vec![format!("{}: {} of {count} members work; see `mdadm --detail {path}`", words.join(", "), array.working)]
    }
}
