//! The images under test: each profile's is built once for all cases.

use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The raw image of `profile`, built when the first case asks for it; the others wait, and share it. It is removed when
/// the process ends: cases boot snapshots of it and never write to it.
pub fn image(profile: &str) -> Result<&'static Path> {
    type Cell = Arc<OnceLock<Result<PathBuf, String>>>;
    static IMAGES: Mutex<BTreeMap<String, Cell>> = Mutex::new(BTreeMap::new());
    let cell = {
        let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(images.entry(profile.to_owned()).or_default())
    };
    todo_placeholder(cell)
}
