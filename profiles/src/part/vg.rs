//! `[[vg]]`: volume groups of LVM.
//!
//! ```text
//! empty device --pvcreate, with our UUID--> physical volume --vgcreate, vgextend--> group with our tag
//! ```
//! LVM's own activation is off in images: it looks at all disks, and takes a group by its name alone. Instead each group
//! has a unit that waits for its devices and activates what is on these.

use super::Part;
use crate::act::{Act, Step, Verb};
use crate::ask::Ask;
use crate::device::{Device, NAME, Use, is_name};
use crate::facts::Facts;
use crate::file::File;
use crate::ground::{Ground, Place};
use crate::lvm::{self, EXTENT, Group, Pv};
use crate::part::disk::Kind;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names in /dev that others have: a group's folder there would be one of these.
const TAKEN: [&str; 18] = [
    "block",
    "bsg",
    "bus",
    "char",
    "cpu",
    "disk",
    "dri",
    "drbd",
    "fd",
    "hugepages",
    "input",
    "mapper",
    "md",
    "mqueue",
    "net",
    "shm",
    "snd",
    "zvol",
];

/// A volume group: devices whose space is shared out to logical volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vg {
    /// What it is called in device names such as `lv:main/data`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// What its space is on: all devices that these names lead to. More may be added later.
    pub devices: Vec<Device>,
}

impl Vg {
    pub fn uuid(&self, spec: &Spec) -> Uuid {
        spec.uuid(&format!("vg/{}", self.name))
    }

    /// The paths of all its devices.
    pub fn paths(&self, spec: &Spec) -> Vec<String> {
        self.devices.iter().flat_map(|device| spec.devices(device)).collect()
    }

    /// The UUID of the physical volume at a path: a label that was written just before a power cut is known as ours.
    fn label(&self, spec: &Spec, path: &str) -> String {
        lvm::id(spec.uuid(&format!("vg/{}{path}", self.name)))
    }

    fn unit(&self) -> String {
        format!("mimg-vg-{}.service", self.name)
    }

    fn file(&self, spec: &Spec) -> File {
        let (name, paths) = (&self.name, self.paths(spec));
        let units: Vec<String> = paths.iter().map(|path| super::unit::of_path(path, "device")).collect();
        let (units, devices) = (units.join(" "), lvm::devices(&paths));
        // Wants=: with a device lost, what does not stand on it is activated all the same, once systemd stops waiting.
        let text = format!(
            "# Written by mimg from [[vg]] {name:?}.\n[Unit]\nDescription=Volume group {name}\nDefaultDependencies=no\n\
             Wants={units}\nAfter={units}\nConflicts=shutdown.target\nBefore=shutdown.target\n\n[Service]\nType=oneshot\n\
             RemainAfterExit=yes\nExecStart=/usr/sbin/vgchange {devices} --activate y {name}\n\n[Install]\n\
             WantedBy=sysinit.target\n"
        );
        File::new(format!("/etc/systemd/system/{}", self.unit()), text)
    }

    /// What is on the devices that is not ours: refused, each by its name.
    fn foreign(&self, spec: &Spec, places: &[Place], pvs: &[Pv]) -> Option<Verdict> {
        let tag = lvm::tag(self.uuid(spec));
        places.iter().find_map(|place| {
            let Ground::There(probe) = place.ground else { return None };
            let wanted = format!("a device with nothing on it, or one of vg {} of this machine", self.name);
            let Some(found) = probe.find(lvm::MEMBER) else {
                return (!probe.is_empty()).then(|| place.foreign(probe, wanted));
            };
            let pv = pvs.iter().find(|pv| Some(&pv.pv_uuid) == found.uuid.as_ref())?;
            if pv.vg_name.is_empty() {
                return (pv.pv_uuid != self.label(spec, &place.path)).then(|| place.foreign(probe, wanted));
            }
            let ours = pv.has(&tag);
            (!ours || pv.vg_name != self.name).then(|| self.other_group(spec, place, pv, ours))
        })
    }

