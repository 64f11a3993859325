//! What is in a tree, entry by entry, to tell what changed since: by inode, attributes and times, without reading
//! content.

use crate::tree::payload::Payloads;
use crate::tree::root::{Root, unnoticed};
use anyhow::{Context, Result, bail};
use fs_err as fs;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Folders whose content belongs to the running system: they are looked at, and not into.
pub const EMPTY: [&str; 6] = ["dev", "proc", "run", "sys", "tmp", "var/tmp"];

/// Every entry of a tree by its path.
pub struct State(pub BTreeMap<PathBuf, Node>);

/// One entry. Two that are equal hold the same, unless somebody set a time back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
}

/// What kind of entry, and what else tells one from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    Link(PathBuf),
    /// A package's file: package and item.
    Payload(usize, usize),
    /// A file of the tree's own: inode, bytes, time of change of its inode.
    Own(u64, u64, (i64, i64)),
    Pipe,
    /// A file that is not there yet: nobody touches it.
    LeftOut,
}

impl State {
    /// Looks at the whole tree. A file that is a package's own and was changed in place is parted from its payload.
    pub fn of(root: &Root, payloads: &Payloads) -> Result<State> {
        let walk = Walk { root: root.path(), payloads, parted: Mutex::default() };
        Ok(State(walk.folder(Path::new(""))?.into_iter().collect()))
    }
}

struct Walk<'a> {
    root: &'a Path,
    payloads: &'a Payloads,
    /// The new file of each inode that was parted.
    parted: Mutex<HashMap<u64, PathBuf>>,
}

impl Walk<'_> {
    fn folder(&self, folder: &Path) -> Result<Vec<(PathBuf, Node)>> {
        let entries = fs::read_dir(self.root.join(folder))?.collect::<Result<Vec<_>, _>>()?;
        let below = |entry: fs::DirEntry| -> Result<Vec<(PathBuf, Node)>> {
            let path = folder.join(entry.file_name());
            let node = self.node(&path, &entry.metadata()?)?;
            let goes_on = node.kind == Kind::Dir && !EMPTY.iter().any(|empty| path == Path::new(empty));
            let mut nodes = if goes_on { self.folder(&path)? } else { Vec::new() };
            nodes.push((path, node));
            Ok(nodes)
        };
        let nodes = entries.into_par_iter().map(below).collect::<Result<Vec<_>>>()?;
        Ok(nodes.into_iter().flatten().collect())
    }

    fn node(&self, path: &Path, meta: &Metadata) -> Result<Node> {
        let kind = if meta.is_dir() {
            Kind::Dir
        } else if meta.is_symlink() {
            Kind::Link(fs::read_link(self.root.join(path))?)
        } else if meta.file_type().is_fifo() {
            Kind::Pipe
        } else if !meta.is_file() {
            bail!("a script left /{}, a device or socket: no image can hold one", path.display());
        } else if let Some((place, item)) = self.payloads.of_inode(meta.ino()) {
            let payload = self.payloads.get(place)?;
            let same = payload.items[item].is(meta) && xattr::list(self.root.join(path))?.next().is_none();
            if !same || self.parted().contains_key(&meta.ino()) {
                self.part(path, meta, place, item).with_context(|| format!("parting /{}", path.display()))?;
                return self.node(path, &fs::symlink_metadata(self.root.join(path))?);
            }
            Kind::Payload(place, item)
        } else {
            Kind::Own(meta.ino(), meta.size(), (meta.ctime(), meta.ctime_nsec()))
        };
        let mtime = (meta.mtime(), meta.mtime_nsec());
        Ok(Node { kind, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), mtime })
    }

    fn parted(&self) -> MutexGuard<'_, HashMap<u64, PathBuf>> {
        self.parted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the tree a file of its own, as the script left it, and the payload its old attributes. Another name of the
    /// same file stays another name of it.
    fn part(&self, path: &Path, meta: &Metadata, place: usize, item: usize) -> Result<()> {
        let path = self.root.join(path);
        let mut parted = self.parted();
        if let Some(new) = parted.get(&meta.ino()) {
            return replace(&path, |draft| Ok(fs::hard_link(new, draft)?));
        }
        replace(&path, |draft| {
            fs::copy(&path, draft)?;
            std::os::unix::fs::lchown(draft, Some(meta.uid()), Some(meta.gid()))?;
            fs::set_permissions(draft, meta.permissions())?;
            for name in xattr::list(&path)? {
                xattr::set(draft, &name, &xattr::get(&path, &name)?.unwrap_or_default())?;
            }
            let time = nix::sys::time::TimeSpec::new(meta.mtime(), meta.mtime_nsec());
            Ok(nix::sys::stat::futimens(&fs::File::open(draft)?, &time, &time)?)
        })?;
        parted.insert(meta.ino(), path);
        if !self.payloads.get(place)?.repair(item)? {
            self.payloads.forget(place)?;
        }
        Ok(())
    }
}

/// Puts a new file in the place of another.
fn replace(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let draft = path.with_file_name(".mimg-parted");
    unnoticed(path.parent().unwrap_or(Path::new("/")), || {
        make(&draft)?;
        Ok(fs::rename(&draft, path)?)
    })
}
