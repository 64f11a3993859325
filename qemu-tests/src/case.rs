//! How a case runs: with places for its machines, and a word about what the host lacks.

use anyhow::{Context, Result};
use builder::vm::{Missing, wait_until};
use fs_err as fs;
use std::fs::TryLockError;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// A machine has two processors. More machines than cores only wait for each other, and run into their limits.
fn places() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Runs `body`, which has at most `machines` of them running at a time, as soon as there is a place for them. Panics with
/// its error. Where the host lacks a package the case is not run, and says so; with CI=true that is a failure as well.
pub fn case(machines: usize, body: impl FnOnce() -> Result<()>) {
    let result = take(machines).and_then(|_places| body());
    let Err(error) = result else { return };
    match error.downcast_ref::<Missing>() {
        Some(missing) if std::env::var("CI").as_deref() != Ok("true") => eprintln!("NOT RUN: {missing}"),
        _ => panic!("{error:#}"),
    }
}

/// Locks that many places (all of them, if there are fewer) until the files are dropped: among all processes, as some
/// runners give each test its own. All at once, so that two cases never hold one each and wait for another.
fn take(machines: usize) -> Result<Vec<fs::File>> {
    let places = places();
    let wanted = machines.min(places);
    wait_until("a place for a machine", Duration::from_secs(1800), || {
        let mut taken = Vec::new();
        for index in 0..places {
            let file = open(index)?;
            match file.file().try_lock() {
                Ok(()) => taken.push(file),
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).context("locking a place for a machine"),
            }
            if taken.len() == wanted {
                return Ok(ControlFlow::Break(taken));
            }
        }
        Ok(ControlFlow::Continue(format!("{} of {wanted} were free", taken.len())))
    })
}

fn open(index: usize) -> Result<fs::File> {
    // SAFETY of sharing: only the user's own processes meet here, and nothing is ever written.
    let folder = folder();
    fs::create_dir_all(&folder)?;
    Ok(fs::OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(format!("place-{index}")))?)
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("mimg-machines-{}", nix::unistd::getuid()))
}