    fn other_group(&self, spec: &Spec, place: &Place, pv: &Pv, ours: bool) -> Verdict {
        let (name, found, uuid) = (&self.name, &pv.vg_name, &pv.vg_uuid);
        let tag = lvm::tag(self.uuid(spec));
        let whose = if ours { "renamed by hand" } else { "which is not ours" };
        let keep = match (ours, found == name) {
            (true, _) => format!("`vgrename {uuid} {name}`"),
            (false, true) => {
                let path = &place.path;
                format!("to make it ours with all that is on it, `vgchange --devices={path} --addtag {tag} {name}`")
            }
            (false, false) => format!("choose another device in [[vg]] {name}"),
        };
        Verdict::refuse(
            format!("{} in vg {found} with the UUID {uuid}, {whose}", place.shown()),
            format!("vg {name} with the tag {tag}"),
            keep,
        )
    }

    /// The label of a physical volume on an empty device.
    fn labelled(&self, spec: &Spec, place: &Place) -> Step {
        let (devices, id) = (lvm::devices(&self.paths(spec)), self.label(spec, &place.path));
        let argv = ["pvcreate", &devices, "--uuid", &id, "--norestorefile", &place.path];
        Step::new(Act::run(&argv), format!("{} is empty", place.device))
    }

    fn create(&self, spec: &Spec, places: &[Place]) -> Vec<Step> {
        let mut steps: Vec<Step> = self.unlabelled(places).map(|place| self.labelled(spec, place)).collect();
        let (devices, tag) = (lvm::devices(&self.paths(spec)), lvm::tag(self.uuid(spec)));
        let extent = format!("--physicalextentsize={EXTENT}b");
        let mut argv = vec!["vgcreate", &devices, &extent, "--addtag", &tag, &self.name];
        argv.extend(places.iter().map(|place| place.path.as_str()));
        steps.push(Step::new(Act::run(&argv), "it is not there yet"));
        steps
    }

    fn unlabelled<'a>(&self, places: &'a [Place<'a>]) -> impl Iterator<Item = &'a Place<'a>> {
        places.iter().filter(|place| !lvm::is_member(place))
    }

    /// Devices that were added to the settings, or that have grown.
    fn extend(&self, spec: &Spec, places: &[Place], pvs: &[Pv]) -> Vec<Step> {
        let devices = lvm::devices(&self.paths(spec));
        let mut steps = Vec::new();
        for place in places {
            let Some(pv) = pv_at(place, pvs) else {
                steps.push(self.labelled(spec, place));
                let argv = ["vgextend", &devices, &self.name, &place.path];
                steps.push(Step::new(Act::run(&argv), format!("{} is to be part of it", place.device)));
                continue;
            };
            if pv.vg_name.is_empty() {
                let argv = ["vgextend", &devices, &self.name, &place.path];
                steps.push(Step::new(Act::run(&argv), format!("{} is to be part of it", place.device)));
            } else if pv.dev_size >= pv.pe_start + pv.pv_size + EXTENT {
                let why = format!("{} has {} bytes, and {} of them in use", place.device, pv.dev_size, pv.pv_size);
                steps.push(Step::new(Act::run(&["pvresize", &devices, &place.path]), why));
            }
        }
        steps
    }

    /// The group has physical volumes that the settings do not name, or that are gone.
    fn strangers(&self, places: &[Place], pvs: &[Pv]) -> Option<Verdict> {
        let known = |pv: &Pv| places.iter().any(|place| pv_at(place, pvs).is_some_and(|at| at.pv_uuid == pv.pv_uuid));
        let others: Vec<&str> =
            pvs.iter().filter(|pv| pv.vg_name == self.name && !known(pv)).map(|pv| pv.pv_uuid.as_str()).collect();
        (!others.is_empty()).then(|| {
            Verdict::refuse(
                format!("vg {} with physical volumes on other devices: {}", self.name, others.join(", ")),
                "a group on the devices that [[vg]] names, all of them there",
                format!(
                    "plug the device in that is missing, or name it in `devices`; if it is gone for good, \
                     `vgreduce --removemissing {0}` lets {0} go on with the volumes that had nothing on it",
                    self.name
                ),
            )
        })
    }

    fn plan_group(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let places = spec.places(&self.devices, facts);
        let pvs = match places.iter().any(lvm::is_member) {
            false => Some(Vec::new()),
            true => lvm::pvs(&self.paths(spec), facts),
        };
        let Some(pvs) = pvs else { return Verdict::Wait("pvs does not answer; see `firstboot facts`".to_owned()) };
        if let Some(verdict) = self.foreign(spec, &places, &pvs).or_else(|| places.iter().find_map(Place::wait)) {
            return verdict;
        }
        if pvs.iter().all(|pv| pv.vg_name.is_empty()) {
            return Verdict::Do(self.create(spec, &places));
        }
        self.strangers(&places, &pvs).unwrap_or_else(|| Verdict::from_steps(self.extend(spec, &places, &pvs)))
    }

