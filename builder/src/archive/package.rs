//! A binary package of the archive.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One package as the archive's index describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    pub name: String,
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Of the .deb, in bytes.
    pub size: u64,
    /// Of the .deb, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The .deb's path below the address of a mirror, such as `pool/main/h/htop/htop_3.4.1-5_amd64.deb`.
    pub path: String,
    /// Where the .deb is, one address per mirror; none where only the cache may have it.
    pub urls: Vec<String>,
    /// The suite that it comes from, such as `trixie-security`.
    pub suite: String,
    /// Its suite as a lock calls it: `Source::origin`.
    pub origin: String,
    /// Does every image have it?
    pub essential: bool,
    /// `required`, `important`, `standard`, `optional` or `extra`.
    pub priority: String,
    /// The paragraph of the index as it stands.
    pub control: String,
    /// For each group of alternatives that it depends on, those that the image has.
    pub needs: Vec<Vec<String>>,
    /// Why it is in the image.
    pub why: Why,
}

/// Why a package is in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Every image has it.
    Essential,
    /// These asked for it, such as `profile nuc`.
    Asked(Vec<String>),
    /// The package `by` needs it, by this relation.
    Needed { by: String, relation: String },
}

impl Package {
    /// A field of the control paragraph, continuation lines joined by spaces.
    pub fn field(&self, name: &str) -> Option<String> {
        let paragraph: deb822_fast::Paragraph = self.control.parse().ok()?;
        paragraph.get(name).map(|value| value.split('\n').map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
