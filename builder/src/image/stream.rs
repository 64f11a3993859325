//! A tree as a tar stream that is the same each time: sorted, parents first, owners as numbers, no time after the
//! epoch.

use crate::progress::Stage;
use crate::tree::state::EMPTY;
use anyhow::{Context, Result, bail};
use fs_err as fs;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Files, folders, links and all else.
    pub entries: u64,
    /// Bytes of content, each file rounded up to blocks of 4096.
    pub bytes: u64,
}

/// Counts what `write` would send.
pub fn used(tree: &Path) -> Result<Used> {
    let mut used = Used::default();
    walk(tree, &mut |_, meta| {
        used.entries += 1;
        // A file of several names is counted at each: too much room does no harm.
        let blocks = if meta.is_dir() {
            meta.len().max(1)
        } else if meta.is_file() {
            meta.len()
        } else {
            0
        };
        used.bytes += blocks.next_multiple_of(4096);
        Ok(())
    })?;
    Ok(used)
}

/// Sends `tree` to `out`; `stage` counts the bytes. Gives the stream's SHA-256 in hex: the tree's digest.
///
/// Modification times after `epoch` become `epoch`, and the other times are the same. Hard links, devices and
/// capabilities are kept. Sockets are left out, and so are access lists and other extended attributes, which mke2fs
/// does not take from a stream: what a package puts there (systemd for its journal) is put again at boot, from its
/// tmpfiles.
pub fn write(tree: &Path, epoch: i64, out: impl Write, stage: &Stage) -> Result<String> {
    let mut stream = Stream {
        tar: Builder::new(Hashed { out, hash: Sha256::new(), stage }),
        epoch: u64::try_from(epoch).context("the epoch lies before 1970")?,
        seen: HashMap::new(),
    };
    walk(tree, &mut |path, meta| {
        stream.send(tree, path, meta).with_context(|| format!("sending /{} to the file system", path.display()))
    })?;
    let mut hashed = stream.tar.into_inner()?;
    hashed.flush()?;
    Ok(hex::encode(hashed.hash.finalize()))
}

/// Visits the tree's root as "./", then all below it by relative path: each folder before what is in it, names sorted
/// by their bytes.
fn walk(tree: &Path, visit: &mut dyn FnMut(&Path, &Metadata) -> Result<()>) -> Result<()> {
    visit(Path::new("./"), &fs::symlink_metadata(tree)?)?;
    let mut ahead = children(tree, Path::new(""))?;
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(tree.join(&path))?;
        visit(&path, &meta)?;
        if meta.is_dir() && !EMPTY.iter().any(|empty| path == Path::new(empty)) {
            ahead.extend(children(tree, &path)?);
        }
    }
    Ok(())
}

/// What is in a folder, last name first: to be taken from the end.
fn children(tree: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let names = fs::read_dir(tree.join(folder))?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

struct Stream<W: Write> {
    tar: Builder<W>,
    epoch: u64,
    /// The first name of each file that has several, by device and inode.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Stream<W> {
    fn send(&mut self, tree: &Path, path: &Path, meta: &Metadata) -> Result<()> {
        let source = tree.join(path);
        let mut header = self.header(meta);
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.entry(&mut header, EntryType::Directory, path);
        }
        if let Some(first) = self.first_name(path, meta) {
            return self.link(&mut header, EntryType::Link, path, &first);
        }
        if kind.is_symlink() {
            return self.link(&mut header, EntryType::Symlink, path, &fs::read_link(&source)?);
        }
        if kind.is_socket() {
            return Ok(());
        }
        if kind.is_file() {
            self.capability(&source)?;
            return self.file(&mut header, path, &source, meta.len());
        }
        header.set_device_major(libc::major(meta.rdev()))?;
        header.set_device_minor(libc::minor(meta.rdev()))?;
        let kind = match (kind.is_fifo(), kind.is_char_device()) {
            (true, _) => EntryType::Fifo,
            (_, true) => EntryType::Char,
            _ => EntryType::Block,
        };
        self.entry(&mut header, kind, path)
    }

    fn header(&self, meta: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(meta.uid().into());
        header.set_gid(meta.gid().into());
        let time = u64::try_from(meta.mtime()).unwrap_or(0).min(self.epoch);
        header.set_mtime(time);
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_atime(time);
            gnu.set_ctime(time);
        }
        header.set_size(0);
        header
    }

    /// The name that this file went by before, if this is not its first.
    fn first_name(&mut self, path: &Path, meta: &Metadata) -> Option<PathBuf> {
        if meta.nlink() < 2 {
            return None;
        }
        let key = (meta.dev(), meta.ino());
        let before = self.seen.get(&key).cloned();
        if before.is_none() {
            self.seen.insert(key, path.to_owned());
        }
        before
    }

    /// A capability goes before its file, in a header of its own.
    fn capability(&mut self, source: &Path) -> Result<()> {
        let value = xattr::get(source, "security.capability").context("reading its capabilities")?;
        let record = value.iter().map(|value| ("SCHILY.xattr.security.capability", value.as_slice()));
        Ok(self.tar.append_pax_extensions(record)?)
    }

    fn entry(&mut self, header: &mut Header, kind: EntryType, path: &Path) -> Result<()> {
        header.set_entry_type(kind);
        Ok(self.tar.append_data(header, path, io::empty())?)
    }

    fn file(&mut self, header: &mut Header, path: &Path, source: &Path, size: u64) -> Result<()> {
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        // Never more than was announced, and the check below for less: a stream out of step would be taken for other
        // files.
        let mut content = fs::File::open(source)?.take(size);
        self.tar.append_data(header, path, &mut content)?;
        if content.limit() > 0 {
            bail!("the file became shorter while it was read");
        }
        Ok(())
    }

    /// The target goes as it is: `append_link` would tidy "a//b" to "a/b".
    fn link(&mut self, header: &mut Header, kind: EntryType, path: &Path, target: &Path) -> Result<()> {
        header.set_entry_type(kind);
        match header.set_link_name_literal(target.as_os_str().as_bytes()) {
            Ok(()) => Ok(self.tar.append_data(header, path, io::empty())?),
            Err(_) => Ok(self.tar.append_link(header, path, target)?),
        }
    }
}

/// Hashes and counts what passes.
struct Hashed<'a, W> {
    out: W,
    hash: Sha256,
    stage: &'a Stage,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.hash.update(&buf[..n]);
        self.stage.add(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
