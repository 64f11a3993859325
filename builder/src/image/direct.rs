//! Reading and writing large files past the page cache, and around their holes.

use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;

const PAGE: usize = 4096;
/// Bytes that `each` hands over at a time, and how many such buffers are under way.
const PIECE: usize = 4 << 20;
const BUFFERS: usize = 4;

/// Opens a file for direct access; as usual where its file system does not have that.
pub fn open(options: &mut fs::OpenOptions, path: &Path) -> Result<fs::File> {
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(options.open(path)?),
        answer => Ok(answer?),
    }
}

/// A buffer as direct access wants it: at an address that is a multiple of a page.
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Of `size` bytes.
    pub fn new(size: u64) -> Aligned {
        let bytes = vec![0; size as usize + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE);
        Aligned { bytes, start }
    }

    /// Its first bytes.
    pub fn first(&mut self, size: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + size]
    }
}

/// Where data begins, at or after `place`; none if there is only a hole.
pub fn data_after(file: &File, place: u64) -> io::Result<Option<u64>> {
    match lseek(file, place as i64, Whence::SeekData) {
        Ok(data) => Ok(Some(data as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Hands all of `file`, `size` bytes, to `take` in order, zeros where it has holes. Reads ahead meanwhile.
pub fn each(file: &File, size: u64, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let file = open(fs::File::options().read(true), Path::new(&name))?;
    let zeros = vec![0; PIECE];
    std::thread::scope(|scope| {
        let (full, filled) = sync_channel::<Result<Option<Aligned>>>(BUFFERS);
        let (empty, used) = sync_channel::<Aligned>(BUFFERS);
        for _ in 0..BUFFERS {
            empty.send(Aligned::new(PIECE as u64)).context("making buffers")?;
        }
        scope.spawn(move || {
            let mut at = 0;
            while at < size {
                let length = (size - at).min(PIECE as u64);
                let piece = match data_after(file.file(), at) {
                    Ok(data) if data.is_none_or(|data| data >= at + length) => Ok(None),
                    Ok(_) => match used.recv() {
                        Ok(mut buffer) => read(file.file(), buffer.first(PIECE), at, length).map(|()| Some(buffer)),
                        Err(_) => break,
                    },
                    Err(error) => Err(error.into()),
                };
                let over = piece.is_err();
                if full.send(piece).is_err() || over {
                    break;
                }
                at += length;
            }
        });
        let mut at = 0;
        while at < size {
            let length = (size - at).min(PIECE as u64) as usize;
            match filled.recv().context("reading ahead")?? {
                None => take(&zeros[..length])?,
                Some(mut buffer) => {
                    take(&buffer.first(PIECE)[..length])?;
                    // Nobody wants it back once all is read.
                    let _ = empty.send(buffer);
                }
            }
            at += length as u64;
        }
        Ok(())
    })
}

/// Direct reading is by whole pages: the last piece is asked for in full, and ends with the file.
fn read(file: &File, buffer: &mut [u8], at: u64, length: u64) -> Result<()> {
    let mut there = 0;
    while (there as u64) < length {
        match file.read_at(&mut buffer[there..], at + there as u64)? {
            0 => anyhow::bail!("the file became shorter while it was read"),
            n => there += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_file_comes_in_order_its_holes_as_zeros() {
        let file = tempfile::tempfile().expect("a file");
        let size = 3 * PIECE as u64 + 777;
        file.set_len(size).expect("a size");
        file.write_all_at(b"begin", 0).expect("writing");
        file.write_all_at(b"end", size - 3).expect("writing");
        let mut seen = Vec::new();
        each(&file, size, &mut |bytes| {
            seen.extend_from_slice(bytes);
            Ok(())
        })
        .expect("reading");
        assert_eq!(seen.len() as u64, size);
        assert!(seen.starts_with(b"begin") && seen.ends_with(b"end"));
        assert_eq!(seen.iter().filter(|byte| **byte != 0).count(), 8);
    }

    #[test]
    fn a_failure_of_the_taker_ends_the_reading() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(100 * PIECE as u64).expect("a size");
        let said = each(&file, 100 * PIECE as u64, &mut |_| anyhow::bail!("enough")).expect_err("the failure");
        assert_eq!(said.to_string(), "enough");
    }
}
