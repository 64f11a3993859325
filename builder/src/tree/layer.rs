//! What configuring a stratum of packages changed in a tree, kept so that it need not be done again.
//!
//! ```text
//! layers/<key>/index.json   every entry that is new or changed, every path that is gone, whose each file is
//!              0, 1, 2 …    files that are no package's own; a package's own are in its payload
//! ```
//! A tree is restored from the layers of all its strata, each file made once.

use crate::tree::payload::{self, Payloads};
use crate::tree::root::{Attributes, Place, Root, is_dir};
use crate::tree::shelf;
use crate::tree::state::{Kind, Node, State};
use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One stratum's changes.
#[derive(Clone, Debug)]
pub struct Layer {
    folder: Arc<Path>,
    index: Arc<Index>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Index {
    removed: Vec<PathBuf>,
    entries: Vec<Entry>,
    owners: BTreeMap<PathBuf, String>,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the root.
    pub path: PathBuf,
    pub what: What,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds.
    pub mtime: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    Dir,
    /// A file of the layer.
    Own {
        number: usize,
        sha256: String,
        /// Its security.capability, in hexadecimal digits; empty if it has none.
        capability: String,
    },
    /// A file of a package, by the package's SHA-256.
    Payload {
        package: String,
        item: usize,
    },
    /// Kept under this number too: a link that is there is given a name faster than a new one is made.
    Link {
        number: usize,
        target: PathBuf,
    },
    Pipe,
    /// One more name of a file that comes before.
    Hard(PathBuf),
}

const CAPABILITY: &str = "security.capability";

impl Layer {
    /// Copies what changed into the empty folder `folder`.
    pub fn capture(
        root: &Root,
        before: &State,
        after: &State,
        payloads: &Payloads,
        owners: BTreeMap<PathBuf, String>,
        folder: &Path,
    ) -> Result<Layer> {
        let (mut index, kept) = (Index { owners, ..Index::default() }, Root::open(folder)?);
        let mut names: HashMap<u64, PathBuf> = HashMap::new();
        for (path, node) in after.0.iter().filter(|(path, node)| before.0.get(*path) != Some(node)) {
            let number = index.entries.len();
            let what = match &node.kind {
                Kind::Dir => What::Dir,
                Kind::Link(target) => {
                    kept.place(Path::new(&number.to_string()))?.link_to(target.as_os_str(), of_node(node))?;
                    What::Link { number, target: target.clone() }
                }
                Kind::Payload(place, item) => {
                    What::Payload { package: payloads.debs[*place].sha256.clone(), item: *item }
                }
                Kind::Own(inode, ..) => match names.get(inode) {
                    Some(first) => What::Hard(first.clone()),
                    None => {
                        names.insert(*inode, path.clone());
                        own(&root.path().join(path), &folder.join(number.to_string()), number, node)
                            .with_context(|| format!("keeping /{}", path.display()))?
                    }
                },
                Kind::Pipe => What::Pipe,
                Kind::LeftOut => bail!("/{} is not there: a light tree has no layers", path.display()),
            };
            let Node { mode, uid, gid, mtime: (mtime, _), .. } = *node;
            index.entries.push(Entry { path: path.clone(), what, mode, uid, gid, mtime });
        }
        let gone = before.0.keys().filter(|path| !after.0.contains_key(*path));
        let stays = |path: &Path| path.as_os_str().is_empty() || after.0.contains_key(path);
        index.removed = gone.filter(|path| path.parent().is_none_or(stays)).cloned().collect();
        shelf::write_index(folder, &index)?;
        Ok(Layer { folder: folder.into(), index: Arc::new(index) })
    }

    /// The same layer, whose folder was moved.
    pub fn moved(self, folder: PathBuf) -> Layer {
        Layer { folder: folder.into(), ..self }
    }

    /// A layer that an earlier run kept.
    pub fn open(folder: PathBuf) -> Result<Layer> {
        let index = Arc::new(shelf::read_index(&folder)?);
        Ok(Layer { folder: folder.into(), index })
    }

