//! The unit that mounts a file system, or switches swap on, at every boot.

use super::{Filesystem, Format};
use crate::act::{Act, Step, Verb};
use crate::facts::Facts;
use crate::file::File;
use crate::spec::Spec;

impl Filesystem {
    /// Where systemd finds it, whatever its device is called.
    fn what(&self, spec: &Spec) -> String {
        format!("/dev/disk/by-uuid/{}", self.id(spec))
    }

    /// The unit that mounts it, or switches it on; none where it is only made.
    pub(super) fn unit(&self, spec: &Spec) -> Option<String> {
        match (self.format, &self.mount) {
            (Format::Swap, _) => Some(crate::part::unit::of_path(&self.what(spec), "swap")),
            (_, Some(mount)) => Some(crate::part::unit::of_path(mount, "mount")),
            (_, None) => None,
        }
    }

    pub(super) fn file(&self, spec: &Spec) -> Option<File> {
        let (unit, what, name) = (self.unit(spec)?, self.what(spec), &self.name);
        let head = format!("# Written by mimg from [[filesystem]] {name:?}.\n[Unit]\nDescription=File system {name}\n");
        let options: Vec<&str> = ["nofail"].into_iter().chain(self.options.iter().map(String::as_str)).collect();
        let options = options.join(",");
        let text = match &self.mount {
            None => format!("{head}\n[Swap]\nWhat={what}\nOptions={options}\n\n[Install]\nWantedBy=swap.target\n"),
            Some(mount) => {
                let check = crate::part::unit::of_path(&what, "service");
                let check = format!("Requires=systemd-fsck@{check}\nAfter=systemd-fsck@{check}\n");
                let check = if self.format.is_checked_at_boot() { check.as_str() } else { "" };
                format!(
                    "{head}{check}\n[Mount]\nWhat={what}\nWhere={mount}\nType={}\nOptions={options}\n\n[Install]\n\
                     WantedBy=local-fs.target\n",
                    self.format.name()
                )
            }
        };
        Some(File::new(format!("/etc/systemd/system/{unit}"), text))
    }

    /// The unit's file, where it is not as it should be; `missing` is the reason where it is not there at all.
    pub(super) fn put(&self, spec: &Spec, facts: &Facts, missing: &str) -> Option<Step> {
        let file = crate::part::differing(&[self.file(spec)?], facts).pop()?;
        let why = if facts.file(&file.path).is_some() { "its text is not the Spec's" } else { missing };
        Some(Step::new(Act::Put(file), why))
    }

    /// What follows once the unit's file is there.
    pub(super) fn mount(&self, spec: &Spec, facts: &Facts) -> Vec<Step> {
        let Some(unit) = self.unit(spec) else { return Vec::new() };
        let reload = Step::new(Act::unit(&unit, Verb::Reload), "its file changed");
        [reload].into_iter().chain(crate::part::unit::to_come(&unit, facts)).collect()
    }
}
