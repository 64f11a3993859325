//! Mounts that nobody else sees, and that are gone when this process is, however it ends.

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

const RUN: &str = "/run/mimg";

/// Does `work` in a thread with a mount namespace of its own, and waits for it.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    let apart = move || {
        // Nobody waits any more where this fails.
        let _ = answer.send(part_mounts().and_then(|()| work()));
    };
    std::thread::Builder::new().name("mounts".to_owned()).spawn(apart).context("starting a thread")?;
    answered.await.map_err(|_| anyhow!("a thread with mounts of its own panicked"))?
}

fn part_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("asking for mounts of its own")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("keeping its mounts to itself")
}

/// Something mounted in a folder of its own. For use within `aside` alone.
pub struct Mount {
    /// Removed as the empty folder that it is once more: never with what is mounted there.
    folder: PathBuf,
    device: PathBuf,
    mounted: bool,
}

impl Mount {
    /// A file system of this type.
    pub fn device(device: &str, kind: &str, flags: MsFlags) -> Result<Mount> {
        let mut place = Mount::place(Path::new(device))?;
        let flags = flags | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        mount(Some(device), &place.folder, Some(kind), flags, None::<&str>)
            .with_context(|| format!("mounting {device}"))?;
        place.mounted = true;
        Ok(place)
    }

    /// What is in `path`, to be read only, without what is mounted on top of it or below.
    pub fn bind(path: &Path) -> Result<Mount> {
        let mut place = Mount::place(path)?;
        let context = || format!("mounting {} once more", path.display());
        mount(Some(path), &place.folder, None::<&str>, MsFlags::MS_BIND, None::<&str>).with_context(context)?;
        place.mounted = true;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &place.folder, None::<&str>, flags, None::<&str>).with_context(context)?;
        Ok(place)
    }

    /// Only root can enter it.
    fn place(device: &Path) -> Result<Mount> {
        fs_err::create_dir_all(RUN)?;
        let folder = tempfile::Builder::new().prefix("mount-").tempdir_in(RUN)?.keep();
        Ok(Mount { folder, device: device.to_owned(), mounted: false })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Unmounts it: all that was written is with the disk then.
    pub fn end(mut self) -> Result<()> {
        self.mounted = false;
        umount2(&self.folder, MntFlags::empty()).with_context(|| format!("unmounting {}", self.device.display()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            // After an error. What fails here ends with the thread.
            let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}
