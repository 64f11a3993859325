//! A seed medium: looked at, and let go of again.

use crate::place::{LABELS, SEED_FILE};
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use profiles::part::SEED_LABEL;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The most that a Spec may take.
const LIMIT: u64 = 16 << 20;

/// The text of the Spec on the medium labelled MIMG-SEED; `None` where no such medium is in the machine. It is mounted
/// read-only in a folder that only root can enter, and unmounted again.
pub fn read(root: &Path) -> Result<Option<String>> {
    let device = root.join(LABELS.trim_start_matches('/')).join(SEED_LABEL);
    if !device.exists() {
        return Ok(None);
    }
    let run = root.join("run/mimg");
    fs_err::create_dir_all(&run)?;
    // Its permissions are 0700. Removed when it goes out of scope, after the unmounting.
    let folder = tempfile::Builder::new().prefix("seed-").tempdir_in(run)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(&device), folder.path(), Some("vfat"), flags, None::<&str>)
        .with_context(|| format!("mounting {} as FAT", device.display()))?;
    let text = text(folder.path());
    umount2(folder.path(), MntFlags::MNT_DETACH).context("unmounting the seed medium")?;
    text.map(Some)
}

/// The text of the Spec in a medium's top folder.
pub(crate) fn text(folder: &Path) -> Result<String> {
    let file = match fs_err::File::open(folder.join(SEED_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("it has no file {SEED_FILE} in its top folder"),
        Err(error) => return Err(error.into()),
    };
    let mut text = String::new();
    let length = file.take(LIMIT + 1).read_to_string(&mut text).with_context(|| format!("reading {SEED_FILE}"))?;
    if length as u64 > LIMIT {
        bail!("its {SEED_FILE} has more than {} MiB", LIMIT >> 20);
    }
    Ok(text)
}
