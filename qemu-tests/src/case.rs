//! How a case runs: with places for its machines, and a word about what the host lacks.

use crate::images;
use anyhow::{Context, Result};
use builder::vm::{Missing, wait_until};
use fs_err as fs;
use std::fs::TryLockError;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// A machine has two processors: more machines than cores only wait for each other, and run into their limits.
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

/// Takes that many places, or all if there are fewer, until they are dropped. They are locked files, as some runners give
/// each test a process of its own. All or none: two cases never hold one place each and wait for another.
fn take(machines: usize) -> Result<Vec<fs::File>> {
    let folder = images::target()?.join("tmp/places");
    fs::create_dir_all(&folder)?;
    let wanted = machines.min(places());
    wait_until("a place for a machine", Duration::from_secs(1800), || {
        let mut taken = Vec::new();
        for index in 0..places() {
            taken.extend(place(&folder, index)?);
            if taken.len() == wanted {
                return Ok(ControlFlow::Break(taken));
            }
        }
        Ok(ControlFlow::Continue(format!("{} of {wanted} were free", taken.len())))
    })
}

fn place(folder: &Path, index: usize) -> Result<Option<fs::File>> {
    let file = fs::File::create(folder.join(index.to_string()))?;
    match file.file().try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("locking a place for a machine"),
    }
}
