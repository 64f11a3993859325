//! An EFI system partition that is not mounted: read, made, and changed, in process.
//!
//! ```text
//! make:     all but the first sector, flush, first sector, flush     no file system, or a whole one
//! change:   a file of which one sector differs is overwritten: one write
//!           others are written beside the old one, flushed, then take its name
//! ```
//! Each file that was written is read back from the disk.

use crate::block;
use crate::fat::{self, Volume, fat32_cluster};
use crate::window::Window;
use anyhow::{Context, Result, bail, ensure};
use hadris_fat::sync::{Read, Seek};
use hadris_fat::time::StaticTimeProvider;
use hadris_fat::{FatDir, FatVolume, FatVolumeReadExt, FileEntry};
use jiff::Timestamp;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use profiles::act::{EspFile, Fat, Source};
use profiles::ask::Leaf;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The most that one file may have: more is no boot loader.
const LARGEST: u64 = 64 << 20;
/// Folders in folders: more is a ring.
const DEPTH: usize = 8;
/// What the smallest sector holds: written as a whole or not at all.
const ATOM: usize = 512;

/// The files of the FAT file system on `device` (or in a file), by their paths. `None` where there is no such device.
pub fn read(device: &str) -> Result<Option<BTreeMap<String, Leaf>>> {
    let file = match File::open(device) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening {device}")),
    };
    let files = contents(&file).with_context(|| format!("reading the ESP {device}"))?;
    Ok(Some(files.into_iter().map(|(path, content)| (path, Leaf::new(&content))).collect()))
}

/// Puts files on the ESP `device`, which nobody uses, in their order; with `make` it is made anew first. Contents come
/// from below `root`.
pub fn put(root: &Path, device: &str, make: Option<&Fat>, files: &[EspFile]) -> Result<()> {
    let content = |file: &EspFile| -> Result<(String, Vec<u8>)> {
        let bytes = match &file.from {
            Source::Text(text) => text.clone().into_bytes(),
            Source::File(path) => fs_err::read(root.join(path.trim_start_matches('/')))?,
        };
        Ok((file.path.clone(), bytes))
    };
    let files: Vec<(String, Vec<u8>)> = files.iter().map(content).collect::<Result<_>>()?;
    // On a block device O_EXCL means: only if it is neither mounted nor a part of something else.
    let disk = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_EXCL)
        .open(device)
        .with_context(|| format!("opening {device} for this alone"))?;
    match make {
        Some(fat) => format(&disk, fat, &files).with_context(|| format!("making the ESP {device}"))?,
        None => change(&disk, &files).with_context(|| format!("changing the ESP {device}"))?,
    }
    forget(&disk)?;
    let there = contents(&disk).with_context(|| format!("reading the ESP {device} back"))?;
    let wrong = files.iter().find(|(path, content)| there.get(path) != Some(content));
    match wrong {
        Some((path, _)) => bail!("{path} on {device} does not read back as it was written: the disk may be dying"),
        None => Ok(()),
    }
}

