//! A Profile: a TOML fragment of what a machine should be. A node's file has the same keys.

use crate::part::{
    disk::Disk, journald::Journald, repository::Repository, ssh::Ssh, swap::Swap, system::System, unit::Unit,
    user::User,
};
use crate::problem::{Finding, nearest};
use crate::schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The keys of a profile or node, merged or not. Every key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Profile {
    /// What it is for, in one sentence: shown by `mimg profiles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The profiles that this one starts from, by name; a node needs at least one. What is said here replaces what they
    /// say. `mimg profiles` lists them.
    pub profiles: Vec<String>,
    /// Debian packages, by name, without a version.
    #[schemars(inner(regex(pattern = r"^[a-z0-9][a-z0-9+.-]+$")))]
    pub packages: Vec<String>,
    /// Components of the Debian archive that packages are taken from.
    #[schemars(transform = schema::components)]
    pub components: Vec<String>,
    /// Words added to the kernel's command line, each an item of its own.
    #[schemars(inner(regex(pattern = r#"^[^\s\x00-\x1f\x7f-\x9f"'$\\{};]+$"#)))]
    pub kernel_parameters: Vec<String>,
    /// Files of packages, by absolute path, that overlays may put their own in the place of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Archives beside Debian's own: for the image, and afterwards for the machine's own apt.
    pub repository: Vec<Repository>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Disks that get a partition table of ours, or, the one that the machine booted from, further partitions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disk: Vec<Disk>,
    /// A name of the IANA time zone database, such as "Europe/Berlin".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(title = "time zone", transform = schema::timezones)]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journald: Option<Journald>,
    /// People who have an account on the machine, without a password. `root` may be named too, to let keys in for it.
    pub user: Vec<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// Systemd units that are enabled and started, or kept off.
    pub unit: Vec<Unit>,
}

pub(crate) const COMPONENTS: [&str; 4] = ["main", "contrib", "non-free-firmware", "non-free"];

impl Profile {
    /// What is wrong with the settings that belong to no Part.
    pub(crate) fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, name) in self.packages.iter().enumerate().filter(|(_, name)| !is_package(name)) {
            let wanted = "a Debian package's name: a-z, 0-9, +, - and ., at least two; no version";
            let cure = "take the version out: mimg.lock holds versions";
            findings.push(Finding::new(&["packages", &index.to_string()], format!("{name:?}"), wanted, cure));
        }
        let known = |component: &&String| !COMPONENTS.contains(&component.as_str());
        for (index, component) in self.components.iter().enumerate().filter(|(_, component)| known(component)) {
            let cure = match nearest(component, COMPONENTS.into_iter()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "take it out".to_owned(),
            };
            let wanted = format!("one of {}", COMPONENTS.join(", "));
            findings.push(Finding::new(&["components", &index.to_string()], format!("{component:?}"), wanted, cure));
        }
        let hostile = |word: &&String| {
            word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'$\\{};".contains(c))
        };
        for (index, word) in self.kernel_parameters.iter().enumerate().filter(|(_, word)| hostile(word)) {
            let wanted = "one word, without quotes, blanks, $, braces or backslashes: GRUB would read them";
            findings.push(Finding::new(
                &["kernel-parameters", &index.to_string()],
                format!("{word:?}"),
                wanted,
                "write each word as an item of its own",
            ));
        }
        for (index, path) in self.replaces.iter().enumerate().filter(|(_, path)| !is_plain_path(path)) {
            findings.push(Finding::new(
                &["replaces", &index.to_string()],
                format!("{path:?}"),
                "the absolute path of one file, such as \"/etc/issue\": no .., no blank names, no pattern",
                "write it as `dpkg -L PACKAGE` does",
            ));
        }
        findings
    }
}

/// One file, by a path that can be read in one way only.
fn is_plain_path(path: &str) -> bool {
    let hostile = |c: char| c.is_control() || c == '*';
    let plain = |name: &str| !["", ".", ".."].contains(&name) && !name.contains(hostile);
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(plain))
}

/// As Debian Policy 5.6.7 has it.
fn is_package(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    first && name.len() >= 2 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}
