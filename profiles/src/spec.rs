//! The Spec: a node (or a bare profile) merged, checked and frozen. All that a machine has to know.

use crate::device;
use crate::part::{self, Part};
use crate::problem::Finding;
use crate::profile::Profile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Which fleet a Spec belongs to. `id` is the namespace of every UUID that the fleet's machines own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Membership {
    /// Made by `mimg init`. Every machine's partitions and file systems carry UUIDs made from it: it is how mimg knows its
    /// own again. Never change it.
    pub id: Uuid,
    /// Shown in reports.
    pub name: String,
}

/// A frozen Spec. Its JSON travels in the image, or beside it as the node's seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spec {
    /// `Spec::FORMAT` of the mimg that wrote it.
    pub format: u32,
    /// `None` for an image that was built from the catalog alone: nothing is ever "ours" to it.
    pub fleet: Option<Membership>,
    /// `None` for a bare profile: the machine waits for a seed.
    pub node: Option<String>,
    /// The profile, or the first profile of the node.
    pub profile: String,
    pub settings: Profile,
}

impl Spec {
    /// Raised when an older firstboot could misread a Spec.
    pub const FORMAT: u32 = 1;

    /// Reads a Spec's JSON. Says what is wrong with it, and for whom it is, where it cannot be used.
    pub fn read(json: &str) -> Result<Spec, String> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_str(json).map_err(|error| format!("it is not a Spec: {error}"))?;
        if head.format != Self::FORMAT {
            return Err(format!("it has format {}, this mimg reads format {}", head.format, Self::FORMAT));
        }
        serde_json::from_str(json).map_err(|error| format!("it is damaged: {error}"))
    }

    /// Its JSON, stable: the same Spec gives the same bytes.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a Spec has string keys only") + "\n"
    }

    /// SHA-256 of its JSON, in hex.
    pub fn digest(&self) -> String {
        Sha256::digest(self.json().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Every Part, in an order in which each comes after what it needs.
    pub fn parts(&self) -> Vec<Box<dyn Part + '_>> {
        part::all(self)
    }

    /// What is wrong with the settings, all Parts' findings and those of no Part.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = self.settings.check();
        let parts = self.parts();
        findings.extend(device::check(&parts));
        findings.extend(parts.iter().flat_map(|part| part.check(self)));
        findings
    }

    /// Every package that has to be in the image, with those who ask for it: "profile nuc", or a Part's name.
    pub fn packages(&self) -> BTreeMap<String, Vec<String>> {
        let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in &self.settings.packages {
            packages.entry(name.clone()).or_default().push(self.owner());
        }
        for part in self.parts() {
            for name in part.packages() {
                packages.entry(name.to_owned()).or_default().push(part.name());
            }
        }
        packages
    }

    /// Every profile that is in it, each after those that it starts from.
    pub fn profiles(&self) -> Vec<String> {
        let mut names = self.settings.profiles.clone();
        if self.node.is_none() && !names.contains(&self.profile) {
            names.push(self.profile.clone());
        }
        names
    }

    /// "node eccles" or "profile nuc".
    pub fn owner(&self) -> String {
        match &self.node {
            Some(node) => format!("node {node}"),
            None => format!("profile {}", self.profile),
        }
    }

    /// The UUID of something that this Spec's machine owns, such as "partition/root": the same for the same fleet,
    /// node and path, so that a plan is known before the first partition exists, and what is ours can be proved.
    pub fn uuid(&self, path: &str) -> Uuid {
        let fleet = self.fleet.as_ref().map_or(Uuid::nil(), |fleet| fleet.id);
        Uuid::new_v5(&fleet, format!("{}/{path}", self.owner()).as_bytes())
    }
}