/// What was written is read from the disk from here on, and not from memory.
fn forget(disk: &File) -> Result<()> {
    disk.sync_all().context("writing it to the disk")?;
    Ok(posix_fadvise(disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

fn length(disk: &File) -> Result<u64> {
    Ok(std::io::Seek::seek(&mut &*disk, SeekFrom::End(0))?)
}

/// A new file system with these files. It is made in memory, and copied as far as it holds anything.
fn format(disk: &File, fat: &Fat, files: &[(String, Vec<u8>)]) -> Result<()> {
    let (size, sector) = (length(disk)?, block::sector(disk)?);
    let sketch = tempfile::tempfile().context("making a file for the new file system")?;
    sketch.set_len(size)?;
    let entries: Vec<fat::Entry> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let volume = Volume {
        label: &fat.label,
        serial: fat.serial,
        sector,
        fat32_cluster: fat32_cluster(size, sector),
        files: &entries,
        epoch: Timestamp::now().as_second(),
    };
    volume.write(&mut Window::new(&sketch, 0, size))?;
    let end = end_of_data(&sketch, size)?;
    let mut bytes = vec![0; end as usize];
    sketch.read_exact_at(&mut bytes, 0)?;
    let first = sector as usize;
    ensure!(bytes.len() > first, "an empty file system");
    // The old first sector must not be taken for one of the new file system.
    disk.write_all_at(&vec![0; first], 0)?;
    disk.sync_all()?;
    disk.write_all_at(&bytes[first..], sector)?;
    disk.sync_all()?;
    disk.write_all_at(&bytes[..first], 0)?;
    Ok(disk.sync_all()?)
}

/// Where the last byte that is not in a hole ends.
fn end_of_data(file: &File, size: u64) -> Result<u64> {
    use nix::unistd::{Whence, lseek};
    let mut end = 0;
    while let Ok(data) = lseek(file, end as i64, Whence::SeekData) {
        end = lseek(file, data, Whence::SeekHole)? as u64;
        if end >= size {
            break;
        }
    }
    Ok(end.min(size))
}

type Mounted<'a> = FatVolume<Window<'a>>;

fn open(disk: &File) -> Result<Mounted<'_>> {
    let size = length(disk)?;
    let time = fat::fat_time(Timestamp::now().as_second())?;
    // The crate asks for a clock that lives for ever: six bytes for each volume.
    let clock = Box::leak(Box::new(StaticTimeProvider(time)));
    FatVolume::builder(Window::new(disk, 0, size)).time_provider(clock).open().context("opening the FAT volume")
}

fn change(disk: &File, files: &[(String, Vec<u8>)]) -> Result<()> {
    for (path, content) in files {
        let volume = open(disk)?;
        replace(&volume, disk, path, content).with_context(|| format!("putting {path}"))?;
        volume.sync()?;
        disk.sync_all()?;
    }
    Ok(())
}

fn replace(volume: &Mounted, disk: &File, path: &str, content: &[u8]) -> Result<()> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = || fat::folder(volume, folder);
    let old = parent()?.find(name)?;
    if let Some(old) = &old
        && old.is_file()
        && differing(&whole(volume, old)?, content) == Some(1)
    {
        return fat::fill(volume, old, content);
    }
    let beside = format!("{name}.new");
    if let Some(left) = parent()?.find(&beside)? {
        volume.delete(&left)?;
    }
    let new = volume.create_file(&parent()?, &beside)?;
    fat::fill(volume, &new, content)?;
    volume.sync()?;
    disk.sync_all()?;
    if let Some(old) = old {
        volume.delete(&old)?;
    }
    let new = parent()?.find(&beside)?.context("what was just written is not there")?;
    volume.rename(&new, &parent()?, name)?;
    Ok(())
}

/// How many atoms of two contents of one length differ.
fn differing(old: &[u8], new: &[u8]) -> Option<usize> {
    (old.len() == new.len()).then(|| old.chunks(ATOM).zip(new.chunks(ATOM)).filter(|(old, new)| old != new).count())
}

/// All files of the volume, by their paths.
fn contents(disk: &File) -> Result<BTreeMap<String, Vec<u8>>> {
    let volume = open(disk)?;
    let mut files = BTreeMap::new();
    walk(&volume, &volume.root_dir(), "", 0, &mut files)?;
    Ok(files)
}

fn walk(
    volume: &Mounted,
    folder: &FatDir<'_, Window<'_>>,
    path: &str,
    depth: usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    ensure!(depth < DEPTH, "folders in folders without end at {path}");
    for entry in folder.entries() {
        let entry = entry?;
        let Some(entry) = entry.as_entry() else { continue };
        let name = entry.name();
        if [".", ".."].contains(&&*name) {
            continue;
        }
        let path = if path.is_empty() { name.to_string() } else { format!("{path}/{name}") };
        if entry.is_directory() {
            walk(volume, &volume.open_dir_entry(entry)?, &path, depth + 1, files)?;
        } else {
            files.insert(path, whole(volume, entry)?);
        }
    }
    Ok(())
}

fn whole<D: Read + Seek>(volume: &FatVolume<D>, entry: &FileEntry) -> Result<Vec<u8>> {
    ensure!(entry.len() <= LARGEST, "{} has {} bytes, more than any boot loader", entry.name(), entry.len());
    Ok(volume.read_file(entry)?.read_to_vec()?)
}
