//! What a build wrote, kept beside the cache: the next one with the same inputs finds it there, and does nothing.
//!
//! Files count as those that were written while their inode, size and times are the same.

use crate::build::Order;
use crate::image::manifest::Manifest;
use crate::tree::shelf;
use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What was written last for the same inputs, to the same place.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    files: BTreeMap<PathBuf, Stamp>,
    manifest: Manifest,
}

/// A file's inode, size, and times of change in seconds and nanoseconds.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64, [i64; 4]);

impl Receipt {
    /// The manifest of the build that `key` names, if all that it wrote is still there as it was written.
    pub fn find(cache: &Path, key: &str) -> Option<Manifest> {
        let receipt: Receipt = serde_json::from_slice(&fs::read(path(cache, key)).ok()?).ok()?;
        let same = receipt.files.iter().all(|(path, stamp)| Stamp::of(path).is_ok_and(|seen| seen == *stamp));
        same.then_some(receipt.manifest)
    }

    /// Keeps what was written.
    pub fn keep(cache: &Path, key: &str, files: &[PathBuf], manifest: &Manifest) -> Result<()> {
        let stamp = |file: &PathBuf| Ok((fs::canonicalize(file)?, Stamp::of(file)?));
        let receipt = Receipt { files: files.iter().map(stamp).collect::<Result<_>>()?, manifest: manifest.clone() };
        let (path, text) = (path(cache, key), serde_json::to_vec(&receipt)?);
        let folder = path.parent().context("finding the folder of receipts")?;
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, &text)?;
        file.persist(path)?;
        Ok(())
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Stamp> {
        let meta = fs::metadata(path)?;
        Ok(Stamp(meta.ino(), meta.len(), [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]))
    }
}

/// The digest of all that goes into what a build writes; `publication` stands for what is made of the image, and where.
pub fn key(order: &Order, publication: &str) -> Result<String> {
    let mut parts = vec!["receipt".to_owned(), order.spec.json(), serde_json::to_string(order.archive)?];
    parts.push(serde_json::to_string(&(order.locked.epoch, &order.locked.suites))?);
    parts.extend(order.locked.packages.iter().map(|package| package.sha256.clone()));
    for (profile, folder) in order.own_overlays() {
        parts.push(profile);
        overlay(&folder, Path::new(""), &mut parts)?;
    }
    parts.push(publication.to_owned());
    Ok(shelf::key(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Each entry of an overlay: its path, mode, and content or target.
fn overlay(folder: &Path, below: &Path, parts: &mut Vec<String>) -> Result<()> {
    let mut names = fs::read_dir(folder.join(below))?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let (path, meta) = (below.join(entry.file_name()), entry.metadata()?);
        let content = match entry.file_type()? {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(entry.path())?),
            kind if kind.is_file() => shelf::digest(&mut fs::File::open(entry.path())?)?,
            _ => String::new(),
        };
        parts.push(format!("{path:?} {:o} {content}", meta.permissions().mode()));
        if meta.is_dir() {
            overlay(folder, &path, parts)?;
        }
    }
    Ok(())
}

fn path(cache: &Path, key: &str) -> PathBuf {
    cache.join("receipts").join(key)
}
