//! The root file system before the few files that are a machine's own: packed once, kept, and copied into each image.
//!
//! ```text
//! bases/<key>/ext4         the file system, sparse
//!             index.json   what is in it, and the digest of each stretch
//! ```

use crate::image::direct::{self, Aligned};
use crate::image::ext4::Ext4;
use crate::image::identity::Identity;
use crate::image::stream;
use crate::progress::Stage;
use crate::tree::shelf;
use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A packed tree.
pub struct Base {
    folder: PathBuf,
    pub index: Index,
}

/// What is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Of the file system, in bytes.
    pub size: u64,
    /// SHA-256 of the tree as a tar stream.
    pub tree_sha256: String,
    /// Files, folders and links.
    pub tree_entries: u64,
    /// SHA-256 of each stretch, in order; empty for one that is a hole. None at all until it is copied for the first time.
    stretches: Vec<String>,
}

/// A kept file system is not what it was: it has to be packed again.
#[derive(Debug)]
pub struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

/// Bytes of a stretch.
const STRETCH: u64 = 4 << 20;
/// How many are read or written at a time.
const COPIERS: usize = 4;

impl Base {
    /// Packs `tree` into a file system of `size` bytes in the empty folder `folder`. No time in it is after `epoch`.
    pub fn pack(tree: &Path, size: u64, identity: &Identity, epoch: i64, folder: &Path, stage: &Stage) -> Result<Base> {
        let used = stream::used(tree).context("measuring the tree")?;
        let least = used.bytes + used.entries * 256;
        ensure!(
            size >= least,
            "the root file system is to have {size} bytes, and the tree needs {least}: make it larger"
        );
        let disk = folder.join("ext4");
        fs::File::create_new(&disk)?.set_len(size)?;
        let ext4 = Ext4 {
            disk: &disk,
            start: 0,
            size,
            uuid: identity.uuid("root/ext4"),
            hash_seed: identity.uuid("root/hash-seed"),
            epoch,
        };
        let tree_sha256 = ext4.write(tree, &used, stage)?;
        let index = Index { size, tree_sha256, tree_entries: used.entries, stretches: Vec::new() };
        Ok(Base { folder: folder.to_owned(), index })
    }

    /// One that an earlier run packed.
    pub fn open(folder: PathBuf) -> Result<Base> {
        let index: Index = shelf::read_index(&folder)?;
        let size = fs::metadata(folder.join("ext4"))?.len();
        ensure!(size == index.size, "it has {size} bytes: wanted {}", index.size);
        Ok(Base { folder, index })
    }

    /// Whether it was copied before: its digests are known.
    pub fn is_known(&self) -> bool {
        !self.index.stretches.is_empty()
    }

    /// Writes what is known of it beside it, for `open`.
    pub fn save(&self) -> Result<()> {
        shelf::write_index(&self.folder, &self.index)
    }

    /// Bytes that it takes on the disk.
    pub fn used(&self) -> Result<u64> {
        Ok(fs::metadata(self.folder.join("ext4"))?.blocks() * 512)
    }

    /// Writes it into the file `disk`, which is all holes, from byte `start` on. The first time its digests are taken, and
    /// compared from then on: the error of a damaged one says so.
    ///
    /// Past the page cache where the file systems can do that: a gigabyte that nobody reads soon only drives out what
    /// the next build reads.
    pub fn copy(&mut self, disk: &Path, start: u64) -> Result<()> {
        let path = self.folder.join("ext4");
        // What was packed a moment ago is in the page cache.
        let from =
            if self.is_known() { direct::open(fs::File::options().read(true), &path)? } else { fs::File::open(&path)? };
        let to = direct::open(fs::File::options().write(true), disk)?;
        let each = |buffer: &mut Aligned, at: u64| -> Result<String> {
            let place = at * STRETCH;
            let bytes = buffer.first(STRETCH.min(self.index.size - place) as usize);
            let end = place + bytes.len() as u64;
            let wanted = self.index.stretches.get(at as usize);
            if direct::data_after(from.file(), place)?.is_none_or(|data| data >= end)
                && wanted.is_none_or(String::is_empty)
            {
                return Ok(String::new());
            }
            from.file().read_exact_at(bytes, place)?;
            // What a hole is depends on the page cache too: to us it is what holds zeros.
            let seen =
                if bytes.iter().all(|byte| *byte == 0) { String::new() } else { hex::encode(Sha256::digest(&bytes)) };
            if let Some(wanted) = wanted.filter(|wanted| **wanted != seen) {
                bail!(Damaged(format!("its bytes from {place} on have the SHA-256 {seen}: wanted {wanted}")));
            }
            write(to.file(), bytes, start + place).context("writing the root file system")?;
            Ok(seen)
        };
        let stretches = (0..self.index.size.div_ceil(STRETCH)).into_par_iter().map_init(|| Aligned::new(STRETCH), each);
        // Threads of its own: they wait for the disk, and others have work for the processors meanwhile.
        let threads = rayon::ThreadPoolBuilder::new().num_threads(COPIERS).build().context("starting threads")?;
        self.index.stretches = threads.install(|| stretches.collect::<Result<_>>())?;
        Ok(())
    }
}

/// Leaves out blocks of zeros: the file stays sparse.
fn write(disk: &std::fs::File, bytes: &[u8], place: u64) -> Result<()> {
    const BLOCK: usize = 64 << 10;
    let mut from = 0;
    while from < bytes.len() {
        let zero = |at: usize| bytes[at..(at + BLOCK).min(bytes.len())].iter().all(|byte| *byte == 0);
        let mut to = from;
        while to < bytes.len() && !zero(to) {
            to += BLOCK;
        }
        disk.write_all_at(&bytes[from..to.min(bytes.len())], place + from as u64)?;
        from = to.max(from + BLOCK);
        while from < bytes.len() && zero(from) {
            from += BLOCK;
        }
    }
    Ok(())
}
