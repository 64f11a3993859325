//! A Part: one kind of thing that a machine has. Each kind's whole story is one file below `part/`.

use crate::act::Step;
use crate::ask::Ask;
use crate::device::{Device, Use};
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;

pub mod disk;
pub mod filesystem;
mod hostname;
pub mod journald;
pub mod luks;
pub mod lv;
pub mod md;
mod members;
mod node;
pub mod repository;
mod root;
pub mod ssh;
pub mod swap;
pub mod system;
mod timezone;
pub mod unit;
pub mod user;
pub mod vg;

pub use node::SEED_LABEL;

/// What every kind of Part tells. All pure: only the Spec and the Facts are seen.
pub trait Part {
    /// The line's head in plans and reports, such as "user ana". Unique within a Spec.
    fn name(&self) -> String;

    /// What has to be done before this Part can be: names of other Parts. By default, where it uses something, those that
    /// offer it; and the system is where it stays: files of its own would be lost with a medium.
    fn after(&self) -> Vec<String> {
        let below: Vec<String> = self.uses().iter().map(|wish| wish.device.part()).collect();
        let system = (!below.is_empty()).then(|| "system".to_owned());
        below.into_iter().chain(system).collect()
    }

    /// A few words that tell it from others of its kind, for pictures: its size, its type, where it is mounted. What has
    /// none is not drawn.
    fn about(&self) -> String {
        String::new()
    }

    /// Devices that this Part stands on: no other may.
    fn uses(&self) -> Vec<Use> {
        Vec::new()
    }

    /// Devices that it makes. The name of this Part is `Device::part` of each.
    fn offers(&self) -> Vec<Device> {
        Vec::new()
    }

    /// The least size that a device which it offers has on any machine, where the settings say so; `below` tells the same
    /// of devices that it uses.
    fn least(&self, _device: &Device, _spec: &Spec, _below: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        None
    }

    /// Whether a device that it offers, and that is not there, is one that it has yet to make. Otherwise it only has to be
    /// opened, and may hold something.
    fn makes(&self, _device: &Device, _spec: &Spec, _facts: &Facts) -> bool {
        true
    }

    /// Debian packages that this Part needs in the image.
    fn packages(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Files that are put into the image when it is built.
    fn files(&self) -> Vec<File> {
        Vec::new()
    }

    /// What is wrong with the settings themselves, without any machine.
    fn check(&self, _spec: &Spec) -> Vec<Finding> {
        Vec::new()
    }

    /// Questions to the machine. Called again with the answers until nothing new is asked.
    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask>;

    /// Lines about what this Part found, for a person who reads its plan. Nothing is decided by them.
    fn notes(&self, _spec: &Spec, _facts: &Facts) -> Vec<String> {
        Vec::new()
    }

    /// What is left to do. Each step has to change an answer: it is done alone, the machine is asked again, and a plan
    /// that is then still the same is stuck.
    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict;
}

/// The registry: every Part of a Spec, one line for each kind, in an order in which each comes after what it needs.
pub(crate) fn all(spec: &Spec) -> Vec<Box<dyn Part + '_>> {
    let settings = &spec.settings;
    let mut parts: Vec<Box<dyn Part>> = vec![Box::new(node::Node), Box::new(members::Members)];
    parts.extend(settings.disk.iter().map(|disk| Box::new(disk) as Box<dyn Part>));
    let installed = settings.system.iter().filter(|system| system.has_slots());
    parts.extend(installed.map(|system| Box::new(system) as Box<dyn Part>));
    parts.extend(settings.md.iter().map(|md| Box::new(md) as Box<dyn Part>));
    parts.extend(settings.luks.iter().map(|luks| Box::new(luks) as Box<dyn Part>));
    parts.extend(settings.vg.iter().map(|vg| Box::new(vg) as Box<dyn Part>));
    parts.extend(settings.lv.iter().map(|lv| Box::new(lv) as Box<dyn Part>));
    parts.extend(filesystem::volumes(&settings.filesystem).map(|volume| Box::new(volume) as Box<dyn Part>));
    parts.extend(settings.system.iter().map(|system| Box::new(root::Root(system)) as Box<dyn Part>));
    parts.extend(spec.node.iter().map(|name| Box::new(hostname::Hostname(name)) as Box<dyn Part>));
    parts.extend(settings.timezone.iter().map(|zone| Box::new(timezone::Timezone(zone)) as Box<dyn Part>));
    parts.extend(settings.journald.iter().map(|journald| Box::new(journald) as Box<dyn Part>));
    parts.extend(settings.repository.iter().map(|repository| Box::new(repository) as Box<dyn Part>));
    parts.extend(settings.user.iter().map(|user| Box::new(user) as Box<dyn Part>));
    parts.extend(settings.ssh.iter().map(|ssh| Box::new(ssh) as Box<dyn Part>));
    parts.extend(settings.swap.iter().map(|swap| Box::new(swap) as Box<dyn Part>));
    parts.extend(settings.unit.iter().map(|unit| Box::new(unit) as Box<dyn Part>));
    parts
}

/// Why the file of something is written that is there already, while its file is not: the root file system is a new one.
const ADOPTED: &str = "it was made for this node before: adopted with all that is on it";

/// The wanted files that are not on the machine as they should be: text, mode or owner differ, or they are missing.
fn differing(wanted: &[File], facts: &Facts) -> Vec<File> {
    wanted.iter().filter(|file| facts.file(&file.path) != Some(file)).cloned().collect()
}

/// What a Part concludes that has these steps before those of `verdict`; where it waits or refuses, none is done.
fn before(first: Vec<Step>, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Done => Verdict::from_steps(first),
        Verdict::Do(rest) => Verdict::Do(first.into_iter().chain(rest).collect()),
        other => other,
    }
}

/// Why nothing is done to storage: without a node nothing can be known to be ours.
fn of_nobody(spec: &Spec) -> Option<Verdict> {
    let wait = || Verdict::Wait("volumes belong to a node; this image is none yet".to_owned());
    spec.node.is_none().then(wait)
}

impl<T: Part> Part for &T {
    fn name(&self) -> String {
        (**self).name()
    }
    fn after(&self) -> Vec<String> {
        (**self).after()
    }
    fn about(&self) -> String {
        (**self).about()
    }
    fn uses(&self) -> Vec<Use> {
        (**self).uses()
    }
    fn offers(&self) -> Vec<Device> {
        (**self).offers()
    }
    fn least(&self, device: &Device, spec: &Spec, below: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        (**self).least(device, spec, below)
    }
    fn makes(&self, device: &Device, spec: &Spec, facts: &Facts) -> bool {
        (**self).makes(device, spec, facts)
    }
    fn packages(&self) -> Vec<&'static str> {
        (**self).packages()
    }
    fn files(&self) -> Vec<File> {
        (**self).files()
    }
    fn check(&self, spec: &Spec) -> Vec<Finding> {
        (**self).check(spec)
    }
    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        (**self).asks(spec, facts)
    }
    fn notes(&self, spec: &Spec, facts: &Facts) -> Vec<String> {
        (**self).notes(spec, facts)
    }
    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        (**self).plan(spec, facts)
    }
}