    /// Whose each file was when the stratum was configured: names of packages by canonical path.
    pub fn owners(&self) -> &BTreeMap<PathBuf, String> {
        &self.index.owners
    }

    /// What is new or changed, in the order of paths.
    pub fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// Paths that are gone; what was below them is not listed.
    pub fn removed(&self) -> &[PathBuf] {
        &self.index.removed
    }

    /// The layer's file of this number.
    pub fn file(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

/// Folders that nobody reads who only adds a machine's own files to a tree that is packed already, and that are most of a
/// tree.
const BULK: [&str; 24] = [
    "usr/lib/firmware",
    "usr/lib/modules",
    "usr/lib/postgresql",
    "usr/lib/python3",
    "usr/lib/python3.13",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl5",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/ca-certificates",
    "usr/share/doc",
    "usr/share/fish",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/postgresql",
    "usr/share/postgresql-common",
    "usr/share/python3",
    "usr/share/terminfo",
    "usr/share/zoneinfo",
    "usr/share/zsh",
];

/// Whether a path lies in one of the folders that a light tree does without.
pub fn is_bulk(path: &Path) -> bool {
    BULK.iter().any(|bulk| path.starts_with(bulk))
}

/// Entries that a tree should have and has not, each with the layer that has its content.
pub type LeftOut = Vec<(Layer, Entry)>;

/// Makes the tree that `layers` led to in the empty directory `root`; without its bulk if `light`. Gives what was left out.
pub fn restore(root: &Root, layers: &[Layer], payloads: &Payloads, light: bool) -> Result<LeftOut> {
    let mut all: BTreeMap<&Path, (&Layer, &Entry)> = BTreeMap::new();
    for layer in layers {
        for path in layer.removed() {
            let below: Vec<&Path> = all
                .range(path.as_path()..)
                .map(|(path, _)| *path)
                .take_while(|below| below.starts_with(path))
                .collect();
            for path in below {
                all.remove(path);
            }
        }
        all.extend(layer.entries().iter().map(|entry| (entry.path.as_path(), (layer, entry))));
    }
    // One file with a name on either side has to be there.
    let apart = |entry: &Entry| !matches!(&entry.what, What::Hard(first) if is_bulk(first) != is_bulk(&entry.path));
    let light = light && all.values().all(|(_, entry)| apart(entry));
    let (bulk, rest): (Vec<_>, _) = all.into_values().partition(|(_, entry)| light && is_bulk(&entry.path));
    // In a light tree no script runs that could change a file in place.
    let own = if light { Copies::Linked } else { Copies::Made };
    put(root, rest, payloads, own)?;
    Ok(bulk.into_iter().map(|(layer, entry)| (layer.clone(), entry.clone())).collect())
}

/// How a tree comes to the files of layers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    Made,
    /// Where the layer's file has the right owner.
    Linked,
}

/// Makes entries, in the order of paths; of their folders those are there already that are not among them.
pub fn put(root: &Root, entries: Vec<(&Layer, &Entry)>, payloads: &Payloads, own: Copies) -> Result<()> {
    let (dirs, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, entry)| entry.what == What::Dir);
    for (_, entry) in &dirs {
        make_dir(&root.place(&entry.path)?).with_context(|| format!("restoring /{}", entry.path.display()))?;
    }
    let (hard, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, entry)| matches!(entry.what, What::Hard(_)));
    // Folder by folder: each is opened once, and threads do not wait for each other's.
    let mut folders: BTreeMap<Option<&Path>, Vec<(&Layer, &Entry)>> = BTreeMap::new();
    for (layer, entry) in rest {
        folders.entry(entry.path.parent()).or_default().push((layer, entry));
    }
    folders.into_par_iter().try_for_each(|(folder, entries)| -> Result<()> {
        let folder = root.dir(folder.unwrap_or(Path::new("")))?;
        entries.into_iter().try_for_each(|(layer, entry)| {
            let name = entry.path.file_name().unwrap_or_default();
            let place = Place { dir: folder.try_clone()?, name };
            make(&place, layer, entry, payloads, own).with_context(|| format!("restoring /{}", entry.path.display()))
        })
    })?;
    for (_, entry) in hard {
        let What::Hard(first) = &entry.what else { continue };
        root.place(&entry.path)?.link_file(&root.place(first)?.held())?;
    }
    for (_, entry) in dirs.into_iter().rev() {
        root.place(&entry.path)?.dress(attributes(entry))?;
    }
    Ok(())
}

