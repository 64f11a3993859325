//! A folder for one run's work, gone when the run is over, however it ends.
//!
//! While a run lives it holds a lock on its folder, so that another run knows what is in use; and a small process
//! waits for the run to end, and removes the folder: also after ^C or kill -9. Should even that one be killed (the
//! machine lost power), the next run removes what is not locked.

use anyhow::{Context, Result};
use fs_err::File;
use nix::fcntl::{Flock, FlockArg};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// The folder of this run. Dropping it removes it.
pub struct Work {
    path: PathBuf,
    lock: Option<Flock<std::fs::File>>,
    sweeper: Child,
}

/// What folders of runs are called, so that nothing else is ever taken for one.
const PREFIX: &str = "run-";

impl Work {
    /// Makes a folder in `cache` (which is made too), after removing those of runs that are no more.
    pub fn in_cache(cache: &Path) -> Result<Work> {
        let all = cache.join("work");
        fs_err::create_dir_all(&all)?;
        // Between making a folder and locking it another run must not sweep.
        let gate = File::create(all.join("lock"))?.into_parts().0;
        let _gate =
            Flock::lock(gate, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking the cache")?;
        sweep(&all)?;
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&all)?.keep();
        let path = fs_err::canonicalize(path)?;
        let lock = lock(&path)?.with_context(|| format!("locking {}", path.display()))?;
        let sweeper = sweeper(&path)?;
        Ok(Work { path, lock: Some(lock), sweeper })
    }

    /// When the oldest of the runs that are at work in `cache` began; None if there is none.
    pub fn oldest(cache: &Path) -> Result<Option<SystemTime>> {
        let mut oldest = None;
        for path in folders(cache)? {
            // A file system that knows no time of birth: then the run has been there for ever.
            let born = |data: std::fs::Metadata| data.created().unwrap_or(SystemTime::UNIX_EPOCH);
            match std::fs::metadata(&path).map(born) {
                Ok(born) if lock(&path).is_ok_and(|free| free.is_none()) => {
                    oldest = Some(oldest.map_or(born, |oldest: SystemTime| oldest.min(born)));
                }
                _ => {}
            }
        }
        Ok(oldest)
    }

    /// Folders in `cache` of runs that are no more.
    pub fn dead(cache: &Path) -> Result<Vec<PathBuf>> {
        Ok(folders(cache)?.into_iter().filter(|path| lock(path).is_ok_and(|free| free.is_some())).collect())
    }

    /// Removes it beside what is done next; `wait_for_removals` waits for the end.
    pub fn leave(self) {
        let removal = std::thread::spawn(|| drop(self));
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).push(removal);
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The end of its input tells the sweeper to begin.
        drop(self.sweeper.stdin.take());
        let swept = self.sweeper.wait();
        drop(self.lock.take());
        if !swept.is_ok_and(|status| status.success()) {
            eprintln!("mimg: {} could not be removed; the next run will try again", self.path.display());
        }
    }
}

/// Folders that are being removed beside other work.
static LEAVING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Waits for the end of all removals: what the process does last.
pub fn wait_for_removals() {
    let leaving = std::mem::take(&mut *LEAVING.lock().unwrap_or_else(PoisonError::into_inner));
    // A thread that panicked has said so.
    leaving.into_iter().for_each(|removal| drop(removal.join()));
}

/// Starts what removes `path` once this process is gone: a shell whose input ends then, in a session of its own, out
/// of reach of the terminal's ^C.
fn sweeper(path: &Path) -> Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "while read -r _; do :; done; exec rm -rf --one-file-system -- \"$0\""]).arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // SAFETY: setsid is safe between fork and exec.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(|_| ()).map_err(std::io::Error::from)) };
    command.spawn().context("starting /bin/sh, which removes the work folder at the end")
}

/// The folders of all runs, while none is being made.
fn folders(cache: &Path) -> Result<Vec<PathBuf>> {
    let all = cache.join("work");
    let Ok(gate) = std::fs::File::open(all.join("lock")) else { return unlocked(&all) };
    let _gate = Flock::lock(gate, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking the cache")?;
    unlocked(&all)
}

fn unlocked(all: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(all) else { return Ok(Vec::new()) };
    let run = |entry: &std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    Ok(entries.flatten().filter(run).map(|entry| entry.path()).collect())
}

/// Removes the folders of runs that are no more.
fn sweep(all: &Path) -> Result<()> {
    for entry in fs_err::read_dir(all)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
            let path = entry.path();
            if let Ok(Some(_lock)) = lock(&path) {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// A sweeper may be at the same folder: what it removed first is not missed.
fn remove(path: &Path) -> Result<()> {
    while let Err(error) = std::fs::remove_dir_all(path) {
        match error.kind() {
            std::io::ErrorKind::NotFound if !path.exists() => break,
            std::io::ErrorKind::NotFound => {}
            _ => {
                return Err(error).with_context(|| {
                    format!(
                        "removing {}, which an earlier run left (another user's? remove it yourself)",
                        path.display()
                    )
                });
            }
        }
    }
    Ok(())
}

/// Locks a folder; None if another process has.
fn lock(path: &Path) -> Result<Option<Flock<std::fs::File>>> {
    let folder = File::open(path)?.into_parts().0;
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}
