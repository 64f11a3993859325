//! `[[filesystem]]`: file systems and swap areas, and where they are mounted.
//!
//! ```text
//! empty device --mkfs--> file system with the UUID of a new one --whole, says its own check--> the same with our UUID
//! our UUID --unit--> mounted, at every boot --its device is larger--> grown
//! ```
//! Each mount is a systemd unit of its own, not a line in /etc/fstab: so each Part has a file of its own, and is driven
//! like any other unit. With `nofail` no boot waits for it; what needs the path says so by RequiresMountsFor=.

mod boot;
mod check;
mod format;

use super::Part;
use crate::act::{Act, Step};
use crate::ask::{Ask, Probe};
use crate::device::{Device, Use};
use crate::facts::Facts;
use crate::ground::{Ground, Place, size_ask, size_of};
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use format::Format;

/// What a file system may leave of its device: a last group that is too small to hold its own tables.
const SLACK: u64 = 16 << 20;

/// A file system on a device, and where it is mounted; or a swap area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Filesystem {
    /// What it is called in plans. Its UUID is made from it.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// What it is on, such as "lv:main/data".
    pub device: Device,
    /// "ext4", "xfs" and "btrfs" grow with their device, while mounted; "vfat" and "swap" keep the size that they were made with.
    #[serde(rename = "type")]
    pub format: Format,
    /// Where it is mounted, at every boot. Left out, it is only made.
    #[schemars(title = "path", regex(pattern = r"^(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Options of mount(8), or swapon(8), each an item of its own; they count from the next mount on.
    #[schemars(inner(regex(pattern = r"^[A-Za-z0-9_.:/=+-]+$")))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A file system among all of them.
pub(super) struct Volume<'a> {
    own: &'a Filesystem,
    all: &'a [Filesystem],
}

pub(super) fn volumes(all: &[Filesystem]) -> impl Iterator<Item = Volume<'_>> {
    all.iter().map(move |own| Volume { own, all })
}

/// What is on the device.
enum Content {
    Empty,
    /// Of ours, and perhaps not made to its end.
    Draft,
    Ours,
    /// Of ours, and another kind than what is wanted.
    Changed,
    Foreign,
}

impl Filesystem {
    fn id(&self, spec: &Spec) -> String {
        self.format.id(spec.uuid(&format!("filesystem/{}", self.name)))
    }

    fn draft(&self, spec: &Spec) -> String {
        self.format.id(spec.uuid(&format!("filesystem/{}/new", self.name)))
    }

    fn content(&self, spec: &Spec, probe: &Probe) -> Content {
        let uuid = probe.find(self.format.name()).and_then(|found| found.uuid.as_deref());
        if uuid == Some(&self.id(spec)) {
            return Content::Ours;
        }
        if uuid == Some(&self.draft(spec)) {
            return Content::Draft;
        }
        let own = [spec.uuid(&format!("filesystem/{}", self.name))].map(|uuid| uuid.to_string());
        match probe.signatures.iter().any(|found| found.uuid.as_ref().is_some_and(|uuid| own.contains(uuid))) {
            true => Content::Changed,
            false if probe.is_empty() => Content::Empty,
            false => Content::Foreign,
        }
    }

    fn path(&self, spec: &Spec) -> String {
        spec.devices(&self.device).into_iter().next().unwrap_or_default()
    }

    fn make(&self, spec: &Spec) -> Vec<Step> {
        let argv = self.format.make(&self.draft(spec), &self.path(spec));
        vec![Step::new(Act::Run(argv), format!("nothing is on {}", self.device)), self.settle(spec)]
    }

    fn make_again(&self, spec: &Spec) -> Vec<Step> {
        let argv = self.format.make_again(&self.draft(spec), &self.path(spec));
        vec![Step::new(Act::Run(argv), "making it was cut off"), self.settle(spec)]
    }

    fn settle(&self, spec: &Spec) -> Step {
        let argv = self.format.rename(&self.id(spec), &self.path(spec));
        Step::new(Act::Run(argv), "it is whole")
    }

    /// What is there is a file system of ours whose making may have been cut off.
    fn plan_draft(&self, spec: &Spec, facts: &Facts) -> Result<Vec<Step>, Verdict> {
        let Some(argv) = self.format.check(&self.path(spec)) else { return Ok(vec![self.settle(spec)]) };
        match facts.ran(&argv).map(|ran| ran.rc) {
            Some(0) => Ok(vec![self.settle(spec)]),
            // 127 is a command that is not there: nothing is known then.
            Some(1..=126) => Ok(self.make_again(spec)),
            _ => Err(Verdict::Wait(format!("`{}` does not answer; see `firstboot facts`", argv.join(" ")))),
        }
    }

    fn changed(&self, place: &Place, probe: &Probe) -> Verdict {
        let cure = format!(
            "write the type that it has; or take its data away, and `wipefs --all {}`, which ERASES it",
            place.path
        );
        Verdict::refuse(format!("{} with {}, which is ours", place.shown(), probe.shown()), self.format.name(), cure)
    }

    fn mounted(&self) -> Option<[&str; 5]> {
        let mount = self.mount.as_deref().filter(|_| self.format != Format::Swap)?;
        Some(["findmnt", "--json", "--output=SOURCE,UUID", "--mountpoint", mount])
    }

    /// Something else is mounted in its place.
    fn displaced(&self, spec: &Spec, facts: &Facts) -> Option<Verdict> {
        let mount = self.mount.as_deref()?;
        let top = top(facts.said(&self.mounted()?)?)?;
        let ours = top.uuid.is_none_or(|uuid| uuid == self.id(spec));
        (!ours).then(|| {
            let wanted = format!("filesystem {} there", self.name);
            let cure = format!("`umount {mount}`, and see why it is mounted; or choose another `mount`");
            Verdict::refuse(format!("{} mounted at {mount}", top.source), wanted, cure)
        })
    }

