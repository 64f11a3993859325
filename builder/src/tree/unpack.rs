//! Packages' files put into a tree, all packages of a round at once: each file is linked from the package's payload, or
//! copied where the tree's has other owners or is to be edited.
//!
//! What could depend on the order of threads waits until all archives are read, and is then done in the order of the
//! list: the attributes of directories that several packages ship, links (another package's file must not go through
//! a link of this round or not by chance), and files that one package replaces in another.

use crate::progress::Stage;
use crate::tree::deb::{Deb, Kind};
use crate::tree::dpkg::Rules;
use crate::tree::owners::Owners;
use crate::tree::payload::{Item, Payload, Payloads};
use crate::tree::root::{Attributes, Root, inside, is_dir, is_link};
use anyhow::{Context, Result, bail};
use md5::{Digest, Md5};
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was unpacked of one package.
#[derive(Default)]
pub struct Unpacked {
    /// Every path of the archive in its order, without those that another package replaces.
    pub paths: Vec<PathBuf>,
    /// Where they are: as `paths`, but for diversions.
    pub used: Vec<PathBuf>,
    pub conffiles: Vec<Conffile>,
    /// MD5 of every regular file, if the package brings none.
    pub md5: Vec<(PathBuf, String)>,
    late: Vec<Late>,
}

/// A line of the field Conffiles in dpkg's status.
pub struct Conffile {
    pub path: PathBuf,
    /// Its MD5, if it already stands under its final name.
    pub hash: Option<String>,
    /// Not shipped: to be removed when an older version of the package had it.
    pub remove_on_upgrade: bool,
}

/// What is done once all archives of the round were read.
struct Late {
    path: PathBuf,
    kind: Kind,
    attributes: Attributes,
}

/// Unpacks rounds of packages, and remembers whose each file is.
pub struct Unpacker<'a> {
    root: &'a Root,
    payloads: &'a Payloads,
    debs: &'a [Deb],
    owners: Owners<'a>,
    /// Directories made in this round whose attributes are still to be set.
    made: Mutex<HashSet<PathBuf>>,
}

/// How a round treats conffiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Conffiles {
    /// Under their final names, as if configured.
    Final,
    /// As `.dpkg-new`, for dpkg to put in place when it configures the package.
    New,
}

