//! Work that is kept for the next run, by the digest of all that went into it: packages' data, configured layers,
//! initramfs, file systems.
//!
//! ```text
//! <cache>/payload|layers|initramfs|bases/<digest>/   whole; comes here only by rename
//! <cache>/quarantine/<kind>-<digest>                 was found to hold something else
//! ```
//! Nothing here is needed: what is missing or damaged is made again.

use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A place for entries, and one on the same file system for entries in the making.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
    work: PathBuf,
}

impl Shelf {
    /// Entries in `folder`, made in `work`, which has to be on the same file system.
    pub fn new(folder: &Path, work: &Path) -> Shelf {
        Shelf { folder: folder.to_owned(), work: work.to_owned() }
    }

    /// The folder of an entry, if it is there. Marks it as used.
    pub fn find(&self, kind: &str, digest: &str) -> Option<PathBuf> {
        let path = self.path(kind, digest);
        let folder = fs::File::open(&path).ok()?;
        // On a cache that cannot be written to nothing is ever removed for being old.
        let _ = folder.file().set_modified(std::time::SystemTime::now());
        Some(path)
    }

    /// An empty folder to make an entry in.
    pub fn draft(&self) -> Result<TempDir> {
        fs::create_dir_all(&self.work)?;
        tempfile::Builder::new().prefix("entry-").tempdir_in(&self.work).context("making a folder for work")
    }

    /// Puts a finished entry under its name; one that another run put there meanwhile is as good.
    pub fn keep(&self, kind: &str, digest: &str, draft: TempDir) -> Result<PathBuf> {
        let path = self.path(kind, digest);
        fs::create_dir_all(self.folder.join(kind))?;
        match fs::rename(draft.path(), &path) {
            Ok(()) => drop(draft.keep()),
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(path)
    }

    /// Removes an entry, if it is there.
    pub fn forget(&self, kind: &str, digest: &str) -> Result<()> {
        match fs::remove_dir_all(self.path(kind, digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Moves a damaged entry out of the way, and says so; `what` is how messages call it.
    pub fn quarantine(
        &self,
        kind: &str,
        digest: &str,
        what: &str,
        damage: &anyhow::Error,
        progress: &Progress,
    ) -> Result<()> {
        let to = self.folder.join("quarantine").join(format!("{kind}-{digest}"));
        fs::create_dir_all(self.folder.join("quarantine"))?;
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        match fs::rename(self.path(kind, digest), &to) {
            // It was removed meanwhile: to be made again all the same.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            answer => answer?,
        }
        progress.say(&format!("the cached {kind} of {what} is damaged ({damage:#}): moved to {}", to.display()));
        Ok(())
    }

    fn path(&self, kind: &str, digest: &str) -> PathBuf {
        self.folder.join(kind).join(digest)
    }
}

const INDEX: &str = "index.json";

/// Writes the index of an entry in the making, after its own digest: the rest of the entry is judged by it.
pub fn write_index(folder: &Path, index: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(index)?;
    Ok(fs::write(folder.join(INDEX), format!("{}\n{json}", hex::encode(Sha256::digest(&json))))?)
}

/// The index of an entry, if it is as it was written.
pub fn read_index<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let text = fs::read_to_string(folder.join(INDEX))?;
    let (sha256, json) = text.split_once('\n').context("its index is cut short")?;
    ensure!(hex::encode(Sha256::digest(json)) == sha256, "its index has another SHA-256 than it was given");
    Ok(serde_json::from_str(json)?)
}

/// The SHA-256 of all that comes, in hexadecimal digits.
pub fn digest(content: &mut dyn Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The digest of what goes into an entry, in hexadecimal digits. Part of it is mimg itself: another mimg may do the same
/// work otherwise.
pub fn key(parts: &[&str]) -> String {
    static MIMG: OnceLock<String> = OnceLock::new();
    let mimg = MIMG.get_or_init(|| {
        let program = std::fs::read("/proc/self/exe").unwrap_or_default();
        hex::encode(Sha256::digest(program))
    });
    let mut hash = Sha256::new();
    for part in std::iter::once(&mimg.as_str()).chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}