    fn measure(&self, spec: &Spec) -> Option<Vec<String>> {
        self.format.measure(&self.path(spec), self.mount.as_deref()?)
    }

    /// Its device is larger, or will be once what it stands on is done.
    fn growth(&self, spec: &Spec, facts: &Facts) -> Option<Step> {
        let (path, mount) = (self.path(spec), self.mount.as_deref()?);
        let now = size_of(&path, facts)?;
        let own = self.format.measured(facts.said(&self.measure(spec)?)?)?;
        let device = now.max(spec.least(&self.device).map_or(0, |size| size.0));
        let why = format!("it has {own} bytes, {} has {device}", self.device);
        (device > own.saturating_add(SLACK)).then_some(Step::new(Act::Run(self.format.grow(&path, mount)?), why))
    }

    /// All that is left where the file system has yet to be made. The unit's file comes first: from then on, a file system
    /// of ours without one is known as one that outlived its root file system.
    fn plan_making(&self, spec: &Spec, facts: &Facts, making: Vec<Step>) -> Verdict {
        let put = self.put(spec, facts, "so that it is there at every boot");
        Verdict::Do(put.into_iter().chain(making).chain(self.mount(spec, facts)).collect())
    }

    /// What is left once the device carries our UUID.
    fn plan_ours(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let Some(unit) = self.unit(spec) else { return Verdict::Done };
        if let Some(refusal) = self.displaced(spec, facts) {
            return refusal;
        }
        if let Some(put) = self.put(spec, facts, super::ADOPTED) {
            return Verdict::Do([put].into_iter().chain(self.mount(spec, facts)).collect());
        }
        match super::unit::plan(&unit, true, true, true, facts) {
            Verdict::Done => Verdict::from_steps(self.growth(spec, facts).into_iter().collect()),
            other => other,
        }
    }
}

/// One mount, as findmnt tells of it.
#[derive(Deserialize)]
struct Mount {
    source: String,
    uuid: Option<String>,
}

/// What is mounted last at a place, and so seen there.
fn top(said: &str) -> Option<Mount> {
    #[derive(Deserialize)]
    struct Mounts {
        filesystems: Vec<Mount>,
    }
    serde_json::from_str::<Mounts>(said).ok()?.filesystems.pop()
}

/// `inner` is a path below `outer`.
fn is_below(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

impl Part for Volume<'_> {
    fn name(&self) -> String {
        format!("filesystem {}", self.own.name)
    }

    fn about(&self) -> String {
        let mount = self.own.mount.as_ref().map(|path| format!(" on {path}"));
        format!("{}{}", self.own.format.name(), mount.unwrap_or_default())
    }

    /// Its device; and what is mounted above its own place: mounted later, that would hide it.
    fn after(&self) -> Vec<String> {
        let mount = |volume: &'_ Filesystem| volume.mount.clone().unwrap_or_default();
        let own = mount(self.own);
        let above = self.all.iter().filter(|other| other.mount.is_some() && is_below(&own, &mount(other)));
        ["system".to_owned(), self.own.device.part()]
            .into_iter()
            .chain(above.map(|other| format!("filesystem {}", other.name)))
            .collect()
    }

    fn uses(&self) -> Vec<Use> {
        vec![Use::new(&self.own.device, &["filesystem", &self.own.name, "device"])]
    }

    fn packages(&self) -> Vec<&'static str> {
        self.own.format.packages()
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        self.findings(spec)
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let own = self.own;
        let mut asks = spec.place_asks([&own.device], facts);
        if let (Some(unit), Some(file)) = (own.unit(spec), own.file(spec)) {
            asks.extend([Ask::File(file.path), Ask::Unit(unit)]);
        }
        let Some(Ground::There(probe)) = spec.places([&own.device], facts).first().map(|place| place.ground) else {
            return asks;
        };
        let path = own.path(spec);
        match own.content(spec, probe) {
            Content::Draft => asks.extend(own.format.check(&path).map(Ask::Run)),
            Content::Ours => {
                asks.extend(own.mounted().map(|argv| Ask::run(&argv)));
                let active =
                    own.unit(spec).and_then(|unit| facts.unit(&unit)).is_some_and(|unit| unit.active == "active");
                let measure = own.measure(spec).filter(|_| active);
                asks.extend(measure.into_iter().flat_map(|argv| [Ask::Run(argv), size_ask(&path)]));
            }
            Content::Empty | Content::Changed | Content::Foreign => {}
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let own = self.own;
        if let Some(wait) = super::of_nobody(spec) {
            return wait;
        }
        let places = spec.places([&own.device], facts);
        let Some(place) = places.first() else { return Verdict::Wait(format!("there is no {}", own.device)) };
        if let Some(wait) = place.wait() {
            return wait;
        }
        let making = match place.ground {
            Ground::There(probe) => match own.content(spec, probe) {
                Content::Ours => return own.plan_ours(spec, facts),
                Content::Changed => return own.changed(place, probe),
                Content::Foreign => {
                    let wanted = format!("nothing, or the {} with the UUID {}", own.format.name(), own.id(spec));
                    return place.foreign(probe, wanted);
                }
                Content::Draft => own.plan_draft(spec, facts),
                Content::Empty => Ok(own.make(spec)),
            },
            _ => Ok(own.make(spec)),
        };
        match making {
            Ok(steps) => own.plan_making(spec, facts, steps),
            Err(wait) => wait,
        }
    }
}