impl Entry {
    /// What `State` says of it while it is left out.
    pub fn node(&self) -> Node {
        let kind = match &self.what {
            What::Dir => Kind::Dir,
            What::Link { target, .. } => Kind::Link(target.clone()),
            What::Pipe => Kind::Pipe,
            What::Own { .. } | What::Payload { .. } | What::Hard(_) => Kind::LeftOut,
        };
        Node { kind, mode: self.mode, uid: self.uid, gid: self.gid, mtime: (self.mtime, 0) }
    }
}

fn make_dir(place: &Place) -> Result<()> {
    match mkdirat(&place.dir, place.name, Mode::from_bits_truncate(0o700)) {
        Err(Errno::EEXIST) if place.stat()?.is_some_and(|stat| is_dir(&stat)) => Ok(()),
        answer => Ok(answer?),
    }
}

fn make(place: &Place, layer: &Layer, entry: &Entry, payloads: &Payloads, own: Copies) -> Result<()> {
    match &entry.what {
        What::Own { number, sha256, capability } => {
            let content = fs::read(layer.file(*number))?;
            let seen = hex::encode(Sha256::digest(&content));
            ensure!(seen == *sha256, "what was kept of it has the SHA-256 {seen}: wanted {sha256}");
            if own == Copies::Linked && capability.is_empty() && is_dressed(&layer.file(*number), entry)? {
                return place.link_file(&layer.file(*number));
            }
            place.write(&mut &content[..], attributes(entry))?;
            if !capability.is_empty() {
                xattr::set(place.held(), CAPABILITY, &hex::decode(capability)?)?;
            }
            Ok(())
        }
        What::Payload { package, item } => {
            let Some(at) = payloads.place(package) else { bail!("its package {package} is not among those given") };
            place.link_file(&payloads.file(at, *item)?)
        }
        What::Link { number, target } => {
            let kept = layer.file(*number);
            if own == Copies::Linked && is_dressed(&kept, entry)? && fs::read_link(&kept)? == *target {
                return place.link_file(&kept);
            }
            place.link_to(target.as_os_str(), attributes(entry))
        }
        What::Pipe => {
            nix::unistd::mkfifo(&place.held(), Mode::from_bits_truncate(0o600))?;
            place.dress(attributes(entry))
        }
        // Made before all else, and after it.
        What::Dir | What::Hard(_) => Ok(()),
    }
}

fn attributes(entry: &Entry) -> Attributes {
    Attributes { uid: entry.uid, gid: entry.gid, mode: entry.mode, mtime: entry.mtime }
}

fn of_node(node: &Node) -> Attributes {
    Attributes { uid: node.uid, gid: node.gid, mode: node.mode, mtime: node.mtime.0 }
}

/// Whether a layer's file has the attributes that its entry has in the tree.
fn is_dressed(file: &Path, entry: &Entry) -> Result<bool> {
    let meta = fs::symlink_metadata(file)?;
    let seen = (meta.uid(), meta.gid(), meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec());
    Ok(seen == (entry.uid, entry.gid, entry.mode, entry.mtime, 0))
}

/// Copies a file of the tree into the layer, as root's.
fn own(from: &Path, to: &Path, number: usize, node: &Node) -> Result<What> {
    let capability = xattr::get(from, CAPABILITY)?.map(hex::encode).unwrap_or_default();
    let (_, sha256) = payload::write(to, &mut fs::File::open(from)?, node.mode & 0o777, node.mtime.0)?;
    Ok(What::Own { number, sha256, capability })
}
