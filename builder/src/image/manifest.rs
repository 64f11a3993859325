//! The manifest: what an image was made of, written beside it as JSON.

use crate::archive::Suite;
use crate::archive::package::Package;
use crate::image::Image;
use jiff::Timestamp;
use profiles::spec::Spec;
use serde::Serialize;

/// What an image was made of. Addresses are left out: they may hold names that are nobody's business.
#[derive(Clone, Debug, Serialize)]
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
    pub image: Image,
}

/// A suite as it was published.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Published {
    pub suite: String,
    pub components: Vec<String>,
    pub date: Timestamp,
    /// SHA-256 of the signed Release.
    pub sha256: String,
}

/// A package in the image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub suite: String,
    /// Of the .deb, in bytes.
    pub size: u64,
    /// Of the .deb.
    pub sha256: String,
}

impl Manifest {
    pub fn new(spec: &Spec, epoch: i64, suites: &[Suite], packages: &[Package], image: Image) -> Self {
        Manifest {
            format: 1,
            mimg: env!("CARGO_PKG_VERSION").to_owned(),
            profile: spec.profile.clone(),
            node: spec.node.clone(),
            fleet: spec.fleet.as_ref().map(|fleet| fleet.name.clone()),
            spec: spec.digest(),
            epoch,
            suites: suites.iter().map(Published::from).collect(),
            packages: packages.iter().map(Member::from).collect(),
            image,
        }
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

impl From<&Package> for Member {
    fn from(package: &Package) -> Self {
        Member {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            suite: package.suite.clone(),
            size: package.size,
            sha256: package.sha256.clone(),
        }
    }
}
