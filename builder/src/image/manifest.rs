//! The manifest: what an image was made of, written beside it as JSON.

use crate::archive::Suite;
use crate::archive::package::Package;
use crate::build::FIRSTBOOT;
use crate::image::Image;
use crate::publish::place::Place;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use profiles::part::repository::Repository;
use profiles::spec::Spec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What an image was made of. Addresses are left out: they may hold names that are nobody's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Raised when a key changes its meaning.
    pub format: u32,
    /// Version of the mimg that built it.
    pub mimg: String,
    pub profile: String,
    pub node: Option<String>,
    pub fleet: Option<String>,
    /// SHA-256 of the Spec's JSON, in hexadecimal digits.
    pub spec: String,
    /// The time stamp of everything in the image, in seconds since 1970.
    pub epoch: i64,
    pub suites: Vec<Published>,
    pub packages: Vec<Member>,
    pub firstboot: Binary,
    pub image: Image,
    /// SHA-256 of the whole disk, as the raw image has it.
    pub disk_sha256: String,
    /// All files that the build wrote, but for this one and those that have its digest.
    pub files: Vec<Written>,
}

/// A program of ours in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Binary {
    pub version: String,
    /// In bytes.
    pub size: u64,
    pub sha256: String,
}

/// A file beside the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Written {
    pub name: String,
    /// `raw`, `zst`, `bmap`, `qcow2` or `spdx`.
    pub format: String,
    /// In bytes.
    pub size: u64,
    pub sha256: String,
}

/// A suite as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    pub suite: String,
    pub components: Vec<String>,
    pub date: Timestamp,
    /// SHA-256 of the signed Release.
    pub sha256: String,
}

/// A package in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub suite: String,
    /// The name of the profile's own repository that it comes from; none for Debian's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Of the .deb, in bytes.
    pub size: u64,
    /// Of the .deb.
    pub sha256: String,
}

impl Manifest {
    /// What this mimg writes and reads.
    pub const FORMAT: u32 = 2;

    /// Of an image that was packed; its digests and files are filled in when they are written (`publish`).
    pub fn new(spec: &Spec, epoch: i64, suites: &[Suite], packages: &[Package], image: Image) -> Self {
        Manifest {
            format: Self::FORMAT,
            mimg: env!("CARGO_PKG_VERSION").to_owned(),
            profile: spec.profile.clone(),
            node: spec.node.clone(),
            fleet: spec.fleet.as_ref().map(|fleet| fleet.name.clone()),
            spec: spec.digest(),
            epoch,
            suites: suites.iter().map(Published::from).collect(),
            packages: packages.iter().map(|package| Member::new(package, &spec.settings.repository)).collect(),
            firstboot: Binary {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                size: FIRSTBOOT.len() as u64,
                sha256: hex::encode(Sha256::digest(FIRSTBOOT)),
            },
            image,
            disk_sha256: String::new(),
            files: Vec::new(),
        }
    }

    /// Reads the manifest that lies beside an image: raw, compressed or qcow2.
    pub fn beside(image: &Path) -> Result<Manifest> {
        let path = Place::of(image).manifest();
        let bytes = fs_err::read(&path)?;
        Self::read(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// Reads what `json` writes.
    pub fn read(bytes: &[u8]) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes).context("this is not a manifest of mimg")?;
        ensure!(
            head.format == Self::FORMAT,
            "it has format {}, and this mimg reads {}: build the image again, or take the mimg that built it",
            head.format,
            Self::FORMAT
        );
        Ok(serde_json::from_slice(bytes)?)
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a manifest has string keys only") + "\n"
    }
}

impl From<&Suite> for Published {
    fn from(suite: &Suite) -> Self {
        Published {
            suite: suite.suite.clone(),
            components: suite.components.clone(),
            date: suite.date,
            sha256: suite.sha256.clone(),
        }
    }
}

impl Member {
    fn new(package: &Package, repositories: &[Repository]) -> Self {
        let from = |repository: &&Repository| {
            let uri = repository.uri.trim_end_matches('/');
            repository.suite == package.suite && package.urls.iter().any(|url| url.starts_with(uri))
        };
        Member {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            suite: package.suite.clone(),
            repository: repositories.iter().find(from).map(|repository| repository.name.clone()),
            size: package.size,
            sha256: package.sha256.clone(),
        }
    }
}
