//! Making the cache smaller: what was not used for longest goes first, and nothing that a running build uses.
//!
//! Entries, and when each was last used (its time of change, which every use sets):
//!
//! ```text
//! debs/sha256/XX/DIGEST, debs/part/DIGEST, debs/quarantine/DIGEST     files
//! payload/NAME/, layers/NAME/, initramfs/NAME/, bases/NAME/           folders, each one entry
//! quarantine/NAME/                                                    the same
//! receipts/NAME                                                       files
//! work/run-…/                                                         of runs that are no more: these always go
//! ```
//! What was used since the oldest run at work began may be in use. A use takes a shared lock, sets the time, and finds the
//! file gone if it was removed; removing takes an exclusive lock and looks at the time again. So neither surprises the
//! other.

use crate::work::Work;
use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::File;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What was, or would be, removed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Freed {
    /// The least recently used first.
    pub removed: Vec<Entry>,
    /// Bytes of those, as the disk counts them.
    pub freed: u64,
    /// Bytes of the entries that stay; work in progress is not counted.
    pub kept: u64,
    /// Bytes of these that running builds may use.
    pub in_use: u64,
    /// Is the cache as small as it was to be? Not if running builds use more than that.
    pub reached: bool,
}

/// A file or folder of the cache.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Within the cache.
    pub path: PathBuf,
    /// As the disk counts them.
    pub bytes: u64,
    pub used: Timestamp,
    #[serde(skip)]
    since: SystemTime,
}

/// Folders whose files are entries.
const FILES: [&str; 4] = ["debs/sha256", "debs/part", "debs/quarantine", "receipts"];
/// Folders whose direct children are.
const FOLDERS: [&str; 5] = ["payload", "layers", "initramfs", "bases", "quarantine"];

/// Removes entries of `cache`, the least recently used first, until those left take at most `keep` bytes; with `dry` it
/// only tells. To be called as root of the namespace in which layers were made.
pub fn clean(cache: &Path, keep: u64, dry: bool) -> Result<Freed> {
    let now = SystemTime::now();
    let dead = dead(cache)?;
    let began = Work::oldest(cache)?.map_or(now, |began| began.min(now));
    let mut entries = entries(cache)?;
    entries.sort_by(|one, other| (one.since, &one.path).cmp(&(other.since, &other.path)));
    let mut freed = Freed { removed: dead, freed: 0, kept: 0, in_use: 0, reached: true };
    // Our own folder: making it removes what dead runs left, and a layer is moved here to be gone at once.
    let work = if dry { None } else { Some(Work::in_cache(cache)?) };
    let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in entries {
        let old = left > keep && entry.since < began;
        if old && work.as_ref().map_or(Ok(true), |work| remove(&cache.join(&entry.path), began, work.path()))? {
            left -= entry.bytes;
            freed.removed.push(entry);
        } else {
            freed.in_use += if entry.since < began { 0 } else { entry.bytes };
        }
    }
    freed.freed = freed.removed.iter().map(|entry| entry.bytes).sum();
    (freed.kept, freed.reached) = (left, left <= keep);
    Ok(freed)
}

/// Work folders that killed runs left.
fn dead(cache: &Path) -> Result<Vec<Entry>> {
    Work::dead(cache)?.iter().map(|path| entry(cache, path)).collect()
}

fn entries(cache: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for folder in FILES {
        files(cache, &cache.join(folder), &mut entries)?;
    }
    for folder in FOLDERS {
        for path in children(&cache.join(folder))? {
            entries.extend(gone_is_none(entry(cache, &path))?);
        }
    }
    Ok(entries)
}

fn files(cache: &Path, folder: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    for path in children(folder)? {
        match gone_is_none(fs::symlink_metadata(&path).map_err(Into::into))? {
            Some(there) if there.is_dir() => files(cache, &path, entries)?,
            Some(_) => entries.extend(gone_is_none(entry(cache, &path))?),
            None => {}
        }
    }
    Ok(())
}

fn entry(cache: &Path, path: &Path) -> Result<Entry> {
    let since = fs::symlink_metadata(path)?.modified()?;
    let bytes = size(path, &mut HashSet::new())?;
    let used = Timestamp::try_from(since).context("reading a time of change")?;
    Ok(Entry { path: path.strip_prefix(cache)?.to_owned(), bytes, used, since })
}

/// Bytes that a file or a folder with all that is in it takes on the disk, a file with several names once.
fn size(path: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64> {
    let there = fs::symlink_metadata(path)?;
    if there.nlink() > 1 && !there.is_dir() && !seen.insert((there.dev(), there.ino())) {
        return Ok(0);
    }
    let mut bytes = there.blocks() * 512;
    if there.is_dir() {
        for child in children(path)? {
            bytes += gone_is_none(size(&child, seen))?.unwrap_or_default();
        }
    }
    Ok(bytes)
}

/// Bytes of all files below a folder, by their length; none if it is not there.
pub fn bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in children(folder)? {
        let there = fs::symlink_metadata(&path)?;
        bytes += if there.is_dir() { self::bytes(&path)? } else { there.len() };
    }
    Ok(bytes)
}

