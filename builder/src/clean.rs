//! Emptying the cache.

use crate::work::Work;
use anyhow::{Result, ensure};
use fs_err as fs;
use std::io::ErrorKind;
use std::path::Path;

/// Removes all downloads, and what killed runs left, from `cache`. Returns the bytes freed. Refused while another run
/// is at work there, which may be reading what would be removed.
pub fn clean(cache: &Path) -> Result<u64> {
    // Making our own folder of work removes what killed runs left.
    let work = Work::in_cache(cache)?;
    let ours = work.path().file_name();
    for entry in fs::read_dir(cache.join("work"))? {
        let entry = entry?;
        let other = entry.file_type()?.is_dir() && Some(entry.file_name().as_os_str()) != ours;
        ensure!(
            !other,
            "another mimg is at work in {}; wait for it to end, then run `mimg clean` again",
            cache.display()
        );
    }
    let debs = cache.join("debs");
    let freed = size(&debs)?;
    match fs::remove_dir_all(&debs) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(freed),
    }
}

/// Bytes of all files below a folder; none if it is not there.
pub fn size(folder: &Path) -> Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_go_and_a_run_at_work_is_respected() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("debs/sha256")).unwrap();
        fs::write(cache.path().join("debs/sha256/x"), [0; 1000]).unwrap();
        let other = Work::in_cache(cache.path()).unwrap();
        assert!(clean(cache.path()).unwrap_err().to_string().contains("another mimg is at work"));
        drop(other);
        assert_eq!(clean(cache.path()).unwrap(), 1000);
        assert!(!cache.path().join("debs").exists());
        assert_eq!(clean(cache.path()).unwrap(), 0);
    }
}
