//! What a disk holds after a power cut.
//!
//! A killed QEMU is not a power cut: the host still writes out all that the guest wrote. So QEMU records writes and
//! flushes (`Disk::write_log`), and the disk is made from the record: what was flushed is there, what was written later
//! may be there, or not, or in pieces. The format is that of Linux' dm-log-writes, all numbers little-endian:
//!
//! ```text
//! sector 0   magic u64 | version u64 | entries u64 | bytes in a sector u32
//! then, for each entry, one sector:  sector u64 | sectors u64 | flags u64 | length u64
//! and, unless it is a discard,       the data: so many sectors
//! ```
//! The number of entries is brought up to date at a flush: a cut leaves whole entries beyond it.

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::fcntl::{FallocateFlags, fallocate};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Discard,
    /// All entries before it are durable.
    Flush,
}

/// One act of the guest on its disk; places and lengths in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub offset: u64,
    pub length: u64,
    /// Where the log has the data.
    data: u64,
}

/// What becomes of entries after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// The disk had written them all.
    Kept,
    /// None had left its cache.
    Lost,
    /// Some sectors had, chosen by this seed: writes are torn, and out of order.
    Torn(u64),
}

/// A moment of the log, and the disk's mood at it.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// The power goes after so many entries.
    pub entries: usize,
    pub unflushed: Unflushed,
}

pub struct WriteLog {
    file: fs::File,
    sector: u64,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads the log of a machine that has ended.
    pub fn open(path: &Path) -> Result<WriteLog> {
        let file = fs::File::open(path)?;
        let mut log = WriteLog { file, sector: 512, entries: Vec::new() };
        if log.file.metadata()?.len() > log.sector {
            log.read().with_context(|| format!("reading the write log {}", path.display()))?;
        }
        Ok(log)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The places of the flushes among the entries.
    pub fn flushes(&self) -> Vec<usize> {
        (0..self.entries.len()).filter(|index| self.entries[*index].kind == Kind::Flush).collect()
    }

    /// Makes the raw disk `out` of `size` bytes: what `base`, the disk at the log's start, holds after the `crash`.
    pub fn disk(&self, base: &Path, size: u64, crash: Crash, out: &Path) -> Result<()> {
        let Some(entries) = self.entries.get(..crash.entries) else {
            bail!("the log has {} entries: a crash after {} cannot be made", self.entries.len(), crash.entries);
        };
        copy(base, out)?;
        let disk = fs::OpenOptions::new().write(true).open(out)?;
        disk.set_len(size.max(disk.metadata()?.len()))?;
        let durable = entries.iter().rposition(|entry| entry.kind == Kind::Flush).unwrap_or(0);
        for (index, entry) in entries.iter().enumerate() {
            let mood = if index < durable { Unflushed::Kept } else { crash.unflushed };
            self.apply(index, entry, mood, &disk)
                .with_context(|| format!("applying entry {index} of the write log"))?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let [magic, version, counted] = self.words(0)?;
        if magic != MAGIC || version != 1 {
            // Before the first flush there is no header yet, only a hole of the default sector's size.
            if magic != 0 {
                bail!("it begins with {magic:#x}, version {version}: {MAGIC:#x}, version 1 was expected");
            }
        } else {
            let mut bytes = [0; 4];
            self.file.file().read_exact_at(&mut bytes, 24)?;
            self.sector = u64::from(u32::from_le_bytes(bytes));
        }
        if !self.sector.is_power_of_two() || !(512..1 << 24).contains(&self.sector) {
            bail!("it has sectors of {} bytes", self.sector);
        }
        let mut place = self.sector;
        while let Some((entry, next)) = self.entry(place)? {
            self.entries.push(entry);
            place = next;
        }
        if (self.entries.len() as u64) < counted {
            bail!("it has {} whole entries, and says that it has {counted}", self.entries.len());
        }
        Ok(())
    }

    /// The entry at `place`, and where the next one is; None where no whole one is: the cut came before its end.
    fn entry(&self, place: u64) -> Result<Option<(Entry, u64)>> {
        let end = self.file.metadata()?.len();
        if place + self.sector > end {
            return Ok(None);
        }
        let [sector, sectors, flags] = self.words(place)?;
        let kind = match flags {
            0 if sectors == 0 => return Ok(None),
            0 => Kind::Write,
            FLUSH if sectors == 0 => Kind::Flush,
            DISCARD => Kind::Discard,
            _ => bail!(
                "at {place} is an entry of {sectors} sectors with the flags {flags:#x}, which QEMU does not write"
            ),
        };
        let bytes = |count: u64| count.checked_mul(self.sector).context("multiplying a number of sectors");
        let data = place + self.sector;
        let entry = Entry { kind, offset: bytes(sector)?, length: bytes(sectors)?, data };
        let next = if kind == Kind::Write { data.checked_add(entry.length) } else { Some(data) };
        Ok(next.filter(|next| *next <= end).map(|next| (entry, next)))
    }

    fn words(&self, place: u64) -> Result<[u64; 3]> {
        let mut words = [0; 3];
        for (index, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.file.file().read_exact_at(&mut bytes, place + 8 * index as u64)?;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(words)
    }

    fn apply(&self, index: usize, entry: &Entry, mood: Unflushed, disk: &fs::File) -> Result<()> {
        let keeps = |sector: u64| match mood {
            Unflushed::Kept => true,
            Unflushed::Lost => false,
            Unflushed::Torn(seed) => coin(seed ^ ((index as u64) << 32) ^ sector),
        };
        match entry.kind {
            Kind::Flush => {}
            Kind::Discard if keeps(0) => punch(disk, entry)?,
            Kind::Discard => {}
            Kind::Write => {
                let mut bytes = vec![0; usize::try_from(self.sector)?];
                for sector in (0..entry.length / self.sector).filter(|sector| keeps(*sector)) {
                    self.file.file().read_exact_at(&mut bytes, entry.data + sector * self.sector)?;
                    disk.file().write_all_at(&bytes, entry.offset + sector * self.sector)?;
                }
            }
        }
        Ok(())
    }
}

/// What was discarded reads as zeros.
fn punch(disk: &fs::File, entry: &Entry) -> Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let (offset, length) = (i64::try_from(entry.offset)?, i64::try_from(entry.length)?);
    fallocate(disk.file(), flags, offset, length).context("making a hole")
}

/// Copies with holes kept: `std::fs::copy` would fill them.
fn copy(base: &Path, out: &Path) -> Result<()> {
    let output = Command::new("cp").args(["--reflink=auto", "--sparse=always"]).arg(base).arg(out).output();
    let output = output.context("starting cp")?;
    if !output.status.success() {
        bail!("copying {}: {}", base.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Heads or tails, the same for the same `toss` (the finaliser of SplitMix64).
fn coin(toss: u64) -> bool {
    let mut z = toss.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & 1 == 1
}

#[cfg(test)]
mod tests;
