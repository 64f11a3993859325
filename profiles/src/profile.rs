//! A Profile: a TOML fragment of what a machine should be. A node's file has the same keys.

use crate::part::{journald::Journald, ssh::Ssh, swap::Swap, system::System, unit::Unit, user::User};
use serde::{Deserialize, Serialize};

/// The keys of a profile or node, merged or not. Every key may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Profile {
    /// What it is for, in one sentence: shown by `mimg profiles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Other profiles that this one starts from. What is said here replaces what they say.
    pub profiles: Vec<String>,
    /// Debian packages, by name. No version: `mimg.lock` has those.
    pub packages: Vec<String>,
    /// Components of the Debian archive: main, contrib, non-free-firmware, non-free.
    pub components: Vec<String>,
    /// Words added to the kernel's command line.
    pub kernel_parameters: Vec<String>,
    /// Archives beside Debian's own.
    pub repository: Vec<Repository>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Time zone, such as "Europe/Berlin".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journald: Option<Journald>,
    pub user: Vec<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    pub unit: Vec<Unit>,
}

/// An archive of Debian packages beside Debian's own, trusted for its own packages by its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Repository {
    pub name: String,
    /// `https://…` or `http://…`, without the suite.
    pub uri: String,
    pub suite: String,
    pub components: Vec<String>,
    /// The OpenPGP certificate, ASCII-armoured, as it stands.
    pub key: String,
    /// Fingerprint of that certificate: 40 or 64 hex digits, spaces allowed.
    pub fingerprint: String,
    /// As in apt_preferences(5); Debian's own archive has 500.
    #[serde(default = "Repository::usual")]
    pub priority: i32,
}

impl Repository {
    fn usual() -> i32 {
        500
    }
}