/// Removes one entry, unless it is in use or was used since `began`; whether it is gone.
fn remove(path: &Path, began: SystemTime, work: &Path) -> Result<bool> {
    let Some(file) = gone_is_none(File::open(path).map_err(Into::into))? else { return Ok(true) };
    if file.file().try_lock().is_err() {
        return Ok(false);
    }
    let there = file.metadata()?;
    if there.modified()? >= began {
        return Ok(false);
    }
    if !there.is_dir() {
        return Ok(gone_is_none(fs::remove_file(path).map_err(Into::into))?.is_some());
    }
    // First out of sight, so that nobody meets half of it, also if this run is killed.
    let aside = work.join("layer");
    fs::rename(path, &aside)?;
    fs::remove_dir_all(&aside)?;
    Ok(true)
}

/// What a folder holds; nothing if it is not there.
fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = gone_is_none(fs::read_dir(folder).map_err(Into::into))? else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Others work here too: what they removed meanwhile is no error.
fn gone_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    let gone = |error: &anyhow::Error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
    };
    match result {
        Err(error) if gone(&error) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BLOCK: u64 = 4096;

    /// A cache with a file or layer of some blocks for each name, used that many hours ago.
    fn cache(entries: &[(&str, u64, u64)]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        for (name, blocks, hours) in entries {
            let path = cache.path().join(name);
            let file = if name.starts_with("layers") { path.join("etc/file") } else { path.clone() };
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, vec![7; (blocks * BLOCK) as usize]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(hours * 3600);
            File::open(&path).unwrap().file().set_modified(used).unwrap();
        }
        cache
    }

    fn names(freed: &Freed) -> Vec<&str> {
        freed.removed.iter().map(|entry| entry.path.to_str().unwrap()).collect()
    }

    const THREE: [(&str, u64, u64); 3] =
        [("debs/sha256/aa/old", 10, 30), ("layers/tree", 10, 20), ("debs/sha256/bb/new", 10, 10)];

    #[test]
    fn what_was_not_used_for_longest_goes_until_the_rest_fits() {
        let cache = cache(&THREE);
        let at_most = 15 * BLOCK;
        let dry = clean(cache.path(), at_most, true).unwrap();
        assert_eq!(names(&dry), ["debs/sha256/aa/old", "layers/tree"]);
        assert!(cache.path().join("layers/tree/etc/file").exists() && !cache.path().join("work").exists());
        let freed = clean(cache.path(), at_most, false).unwrap();
        assert_eq!(names(&freed), names(&dry));
        assert_eq!((freed.freed, freed.kept, freed.in_use, freed.reached), (dry.freed, 10 * BLOCK, 0, true));
        assert!(freed.freed >= 20 * BLOCK);
        assert!(!cache.path().join("layers/tree").exists() && cache.path().join("debs/sha256/bb/new").exists());
        assert!(
            clean(cache.path(), at_most, false).unwrap().removed.is_empty(),
            "the second time nothing is left to do"
        );
        assert_eq!(names(&clean(cache.path(), 0, false).unwrap()), ["debs/sha256/bb/new"]);
    }

    #[test]
    fn what_a_running_build_uses_stays_and_is_told() {
        let cache = cache(&THREE);
        let run = Work::in_cache(cache.path()).unwrap();
        File::open(cache.path().join("debs/sha256/aa/old")).unwrap().file().set_modified(SystemTime::now()).unwrap();
        let freed = clean(cache.path(), 0, false).unwrap();
        assert_eq!(names(&freed), ["layers/tree", "debs/sha256/bb/new"]);
        assert_eq!((freed.kept, freed.in_use, freed.reached), (10 * BLOCK, 10 * BLOCK, false));
        drop(run);
        assert_eq!(names(&clean(cache.path(), 0, false).unwrap()), ["debs/sha256/aa/old"]);
    }

    #[test]
    fn what_is_locked_stays_however_old() {
        let cache = cache(&[("debs/part/aa", 1, 30), ("layers/tree", 1, 30), ("debs/part/bb", 1, 30)]);
        let open = |name: &str| {
            let file = File::open(cache.path().join(name)).unwrap();
            file.file().lock_shared().unwrap();
            file
        };
        let (part, layer) = (open("debs/part/aa"), open("layers/tree"));
        assert_eq!(names(&clean(cache.path(), 0, false).unwrap()), ["debs/part/bb"]);
        drop((part, layer));
        assert_eq!(names(&clean(cache.path(), 0, false).unwrap()), ["debs/part/aa", "layers/tree"]);
    }

    #[test]
    fn what_a_killed_run_left_goes_in_any_case() {
        let cache = cache(&[("work/run-dead/tree/file", 10, 1)]);
        let dry = clean(cache.path(), u64::MAX, true).unwrap();
        assert_eq!(names(&dry), ["work/run-dead"]);
        assert!(cache.path().join("work/run-dead").exists());
        assert!(clean(cache.path(), u64::MAX, false).unwrap().freed >= 10 * BLOCK);
        assert!(!cache.path().join("work/run-dead").exists());
    }

    #[test]
    fn an_empty_or_missing_cache_is_small_enough() {
        let folder = tempfile::tempdir().unwrap();
        let freed = clean(&folder.path().join("none"), 0, true).unwrap();
        assert!(freed.reached && freed.removed.is_empty());
    }
}
