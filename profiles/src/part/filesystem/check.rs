//! What is wrong with a `[[filesystem]]` before any machine is seen.

use super::{Filesystem, Format, Volume, is_below};
use crate::device::{NAME, is_name};
use crate::part::disk::Kind;
use crate::problem::Finding;
use crate::spec::Spec;

/// Folders that the running system has its own files in: mounted over, they are out of sight.
const FILLED: [&str; 4] = ["/root", "/tmp", "/var", "/var/lib"];
/// Places of the system itself, and all below them.
const TAKEN: [&str; 11] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr"];

impl Volume<'_> {
    pub(super) fn findings(&self, spec: &Spec) -> Vec<Finding> {
        let own = self.own;
        let mut findings = own.check_words();
        let keys = ["filesystem", own.name.as_str(), "device"];
        findings.extend(spec.several(&keys, &own.device));
        findings.extend(self.misfit(spec, &keys));
        let least = own.format.least();
        if let Some(size) = spec.least(&own.device).filter(|size| *size < least) {
            let wanted = format!("at least {least} for {}", own.format.name());
            findings.push(Finding::new(&keys, format!("{} with {size}", own.device), wanted, "raise its size"));
        }
        let before = self.all.iter().take_while(|other| *other != own);
        if let Some(other) = before.clone().find(|other| own.mount.is_some() && other.mount == own.mount) {
            let saw =
                format!("{}, where filesystem {} is mounted already", own.mount.as_deref().unwrap_or(""), other.name);
            findings.push(Finding::new(
                &["filesystem", &own.name, "mount"],
                saw,
                "a place of its own",
                "write another path, or take one of the two out",
            ));
        }
        findings
    }

    /// A partition of a type that is for something else.
    fn misfit(&self, spec: &Spec, keys: &[&str]) -> Option<Finding> {
        let misfit = |kind| spec.misfit(keys, &self.own.device, kind);
        match self.own.format {
            Format::Swap => misfit(Kind::Swap),
            Format::Vfat => misfit(Kind::Esp).and_then(|_| misfit(Kind::Linux)),
            Format::Ext4 | Format::Xfs | Format::Btrfs => misfit(Kind::Linux),
        }
    }
}

impl Filesystem {
    /// What is wrong with each of its words.
    fn check_words(&self) -> Vec<Finding> {
        let finding = |key: &str, saw: String, wanted: &str, cure: &str| {
            Finding::new(&["filesystem", &self.name, key], saw, wanted, cure)
        };
        let mut findings = Vec::new();
        if !is_name(&self.name) {
            findings.push(finding("name", format!("{:?}", self.name), NAME, "write another name"));
        }
        if let Some(mount) = &self.mount {
            let within = TAKEN.iter().any(|path| mount == path || is_below(mount, path));
            let taken = within || FILLED.contains(&mount.as_str());
            if !is_plain(mount) {
                let wanted = "the absolute path of a folder, of letters, digits, _, ., + and -";
                findings.push(finding("mount", format!("{mount:?}"), wanted, "write \"/srv/data\""));
            } else if taken {
                let wanted = "a place that is not the system's own";
                findings.push(finding(
                    "mount",
                    format!("{mount:?}"),
                    wanted,
                    "write a path below /srv, /home, /var or /opt",
                ));
            } else if self.format == Format::Swap {
                let cure = "take it out, or choose another type";
                findings.push(finding("mount", format!("{mount:?} for swap"), "no path: swap is not mounted", cure));
            }
        }
        for (index, option) in self.options.iter().enumerate().filter(|(_, option)| !is_option(option)) {
            let keys = ["filesystem", &self.name, "options", &index.to_string()].map(str::to_owned);
            let (saw, wanted) =
                (format!("{option:?}"), "one option, such as \"noatime\", without commas and blanks".to_owned());
            findings.push(Finding {
                keys: keys.to_vec(),
                saw,
                wanted,
                cure: "write each as an item of its own".to_owned(),
            });
        }
        if !self.options.is_empty() && self.mount.is_none() && self.format != Format::Swap {
            let wanted = "none where nothing is mounted";
            findings.push(finding("options", format!("{:?}", self.options), wanted, "write `mount`, or take them out"));
        }
        findings
    }
}

fn is_plain(path: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c))
    };
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
}

fn is_option(option: &str) -> bool {
    !option.is_empty() && option.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/=+-".contains(c))
}
