//! Zeros at both ends of a device that nobody uses, so that no signature is left in what was just made.

use crate::probe::END;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Writes zeros to the first and the last MiB of a device. Fails where anything uses it.
pub fn blank(device: &str) -> Result<()> {
    // On a block device O_EXCL means: only if it is neither mounted nor a part of something else.
    let mut file = File::options()
        .write(true)
        .custom_flags(libc::O_EXCL)
        .open(device)
        .with_context(|| format!("opening {device} for this alone"))?;
    let length = file.seek(SeekFrom::End(0)).with_context(|| format!("measuring {device}"))?;
    let zeros = vec![0; END.min(length) as usize];
    for start in [0, length - zeros.len() as u64] {
        file.write_all_at(&zeros, start).with_context(|| format!("writing zeros to {device}"))?;
    }
    file.sync_all().with_context(|| format!("writing zeros to {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::NamedTempFile;

    #[test]
    fn both_ends_become_zeros_and_the_middle_stays() {
        for length in [4096, END, END + END / 2, 3 * END] {
            let file = NamedTempFile::new().unwrap();
            fs_err::write(file.path(), vec![7; length as usize]).unwrap();
            blank(file.path().to_str().unwrap()).unwrap();
            let middle = END.min(length) as usize..(length.saturating_sub(END) as usize).max(END.min(length) as usize);
            for (at, byte) in fs_err::read(file.path()).unwrap().into_iter().enumerate() {
                assert_eq!(byte, if middle.contains(&at) { 7 } else { 0 }, "byte {at} of {length}");
            }
        }
    }
}
