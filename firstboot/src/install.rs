//! The running system copied to a device, and given its UUID when all reads back as it was written.

use crate::aside::{Mount, aside};
use crate::copy::Copy;
use crate::rules::Rules;
use crate::tree::{self, Entries, Kind, Sum, below};
use crate::{command, file};
use anyhow::{Context, Result, bail};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::MsFlags;
use nix::unistd::syncfs;
use profiles::act::{Install, Kept};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a device's link may take to be there.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// How many differences are named.
const NAMED: usize = 5;

/// Does it, for the system below `root`.
pub async fn install(root: &Path, install: &Install) -> Result<()> {
    let device = &install.device;
    wait_for(device).await?;
    let (draft, label) = (install.draft.as_str(), install.label.as_str());
    // As in an image; what the file system lays out later it does while the machine is idle.
    let make = [
        "mkfs.ext4",
        "-q",
        "-b",
        "4096",
        "-I",
        "256",
        "-m",
        "1",
        "-e",
        "remount-ro",
        "-O",
        // Debian 13's default: without it the UUID of a file system that was mounted is not changed before a check.
        "metadata_csum_seed",
        "-L",
        label,
        "-U",
        draft,
        device.as_str(),
    ];
    command::act(&make.map(str::to_owned)).await?;
    let (from, order) = (root.to_owned(), install.clone());
    let written =
        aside(move || write(&from, &order)).await.with_context(|| format!("copying the system to {device}"))?;
    let place = device.clone();
    aside(move || read_back(&place, &written)).await.with_context(|| format!("reading {device} back"))?;
    command::act(&["tune2fs", "-U", install.uuid.as_str(), device].map(str::to_owned)).await?;
    flush(device)
}

/// Waits until there is a device: its link may be made anew at this moment.
pub(crate) async fn wait_for(device: &str) -> Result<()> {
    let deadline = Instant::now() + APPEARS_WITHIN;
    while !Path::new(device).exists() {
        if Instant::now() > deadline {
            bail!("after {} s there is no {device}; see `lsblk`", APPEARS_WITHIN.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Copies everything, and gives what should be on the disk now.
fn write(root: &Path, install: &Install) -> Result<Entries> {
    let (source, slot) = (Mount::bind(root)?, Mount::device(&install.device, "ext4", MsFlags::empty())?);
    let mut entries = Entries::new();
    let left_out = Rules::new(&install.left_out);
    Copy::new(source.path(), slot.path(), &left_out, &mut entries).all(Path::new("/"))?;
    if let Some(kept) = &install.kept {
        keep(kept, slot.path(), &mut entries).with_context(|| format!("taking over from {}", kept.device))?;
    }
    for wanted in &install.files {
        file::put(slot.path(), wanted)?;
        put(slot.path(), Path::new(&wanted.path), &mut entries)?;
    }
    syncfs(fs_err::File::open(slot.path())?).context("writing it to the disk")?;
    slot.end()?;
    source.end()?;
    flush(&install.device)?;
    Ok(entries)
}

/// Copies what outlives a system from another one.
fn keep(kept: &Kept, slot: &Path, entries: &mut Entries) -> Result<()> {
    let other = Mount::device(&kept.device, "ext4", MsFlags::MS_RDONLY)?;
    let (meant, left_out) = (Rules::new(&kept.paths), Rules::new(&kept.left_out));
    for folder in meant.folders() {
        let Ok(found) = fs_err::read_dir(below(other.path(), folder)) else { continue };
        let mut paths = Vec::new();
        for entry in found {
            paths.push(folder.join(entry?.file_name()));
        }
        paths.sort();
        let is_folder = |path: &Path| below(other.path(), path).is_dir();
        paths.retain(|path| meant.mean(path, is_folder(path)));
        for path in paths {
            make_folders(&path, other.path(), slot, entries)?;
            Copy::new(other.path(), slot, &left_out, entries).all(&path)?;
        }
    }
    other.end()
}

/// Makes the folders of `path` that are missing, as the other system has them.
fn make_folders(path: &Path, from: &Path, to: &Path, entries: &mut Entries) -> Result<()> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders.into_iter().filter(|folder| !below(to, folder).exists()) {
        let inside = Rules::new(&[format!("{}/*", folder.display())]);
        Copy::new(from, to, &inside, entries).all(folder)?;
    }
    Ok(())
}

/// Notes a file that was put.
fn put(slot: &Path, path: &Path, entries: &mut Entries) -> Result<()> {
    tree::forget(path, entries);
    for path in path.ancestors() {
        let real = below(slot, path);
        let metadata = fs_err::symlink_metadata(&real)?;
        if entries.contains_key(path) {
            continue;
        }
        let mut sum = Sum::new();
        let kind = if metadata.is_file() {
            let size = tree::blocks(&tree::open(&real)?, |at, bytes| {
                sum.add(at, bytes);
                Ok(())
            })?;
            Kind::File { size, sum: sum.end() }
        } else {
            tree::special(&real, &metadata)?
        };
        entries.insert(path.to_owned(), tree::dress(&real, &metadata, kind)?);
    }
    Ok(())
}

/// Fails unless the file system on `device` holds exactly what was written.
fn read_back(device: &str, written: &Entries) -> Result<()> {
    let slot = Mount::device(device, "ext4", MsFlags::MS_RDONLY)?;
    let seen = tree::entries(slot.path())?;
    slot.end()?;
    let differs = |path: &&PathBuf| written.get(*path) != seen.get(*path);
    let paths: Vec<String> =
        written.keys().chain(seen.keys()).filter(differs).map(|path| path.display().to_string()).take(NAMED).collect();
    if !paths.is_empty() {
        bail!("{} does not read back as it was written: the disk may be dying; see `journalctl -k`", paths.join(", "));
    }
    Ok(())
}

/// All is on the disk, and nothing of it in memory any more.
fn flush(device: &str) -> Result<()> {
    let disk = fs_err::File::open(device)?;
    disk.sync_all()?;
    posix_fadvise(disk.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(())
}