    /// The file of that unit. It comes first: from then on, a group of ours without one is known as one that outlived its
    /// root file system.
    fn put(&self, spec: &Spec, facts: &Facts) -> Vec<Step> {
        let missing = facts.file(&self.file(spec).path).is_none();
        let adopted = missing && matches!(Group::of(self, spec, facts), Group::There(_));
        let why = if adopted { super::ADOPTED } else { "so that it is activated at every boot" };
        let files = super::differing(&[self.file(spec)], facts);
        files.into_iter().map(|file| Step::new(Act::Put(file), why)).collect()
    }

    /// The unit that activates it at every boot. In this one, volumes are activated one by one as they are made or found;
    /// while the unit is at it they are left to it.
    fn plan_unit(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let name = self.unit();
        let Some(unit) = facts.unit(&name) else {
            return Verdict::Wait(format!("systemd does not answer about {name}; see `firstboot facts`"));
        };
        let mut steps = Vec::new();
        if unit.stale || unit.load == "not-found" || !super::differing(&[self.file(spec)], facts).is_empty() {
            steps.push(Step::new(Act::unit(&name, Verb::Reload), "its file is newer than what systemd read"));
        }
        if ["disabled", ""].contains(&unit.file.as_str()) {
            steps.push(Step::new(Act::unit(&name, Verb::Enable), "it is disabled"));
        }
        if steps.is_empty() && (unit.job || unit.active == "activating") {
            return Verdict::Wait(format!("{name} is activating it"));
        }
        Verdict::from_steps(steps)
    }
}

/// The physical volume at a place.
fn pv_at<'a>(place: &Place, pvs: &'a [Pv]) -> Option<&'a Pv> {
    let Ground::There(probe) = place.ground else { return None };
    let found = probe.find(lvm::MEMBER)?.uuid.as_ref();
    pvs.iter().find(|pv| Some(&pv.pv_uuid) == found)
}

impl Part for Vg {
    fn name(&self) -> String {
        format!("vg {}", self.name)
    }

    fn about(&self) -> String {
        "LVM".to_owned()
    }

    fn uses(&self) -> Vec<Use> {
        let key =
            |(index, device): (usize, &Device)| Use::new(device, &["vg", &self.name, "devices", &index.to_string()]);
        self.devices.iter().enumerate().map(key).collect()
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["lvm2"]
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !is_name(&self.name) {
            findings.push(Finding::new(
                &["vg", &self.name, "name"],
                format!("{:?}", self.name),
                NAME,
                "write another name",
            ));
        }
        if TAKEN.contains(&self.name.as_str()) {
            let (saw, wanted) = (format!("{:?}", self.name), "a name that no folder in /dev has already");
            findings.push(Finding::new(&["vg", &self.name, "name"], saw, wanted, "write another name"));
        }
        if self.devices.is_empty() {
            let wanted = "at least one, such as \"disk:system/data\"";
            findings.push(Finding::new(
                &["vg", &self.name, "devices"],
                "no device",
                wanted,
                "name what it is to stand on",
            ));
        }
        for (index, device) in self.devices.iter().enumerate() {
            let index = index.to_string();
            let keys = ["vg", &self.name, "devices", &index];
            findings.extend(spec.misfit(&keys, device, Kind::Lvm));
            findings.extend(spec.lacking(&keys, device));
        }
        findings
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = Group::asks(self, spec, facts);
        asks.extend([Ask::File(self.file(spec).path), Ask::Unit(self.unit())]);
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        if let Some(wait) = super::of_nobody(spec) {
            return wait;
        }
        let rest = match (self.plan_group(spec, facts), self.plan_unit(spec, facts)) {
            (Verdict::Done, unit) => unit,
            (Verdict::Do(steps), Verdict::Do(unit)) => Verdict::Do(steps.into_iter().chain(unit).collect()),
            (group, _) => group,
        };
        super::before(self.put(spec, facts), rest)
    }
}