impl<'a> Unpacker<'a> {
    /// For a tree with a database in which none of these packages is unpacked yet.
    pub fn new(root: &'a Root, payloads: &'a Payloads) -> Unpacker<'a> {
        let debs = &payloads.debs;
        Unpacker { root, payloads, debs, owners: Owners::new(debs), made: Mutex::default() }
    }

    /// Whose each file is.
    pub fn owners(&self) -> &Owners<'a> {
        &self.owners
    }

    /// Unpacks the packages at `round`, largest first on all processors. The answer is in the order of `round`.
    pub fn unpack(&self, round: &[usize], conffiles: Conffiles, stage: &Stage) -> Result<Vec<Unpacked>> {
        let rules = Rules::read(self.root)?;
        let mut unpacked = self.in_parallel(round, stage, |deb| {
            let payload = self.payloads.get(deb)?;
            let extracted = self.extract(deb, &payload, &rules, conffiles);
            extracted.with_context(|| format!("unpacking {}", self.debs[deb].path.display()))
        })?;
        for (deb, paths) in self.owners.take_all_again() {
            self.write_again(deb, &paths, &rules, conffiles)?;
        }
        for (one, deb) in unpacked.iter_mut().zip(round) {
            self.finish(*deb, one, conffiles).with_context(|| format!("unpacking {}", self.debs[*deb].name()))?;
        }
        for (one, deb) in unpacked.iter_mut().zip(round) {
            let lost = self.owners.take_lost(*deb);
            one.paths.retain(|path| !lost.contains(path));
            one.conffiles.retain(|conffile| !lost.contains(&conffile.path));
        }
        Ok(unpacked)
    }

    /// Paths that packages of earlier rounds lost in the last one.
    pub fn lost(&self) -> BTreeMap<usize, BTreeSet<PathBuf>> {
        self.owners.take_all_lost()
    }

    fn made(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_parallel<T: Send>(
        &self,
        round: &[usize],
        stage: &Stage,
        work: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let size = |deb: usize| self.debs[deb].path.metadata().map_or(0, |data| data.len());
        let mut queue: Vec<(usize, u64)> = round.iter().map(|deb| size(*deb)).enumerate().collect();
        queue.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let worker = || {
            while let Some((at, size)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = work(round[*at]);
                if result.is_err() {
                    next.store(queue.len(), Ordering::Relaxed);
                }
                stage.now(self.debs[round[*at]].name());
                stage.add(*size);
                results.lock().unwrap_or_else(PoisonError::into_inner).insert(*at, result);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        std::thread::scope(|scope| {
            for _ in 0..threads.min(queue.len()) {
                scope.spawn(worker);
            }
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }

    /// Puts a package's directories and files in place; links are kept for later.
    fn extract(&self, at: usize, payload: &Payload, rules: &Rules, conffiles: Conffiles) -> Result<Unpacked> {
        let deb = &self.debs[at];
        let own = shipped(deb)?;
        let sums = !deb.members.contains_key("md5sums");
        let mut unpacked = Unpacked::default();
        let mut hashes = HashMap::new();
        let mut seen = HashSet::new();
        for (number, item) in payload.items.iter().enumerate() {
            seen.insert(&item.path);
            let to = rules.place(&item.path, deb.name());
            let attributes = attributes(item, rules);
            let is_conffile = own.contains(&item.path);
            if item.kind == Kind::File && self.claim(at, &item.path, &to)? {
                let new = if is_conffile && conffiles == Conffiles::New { with_new(&to) } else { to.clone() };
                self.put(&new, (at, number), attributes, is_conffile)?;
                if sums || (is_conffile && conffiles == Conffiles::Final) {
                    hashes.insert(item.path.clone(), md5(&self.payloads.file(at, number)?)?);
                }
            } else if item.kind == Kind::Dir {
                self.make_dir(&to)?;
            }
            if item.kind != Kind::File {
                unpacked.late.push(Late { path: to.clone(), kind: item.kind.clone(), attributes });
            }
            unpacked.paths.push(item.path.clone());
            unpacked.used.push(to);
        }
        for (path, remove_on_upgrade) in deb.conffiles()? {
            if remove_on_upgrade || seen.contains(&path) {
                let hash = hashes.get(&path).filter(|_| conffiles == Conffiles::Final).cloned();
                unpacked.conffiles.push(Conffile { path, hash, remove_on_upgrade });
            }
        }
        if sums {
            let hash = |path: &PathBuf| hashes.remove(path).map(|hash| (path.clone(), hash));
            unpacked.md5 = unpacked.paths.iter().filter_map(hash).collect();
        }
        Ok(unpacked)
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || self.root.dir(path).is_ok() {
            return Ok(());
        }
        let made = self.make_dirs(path);
        made.with_context(|| format!("making the directory {}", path.display()))
    }

    /// Makes missing directories down to `path`, and notes those that this call made.
    fn make_dirs(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || self.root.dir(path).is_ok() {
            return Ok(());
        }
        self.make_dirs(path.parent().unwrap_or(Path::new("")))?;
        let place = self.root.place(path)?;
        match mkdirat(&place.dir, place.name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                let canonical = self.root.canonical(&place)?;
                self.made().insert(canonical);
                Ok(())
            }
            Err(Errno::EEXIST) => match self.root.dir(path) {
                Ok(_) => Ok(()),
                // A link whose target is missing, such as /var/lock -> /run/lock: on the machine a directory.
                Err(Errno::ENOENT) if place.stat()?.is_some_and(|stat| is_link(&stat)) => {
                    let target = nix::fcntl::readlinkat(&place.dir, place.name)?;
                    let target = path.parent().unwrap_or(Path::new("")).join(target);
                    self.make_dirs(&inside(target.strip_prefix("/").unwrap_or(&target))?)
                }
                Err(_) => bail!("it exists, and is no directory{}", self.owners.shown(&self.root.canonical(&place)?)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the package at `me` may write its file `path`, which goes to `to`, now.
    fn claim(&self, me: usize, path: &Path, to: &Path) -> Result<bool> {
        self.make_dir(to.parent().unwrap_or(Path::new("")))?;
        let canonical = self.root.canonical(&self.root.place(to)?)?;
        self.owners.claim(me, path, canonical)
    }

    /// Links a payload's file to its place. A conffile is copied: it is there to be edited.
    fn put(&self, to: &Path, (at, number): (usize, usize), attributes: Attributes, is_conffile: bool) -> Result<()> {
        let (place, file) = (self.root.place(to)?, self.payloads.file(at, number)?);
        let mode = self.payloads.get(at)?.items[number].mode;
        let done = if !is_conffile && (attributes.uid, attributes.gid, attributes.mode) == (0, 0, mode) {
            place.link_file(&file)
        } else {
            place.write(&mut fs_err::File::open(&file)?, attributes)
        };
        done.with_context(|| format!("writing {}", to.display()))
    }

    /// Writes files over those of packages that the package at `at` replaces.
    fn write_again(&self, at: usize, paths: &BTreeSet<PathBuf>, rules: &Rules, conffiles: Conffiles) -> Result<()> {
        let deb = &self.debs[at];
        let own = shipped(deb)?;
        let payload = self.payloads.get(at)?;
        let again = |item: &Item| item.kind == Kind::File && paths.contains(&item.path);
        for (number, item) in payload.items.iter().enumerate().filter(|(_, item)| again(item)) {
            let (to, is_conffile) = (rules.place(&item.path, deb.name()), own.contains(&item.path));
            let to = if is_conffile && conffiles == Conffiles::New { with_new(&to) } else { to };
            self.put(&to, (at, number), attributes(item, rules), is_conffile)?;
        }
        Ok(())
    }

    fn finish(&self, at: usize, unpacked: &mut Unpacked, conffiles: Conffiles) -> Result<()> {
        let new: HashSet<&Path> = match conffiles {
            Conffiles::New => unpacked.conffiles.iter().map(|conffile| conffile.path.as_path()).collect(),
            Conffiles::Final => HashSet::new(),
        };
        for late in std::mem::take(&mut unpacked.late) {
            match &late.kind {
                Kind::Dir => self.dress_dir(&late),
                Kind::Link(target) => self.link(at, &late, target),
                Kind::HardLink(target) => {
                    let suffixed = |path: &Path| if new.contains(path) { with_new(path) } else { path.to_owned() };
                    self.hard_link(at, &late, &suffixed(target))
                }
                Kind::File => Ok(()),
            }
            .with_context(|| format!("making {}", late.path.display()))?;
        }
        Ok(())
    }

    /// The first package in the list that ships a new directory says whose it is.
    fn dress_dir(&self, late: &Late) -> Result<()> {
        if late.path.as_os_str().is_empty() {
            return Ok(());
        }
        let place = self.root.place(&late.path)?;
        let canonical = self.root.canonical(&place)?;
        if self.made().remove(&canonical) { place.dress(late.attributes) } else { Ok(()) }
    }

    fn link(&self, at: usize, late: &Late, target: &Path) -> Result<()> {
        self.make_dir(late.path.parent().unwrap_or(Path::new("")))?;
        let place = self.root.place(&late.path)?;
        // As dpkg does: a directory that is there stays, and so does the same link to a directory.
        let stat = place.stat()?;
        let same = || nix::fcntl::readlinkat(&place.dir, place.name).is_ok_and(|there| there == target.as_os_str());
        let kept =
            stat.is_some_and(|stat| is_dir(&stat) || (is_link(&stat) && self.root.dir(&late.path).is_ok() && same()));
        if kept {
            return Ok(());
        }
        if self.wins(at, &late.path)? { place.link_to(target.as_os_str(), late.attributes) } else { Ok(()) }
    }

    fn hard_link(&self, at: usize, late: &Late, target: &Path) -> Result<()> {
        if !self.wins(at, &late.path)? {
            return Ok(());
        }
        let linking = || format!("linking to {}", target.display());
        let (from, to) = (self.root.place(target).with_context(linking)?, self.root.place(&late.path)?);
        to.unlink()?;
        let flags = nix::fcntl::AtFlags::empty();
        nix::unistd::linkat(&from.dir, from.name, &to.dir, to.name, flags).with_context(linking)
    }

    /// As `claim`, where no other thread writes: who wins a path may write it at once.
    fn wins(&self, at: usize, path: &Path) -> Result<bool> {
        Ok(self.claim(at, path, path)? || self.owners.take_again(at, path))
    }
}

fn attributes(item: &Item, rules: &Rules) -> Attributes {
    let (uid, gid, mode) = rules.overridden(&item.path).unwrap_or_else(|| {
        let uid = rules.user(&item.user).unwrap_or(item.uid);
        (uid, rules.group(&item.group).unwrap_or(item.gid), item.mode)
    });
    Attributes { uid, gid, mode, mtime: item.mtime }
}

fn shipped(deb: &Deb) -> Result<HashSet<PathBuf>> {
    Ok(deb.conffiles()?.into_iter().filter(|(_, remove)| !remove).map(|(path, _)| path).collect())
}

fn with_new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".dpkg-new");
    PathBuf::from(name)
}

fn md5(path: &Path) -> Result<String> {
    Ok(hex::encode(Md5::digest(fs_err::read(path)?)))
}
