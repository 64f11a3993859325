//! `mimg diff`: what differs between two locks, two manifests, or two images.

pub mod disk;
pub mod files;
pub mod image;
pub mod packages;
pub mod volume;

use crate::diff::disk::Disk;
use crate::diff::packages::Listing;
use crate::lock::Lock;
use anyhow::{Context, Result};
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use serde::Serialize;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No lock or manifest comes near this many bytes.
const LARGEST: u64 = 64 << 20;

/// What has to change to get from one side to the other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    #[serde(flatten)]
    pub packages: packages::Difference,
    /// Of two images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<image::Difference>,
}

/// What is compared.
enum Side {
    Text(Listing),
    Image(Disk),
}

/// From the file `old` to the file `new`. `cache` names the folder for what has to be unpacked.
pub fn diff(old: &Path, new: &Path, cache: &dyn Fn() -> Result<PathBuf>) -> Result<Difference> {
    match (Side::open(old, cache)?, Side::open(new, cache)?) {
        (Side::Text(old), Side::Text(new)) => Ok(Difference { packages: packages::diff(&old, &new), image: None }),
        (Side::Image(before), Side::Image(after)) => {
            let packages = packages::diff(&image::packages(&before, old)?, &image::packages(&after, new)?);
            Ok(Difference { packages, image: Some(image::diff(&before, &after)?) })
        }
        _ => {
            let saw = format!("of {} and {} one is an image, the other is not", old.display(), new.display());
            let cure = "name the image's own list, such as nuc.manifest.json beside nuc.img, to compare packages";
            Err(refusal(saw, cure))
        }
    }
}

fn refusal(saw: String, cure: &str) -> anyhow::Error {
    Problems(vec![Problem::of_none(saw, "two locks, two manifests, or two images", cure)]).into()
}

impl Side {
    fn open(path: &Path, cache: &dyn Fn() -> Result<PathBuf>) -> Result<Side> {
        if let Some(disk) = Disk::open(path, cache)? {
            return Ok(Side::Image(disk));
        }
        listing(path).map(Side::Text)
    }
}

/// Reads a lock or a manifest.
fn listing(path: &Path) -> Result<Listing> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim_start().starts_with('{') {
        return Listing::of_manifest(&text).with_context(|| format!("reading {}", path.display()));
    }
    if text.starts_with("mimg.lock ") || text.starts_with("<<<<<<<") {
        return Ok(Listing::of_lock(&Lock::parse(&text)?));
    }
    let saw = format!("{} is neither a lock nor a manifest nor an image", path.display());
    Err(refusal(saw, "name two files such as mimg.lock, or nuc.img, or nuc.manifest.json, which is written beside it"))
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}", self.packages)?;
        self.image.iter().try_for_each(|image| write!(out, "{image}"))
    }
}
