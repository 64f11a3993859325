//! The right to write one file: of two runs that would write the same image, the later one waits.

use crate::progress::Progress;
use crate::turn;
use anyhow::{Context, Result, ensure};
use fs_err as fs;
use fs_err::File;
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Held while the file is made; dropping it gives the next one its turn.
pub struct Claim {
    _lock: File,
    path: PathBuf,
}

/// What the locked files are called, in the cache's folder of work.
const PREFIX: &str = "out-";

impl Claim {
    /// Claims `out`, whose folder must exist and be writable. Waits while another run with the same cache makes it.
    pub fn of(out: &Path, cache: &Path, progress: &Progress) -> Result<Claim> {
        let whole = writable(out)?;
        let work = cache.join("work");
        fs::create_dir_all(&work)?;
        sweep(&work)?;
        let digest = hex::encode(Sha256::digest(whole.as_os_str().as_bytes()));
        let path = work.join(format!("{PREFIX}{}", &digest[..32]));
        loop {
            let lock = File::options().write(true).create(true).truncate(false).open(&path)?;
            turn::take(lock.file(), &format!("writes {}", out.display()), progress)?;
            // Whoever had the lock has removed the file by now: then it is another one's that has this name.
            if is_at(&lock, &path) {
                return Ok(Claim { _lock: lock, path });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // If it stays, the next run sweeps it.
        let _ = fs::remove_file(&self.path);
    }
}

/// `out` without links. Says what is wrong with it before any work is done.
fn writable(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("{} names no file to write", out.display()))?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "there is no folder {}: make it, or name another file with --out", folder.display());
    let whole = fs::canonicalize(folder)?.join(name);
    ensure!(!whole.is_dir(), "{} is a folder: name the file in it that is to be written", out.display());
    tempfile::tempfile_in(folder).with_context(|| {
        format!("writing into {} (cure: make it writable, or name another file with --out)", folder.display())
    })?;
    Ok(whole)
}

/// Removes the locked files of runs that are no more.
fn sweep(work: &Path) -> Result<()> {
    for entry in fs::read_dir(work)? {
        let entry = entry?;
        if !entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if file.file().try_lock().is_ok() && is_at(&file, &entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|here| here.ino() == there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(cache: &Path) -> usize {
        let entries = fs::read_dir(cache.join("work")).expect("the work").flatten();
        entries.filter(|entry| entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())).count()
    }

    #[test]
    fn a_file_is_one_runs_at_a_time_by_whatever_name_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("cache");
        let (one, same) = (folder.path().join("a.img"), folder.path().join("cache/../a.img"));
        let first = Claim::of(&one, &cache, &Progress::quiet()).expect("the first");
        let other = Claim::of(&folder.path().join("b.img"), &cache, &Progress::quiet()).expect("another file");
        let waiting = std::thread::scope(|scope| {
            let (here, there) = std::sync::mpsc::channel();
            let cache = &cache;
            scope.spawn(move || {
                here.send(()).expect("telling");
                drop(Claim::of(&same, cache, &Progress::quiet()).expect("its turn comes"));
                here.send(()).expect("telling");
            });
            there.recv().expect("it has begun");
            let early = there.recv_timeout(std::time::Duration::from_millis(200)).is_ok();
            drop(first);
            there.recv().expect("its turn has come");
            !early
        });
        assert!(waiting, "the second did not wait for the first");
        drop(other);
        assert_eq!(locks(&cache), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("work")).expect("the work");
        fs::write(folder.path().join("work/out-dead"), "").expect("a leftover");
        let claims: Vec<Claim> = ["a", "b"]
            .map(|name| Claim::of(&folder.path().join(name), folder.path(), &Progress::quiet()).expect("a claim"))
            .into();
        assert_eq!(locks(folder.path()), 2);
        drop(claims);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |out: &Path| {
            let refused = Claim::of(out, folder.path(), &Progress::quiet()).err().expect("it is refused");
            format!("{refused:#}")
        };
        assert!(said(&folder.path().join("none/a.img")).contains("there is no folder"));
        assert!(said(folder.path()).contains("is a folder"));
        assert!(said(Path::new("/proc/a.img")).contains("--out"), "{}", said(Path::new("/proc/a.img")));
    }
}
