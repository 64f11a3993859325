//! What a file of a tree is, so that two can be compared: all but the times of folders and of access.

use anyhow::{Context, Result};
use crc::{CRC_64_XZ, Crc, Digest, Table};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file, folder, link or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds of the last change; of a folder, nothing.
    pub time: Option<(i64, i64)>,
    pub attributes: BTreeMap<OsString, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    /// Bytes, and a sum of those that are not zeros.
    File {
        size: u64,
        sum: u64,
    },
    /// Another name of the file with this path.
    Name(PathBuf),
    Link(PathBuf),
    /// A device or pipe, with its number.
    Node(u64),
    Socket,
}

/// All of a tree, by paths that begin with `/`.
pub(crate) type Entries = BTreeMap<PathBuf, Entry>;

static SUMS: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);
/// What is read at a time, and what of it is left out where it holds only zeros.
const PIECE: usize = 1 << 20;
const BLOCK: usize = 4096;

/// A sum that does not tell holes from zeros.
pub(crate) struct Sum(Digest<'static, u64, Table<16>>);

impl Sum {
    pub fn new() -> Self {
        Sum(SUMS.digest())
    }

    /// Adds blocks from byte `at` on, none of which is all zeros.
    pub fn add(&mut self, at: u64, blocks: &[u8]) {
        for (block, place) in blocks.chunks(BLOCK).zip((at..).step_by(BLOCK)) {
            self.0.update(&place.to_le_bytes());
            self.0.update(block);
        }
    }

    pub fn end(self) -> u64 {
        self.0.finalize()
    }
}

/// Hands each block of `file` that is not all zeros to `each`, with its place, and gives back the file's size. Blocks are
/// handed over in runs, as long as there are no zeros between them.
pub(crate) fn blocks(file: &File, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<u64> {
    let size = file.metadata()?.len();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        at = match lseek(file, at as i64, Whence::SeekData) {
            // To whole blocks of ours: where a hole begins is the file system's affair.
            Ok(data) => data as u64 / BLOCK as u64 * BLOCK as u64,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error).context("looking for holes"),
        };
        let length = (size - at).min(PIECE as u64) as usize;
        let bytes = &mut buffer[..length];
        file.read_exact_at(bytes, at)?;
        runs(bytes, |start, run| each(at + start as u64, run))?;
        at += length as u64;
    }
    Ok(size)
}

/// Stretches of blocks that are not all zeros.
fn runs(bytes: &[u8], mut each: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let zero = |at: usize| bytes[at..(at + BLOCK).min(bytes.len())].iter().all(|byte| *byte == 0);
    let mut from = 0;
    while from < bytes.len() {
        let mut to = from;
        while to < bytes.len() && !zero(to) {
            to = (to + BLOCK).min(bytes.len());
        }
        if to > from {
            each(from, &bytes[from..to])?;
        }
        from = to.max(from + BLOCK);
        while from < bytes.len() && zero(from) {
            from += BLOCK;
        }
    }
    Ok(())
}

/// Opens a file to read it, never through a link.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Mode, owner, times and attributes of what is at `path`; the kind is the caller's.
pub(crate) fn dress(path: &Path, metadata: &Metadata, kind: Kind) -> Result<Entry> {
    let mut attributes = BTreeMap::new();
    for name in xattr::list(path).with_context(|| format!("reading the attributes of {}", path.display()))? {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        attributes.insert(name, value);
    }
    let time = (kind != Kind::Folder).then(|| (metadata.mtime(), metadata.mtime_nsec()));
    let mode = metadata.mode() & 0o7777;
    Ok(Entry { kind, mode, uid: metadata.uid(), gid: metadata.gid(), time, attributes })
}

/// The kind of what is not a regular file.
pub(crate) fn special(path: &Path, metadata: &Metadata) -> Result<Kind> {
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        Kind::Folder
    } else if kind.is_symlink() {
        Kind::Link(fs_err::read_link(path)?)
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        Kind::Node(metadata.rdev())
    })
}

/// Reads all of the tree at `top`, but for `lost+found`.
pub(crate) fn entries(top: &Path) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut names: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut open_folders = vec![PathBuf::from("/")];
    while let Some(path) = open_folders.pop() {
        let real = below(top, &path);
        let metadata = fs_err::symlink_metadata(&real)?;
        let kind = if metadata.is_file() {
            match names.get(&metadata.ino()) {
                Some(first) => Kind::Name(first.clone()),
                None => {
                    names.insert(metadata.ino(), path.clone());
                    let mut sum = Sum::new();
                    let file = open(&real).with_context(|| format!("opening {}", real.display()))?;
                    let size = blocks(&file, |at, bytes| {
                        sum.add(at, bytes);
                        Ok(())
                    })
                    .with_context(|| format!("reading {}", real.display()))?;
                    Kind::File { size, sum: sum.end() }
                }
            }
        } else {
            special(&real, &metadata)?
        };
        if kind == Kind::Folder {
            let mut found: Vec<PathBuf> = Vec::new();
            for entry in fs_err::read_dir(&real)? {
                found.push(path.join(entry?.file_name()));
            }
            found.retain(|path| path != Path::new("/lost+found"));
            // The last one is taken first: so files come in the order of their names.
            found.sort_by(|one, other| other.cmp(one));
            open_folders.extend(found);
        }
        entries.insert(path, dress(&real, &metadata, kind)?);
    }
    Ok(entries)
}

/// A path that begins with `/`, below `top`.
pub(crate) fn below(top: &Path, path: &Path) -> PathBuf {
    top.join(path.strip_prefix("/").unwrap_or(path))
}

/// Takes out a file that another one takes the place of: its other names stay.
pub(crate) fn forget(path: &Path, entries: &mut Entries) {
    let Some(old) = entries.remove(path) else { return };
    let names: Vec<PathBuf> = entries
        .iter()
        .filter(|(_, entry)| matches!(&entry.kind, Kind::Name(first) if first == path))
        .map(|(path, _)| path.clone())
        .collect();
    let Some(first) = names.first() else { return };
    for name in &names {
        let kind = if name == first { old.kind.clone() } else { Kind::Name(first.clone()) };
        entries.entry(name.clone()).and_modify(|entry| entry.kind = kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_keeps_the_others_when_one_is_replaced() {
        let file = Kind::File { size: 1, sum: 2 };
        let entry = |kind: Kind| Entry { kind, mode: 0, uid: 0, gid: 0, time: None, attributes: Default::default() };
        let name = |first: &str| entry(Kind::Name(first.into()));
        let mut entries: Entries = [("/a", entry(file.clone())), ("/b", name("/a")), ("/c", name("/a"))]
            .map(|(path, entry)| (path.into(), entry))
            .into();
        forget(Path::new("/a"), &mut entries);
        let wanted: Entries =
            [("/b", entry(file)), ("/c", name("/b"))].map(|(path, entry)| (path.into(), entry)).into();
        assert_eq!(entries, wanted);
    }
}
