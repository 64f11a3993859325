//! Packages' data as files: decompressed once, kept by the package's digest, linked into each tree.
//!
//! ```text
//! payload/<SHA-256 of the .deb>/index.json   what the archive says of each entry, in its order
//!                               0, 1, 2 …    its files, as a package of root's is unpacked
//! ```
//! A tree's file and the one here are the same until a script changes the tree's in place; `layer` looks for that, and
//! parts them. What comes from an earlier run is compared with its digest, file by file, before it is used.

use crate::progress::Progress;
use crate::tree::deb::{Deb, Kind};
use crate::tree::shelf::{self, Shelf};
use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One package's data.
pub struct Payload {
    folder: PathBuf,
    /// As in the archive.
    pub items: Vec<Item>,
    /// Unpacked by this run: nobody can have changed it.
    fresh: bool,
    /// Whether each item's file is known to be as it was unpacked.
    checked: Vec<AtomicBool>,
}

/// One entry of data.tar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the root, the root's own is empty.
    pub path: PathBuf,
    pub kind: Kind,
    pub uid: u32,
    pub gid: u32,
    /// Names of owner and group, empty if the archive has none.
    pub user: String,
    pub group: String,
    pub mode: u32,
    /// Seconds.
    pub mtime: i64,
    /// Bytes; of a file.
    pub size: u64,
    /// Of a file, in hexadecimal digits; empty for all else.
    pub sha256: String,
}

/// The payloads of the packages of one tree, by their position in the list; each is made when it is first asked for.
pub struct Payloads {
    pub debs: Vec<Deb>,
    shelf: Shelf,
    slots: Mutex<Vec<Slot>>,
    changed: Condvar,
    /// Places by digest.
    places: HashMap<String, usize>,
    /// Package and item by inode, of the files that were asked for.
    inodes: Mutex<HashMap<u64, (usize, usize)>>,
    stop: AtomicBool,
    progress: Progress,
}

#[derive(Clone)]
enum Slot {
    Absent,
    Coming,
    There(Arc<Payload>),
}

impl Payload {
    /// Where the file of the item at `at` is, whatever it holds: see `Payloads::file`.
    fn file(&self, at: usize) -> PathBuf {
        self.folder.join(at.to_string())
    }

    /// Decodes a package into the empty folder `folder`.
    fn make(deb: &Deb, folder: &Path) -> Result<()> {
        let (mut items, mut seen): (Vec<Item>, _) = (Vec::new(), HashSet::new());
        deb.each_entry(&mut |entry| {
            ensure!(
                seen.insert(entry.path.clone()) || entry.kind == Kind::Dir,
                "{} is in the archive twice",
                entry.path.display()
            );
            let mut item = Item {
                path: entry.path,
                kind: entry.kind,
                uid: entry.uid,
                gid: entry.gid,
                user: entry.user,
                group: entry.group,
                mode: entry.mode,
                mtime: entry.mtime,
                size: 0,
                sha256: String::new(),
            };
            if item.kind == Kind::File {
                let path = folder.join(items.len().to_string());
                (item.size, item.sha256) = write(&path, entry.content, item.mode, item.mtime)
                    .with_context(|| format!("unpacking {}", item.path.display()))?;
            }
            items.push(item);
            Ok(())
        })?;
        shelf::write_index(folder, &items)
    }

    fn open(folder: PathBuf, fresh: bool) -> Result<Payload> {
        let items: Vec<Item> = shelf::read_index(&folder)?;
        let checked = items.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Payload { items, folder, fresh, checked })
    }

    /// Checks all of a package with a file of several names now: were it made again between two of them, they would become
    /// two files in the tree.
    fn whole_if_linked(self) -> Result<Payload> {
        if self.items.iter().any(|item| matches!(item.kind, Kind::HardLink(_))) {
            let files = self.items.iter().enumerate().filter(|(_, item)| item.kind == Kind::File);
            files.map(|(at, _)| at).try_for_each(|at| self.inode(at).map(drop))?;
        }
        Ok(self)
    }

    /// The inode of an item's file, if that is as it was unpacked.
    fn inode(&self, at: usize) -> Result<u64> {
        let (path, item) = (self.file(at), &self.items[at]);
        let meta = fs::symlink_metadata(&path)?;
        ensure!(item.is(&meta), "{} has other attributes than it was given", path.display());
        if !self.fresh {
            let seen = shelf::digest(&mut fs::File::open(&path)?)?;
            ensure!(seen == item.sha256, "/{} has the SHA-256 {seen}: wanted {}", item.path.display(), item.sha256);
        }
        Ok(meta.ino())
    }

    /// Gives the item's file back what a script changed of it through a tree; whether its content is still right.
    pub fn repair(&self, at: usize) -> Result<bool> {
        let (path, item) = (self.file(at), &self.items[at]);
        for name in xattr::list(&path)? {
            xattr::remove(&path, name)?;
        }
        std::os::unix::fs::chown(&path, Some(0), Some(0))?;
        fs::set_permissions(&path, PermissionsExt::from_mode(item.mode))?;
        let meta = fs::metadata(&path)?;
        Ok(meta.size() == item.size && (meta.mtime(), meta.mtime_nsec()) == (item.mtime, 0))
    }
}

