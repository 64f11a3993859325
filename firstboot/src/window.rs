//! A stretch of a file, such as a partition of a disk image, read and written as if it were a file of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes `start..start + len` of a file. Positions count from its start; nothing outside of it can be touched.
pub struct Window<'a> {
    file: &'a File,
    start: u64,
    len: u64,
    at: u64,
}

impl<'a> Window<'a> {
    /// `start` and `len` in bytes.
    pub fn new(file: &'a File, start: u64, len: u64) -> Self {
        Window { file, start, len, at: 0 }
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a window of nothing is of no use to anyone")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many of `wanted` bytes there are from here to the end.
    fn room(&self, wanted: usize) -> usize {
        usize::try_from(self.len.saturating_sub(self.at)).map_or(wanted, |room| room.min(wanted))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.room(buf.len());
        let n = self.file.read_at(&mut buf[..n], self.start + self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.room(buf.len());
        let n = self.file.write_at(&buf[..n], self.start + self.at)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the window's start"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_neither_reads_nor_writes_what_lies_outside_of_it() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(b"abcdefgh", 0).expect("writing");
        let mut window = Window::new(&file, 2, 4);
        let mut seen = String::new();
        window.read_to_string(&mut seen).expect("reading");
        assert_eq!(seen, "cdef");
        window.seek(SeekFrom::End(-1)).expect("seeking");
        assert_eq!(window.write(b"XYZ").expect("writing"), 1);
        assert!(window.seek(SeekFrom::Current(-9)).is_err());
        let mut all = [0; 8];
        file.read_exact_at(&mut all, 0).expect("reading");
        assert_eq!(&all, b"abcdeXgh");
    }
}