impl Item {
    /// Are these the attributes of this item's file, as it was unpacked for root?
    pub fn is(&self, meta: &std::fs::Metadata) -> bool {
        meta.is_file()
            && (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (0, 0, self.mode)
            && (meta.size(), meta.mtime(), meta.mtime_nsec()) == (self.size, self.mtime, 0)
    }
}

impl Payloads {
    pub fn new(debs: Vec<Deb>, shelf: Shelf, progress: Progress) -> Arc<Payloads> {
        let slots = Mutex::new(vec![Slot::Absent; debs.len()]);
        let places = debs.iter().enumerate().map(|(place, deb)| (deb.sha256.clone(), place)).collect();
        let (changed, inodes, stop) = (Condvar::new(), Mutex::default(), AtomicBool::new(false));
        Arc::new(Payloads { debs, shelf, slots, changed, places, inodes, stop, progress })
    }

    /// Makes those at `places` in the background, in this order, on all processors.
    pub fn fetch_ahead(self: &Arc<Self>, places: Vec<usize>) -> Ahead {
        let next = Arc::new(AtomicUsize::new(0));
        let places = Arc::new(places);
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        for _ in 0..threads.min(places.len()) {
            let (payloads, next, places) = (self.clone(), next.clone(), places.clone());
            std::thread::spawn(move || {
                while !payloads.stop.load(Ordering::Relaxed) {
                    let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    // Whoever needs it will meet the same error, and tell it.
                    let _ = payloads.get(*place).and_then(|payload| {
                        let files = payload.items.iter().enumerate().filter(|(_, item)| item.kind == Kind::File);
                        files.map(|(at, _)| at).try_for_each(|at| payloads.check(*place, &payload, at))
                    });
                }
            });
        }
        Ahead(self.clone())
    }

    /// The file of an item, as it was unpacked. One that is damaged is made again, with all of its package.
    pub fn file(&self, place: usize, item: usize) -> Result<PathBuf> {
        let payload = self.get(place)?;
        if let Err(damage) = self.check(place, &payload, item) {
            self.discard(place, &payload, &damage)?;
            let payload = self.get(place)?;
            self.check(place, &payload, item)?;
            return Ok(payload.file(item));
        }
        Ok(payload.file(item))
    }

    /// Compares an item's file with what was unpacked, once, and remembers its inode.
    fn check(&self, place: usize, payload: &Payload, item: usize) -> Result<()> {
        if !payload.checked[item].load(Ordering::Acquire) {
            let inode = payload.inode(item)?;
            self.inodes.lock().unwrap_or_else(PoisonError::into_inner).insert(inode, (place, item));
            payload.checked[item].store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Moves a damaged payload out of the way, unless somebody else did.
    fn discard(&self, place: usize, payload: &Arc<Payload>, damage: &anyhow::Error) -> Result<()> {
        let mut slots = self.slots();
        if matches!(&slots[place], Slot::There(now) if Arc::ptr_eq(now, payload)) {
            let deb = &self.debs[place];
            self.shelf.quarantine("payload", &deb.sha256, deb.name(), damage, &self.progress)?;
            slots[place] = Slot::Absent;
        }
        Ok(())
    }

    /// The payload of the package at `place`; whether its files hold what they should is asked by `file`.
    pub fn get(&self, place: usize) -> Result<Arc<Payload>> {
        let mut slots = self.slots();
        loop {
            match slots[place].clone() {
                Slot::There(payload) => return Ok(payload),
                Slot::Coming => slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner),
                Slot::Absent => break,
            }
        }
        slots[place] = Slot::Coming;
        drop(slots);
        let made = self.find_or_make(place).map(Arc::new);
        self.slots()[place] = made.as_ref().map_or(Slot::Absent, |payload| Slot::There(payload.clone()));
        self.changed.notify_all();
        made
    }

    /// The package and item whose file has this inode.
    pub fn of_inode(&self, inode: u64) -> Option<(usize, usize)> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).copied()
    }

    /// The place of a package in the list, by its digest.
    pub fn place(&self, sha256: &str) -> Option<usize> {
        self.places.get(sha256).copied()
    }

    /// Forgets a payload in the cache: a script changed it in place. The trees that have it keep it.
    pub fn forget(&self, place: usize) -> Result<()> {
        self.shelf.forget("payload", &self.debs[place].sha256)
    }

    fn find_or_make(&self, place: usize) -> Result<Payload> {
        let deb = &self.debs[place];
        if let Some(folder) = self.shelf.find("payload", &deb.sha256) {
            match Payload::open(folder, false).and_then(Payload::whole_if_linked) {
                Ok(payload) => return Ok(payload),
                Err(damage) => {
                    self.shelf.quarantine("payload", &deb.sha256, deb.name(), &damage, &self.progress)?;
                }
            }
        }
        let folder = self.shelf.draft()?;
        Payload::make(deb, folder.path())?;
        Payload::open(self.shelf.keep("payload", &deb.sha256, folder)?, true)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Payloads being made in the background, until this is dropped.
pub struct Ahead(Arc<Payloads>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes a new file of root's; its size and SHA-256.
pub fn write(path: &Path, content: &mut dyn Read, mode: u32, mtime: i64) -> Result<(u64, String)> {
    let file = fs::File::options().write(true).create_new(true).open(path)?;
    let mut hashed = Hashed { out: &file, hash: Sha256::new(), size: 0 };
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            n => hashed.write_all(&buffer[..n])?,
        }
    }
    let (size, sha256) = (hashed.size, hex::encode(hashed.hash.finalize()));
    file.set_permissions(PermissionsExt::from_mode(mode & 0o7777))?;
    let time = nix::sys::time::TimeSpec::new(mtime, 0);
    nix::sys::stat::futimens(&file, &time, &time)?;
    Ok((size, sha256))
}

struct Hashed<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
