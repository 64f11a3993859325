//! A root directory made of Debian packages: unpacked, configured with dpkg's own database, then completed with files.

pub mod deb;
pub mod dpkg;
mod finish;
mod growth;
pub mod layer;
pub mod order;
pub mod overlay;
mod owners;
pub mod payload;
pub mod root;
pub mod sandbox;
pub mod scan;
pub mod shelf;
pub mod state;
pub mod unpack;

use crate::progress::Progress;
use crate::tree::deb::Deb;
use crate::tree::growth::Growth;
use crate::tree::layer::{Copies, Layer, LeftOut};
use crate::tree::order::Order;
use crate::tree::overlay::{Overlay, Replaced};
use crate::tree::payload::Payloads;
use crate::tree::root::{Attributes, Root, unnoticed};
use crate::tree::sandbox::{Output, Sandbox};
use crate::tree::shelf::Shelf;
use crate::tree::state::State;
use anyhow::{Context, Result, bail, ensure};
use profiles::file::File;
use profiles::problem::{Problem, Problems};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configured root directory.
pub struct Tree {
    root: Root,
    epoch: i64,
}

/// What a tree is made of.
pub struct Making<'a> {
    /// Package files that need no others.
    pub debs: &'a [PathBuf],
    /// Names of those that the base profile asks for: trees of several profiles share what is made of them.
    pub first: &'a BTreeSet<String>,
    /// The one time of the image, in seconds.
    pub epoch: i64,
    /// Where what is made is kept.
    pub shelf: &'a Shelf,
    /// Whether the whole tree with this key is packed already, and its bulk can be left out.
    pub packed: &'a dyn Fn(&str) -> bool,
    pub progress: &'a Progress,
}

/// A tree up to the end of a stratum, as it was kept.
#[derive(Clone)]
pub struct Stem {
    /// The digest of all that went into it.
    pub key: String,
    /// SOURCE_DATE_EPOCH of its last scripts, in seconds.
    pub epoch: i64,
    layers: Vec<Layer>,
    payloads: Arc<Payloads>,
    /// What the tree made of it has not, though it should.
    left_out: Arc<LeftOut>,
}

impl Stem {
    /// What is in the tree at `root`, which was made of this, and what was left out of it.
    pub fn state(&self, root: &Root) -> Result<State> {
        let mut state = State::of(root, &self.payloads)?;
        state.0.extend(self.left_out.iter().map(|(_, entry)| (entry.path.clone(), entry.node())));
        Ok(state)
    }

    /// Puts into the tree at `root` what was left out of it.
    pub fn complete(&self, root: &Root) -> Result<()> {
        let Some((_, first)) = self.left_out.first() else { return Ok(()) };
        if root.stat(&first.path)?.is_some() {
            return Ok(());
        }
        // Folders that were there get new names in them.
        let folders: BTreeSet<&Path> = self.left_out.iter().filter_map(|(_, entry)| entry.path.parent()).collect();
        let there = folders.into_iter().filter(|folder| !layer::is_bulk(folder));
        let there: Vec<PathBuf> = there.map(|folder| root.path().join(folder)).collect();
        all_unnoticed(&there, || {
            let left_out = self.left_out.iter().map(|(layer, entry)| (layer, entry)).collect();
            layer::put(root, left_out, &self.payloads, Copies::Made)
        })
    }

    /// Makes the tree once more, in the empty directory `root`.
    pub fn restore(&self, root: &Path) -> Result<()> {
        layer::restore(&Root::open(root)?, &self.layers, &self.payloads, false).map(drop)
    }
}

/// Does `work`, which leaves no trace in the times of `folders`.
fn all_unnoticed(folders: &[PathBuf], work: impl FnOnce() -> Result<()>) -> Result<()> {
    match folders.split_first() {
        Some((folder, rest)) => unnoticed(folder, || all_unnoticed(rest, work)),
        None => work(),
    }
}

impl Tree {
    /// Makes a tree in the empty directory `root`. What is switched off in every image (overlays/base) is in place before
    /// packages that are not essential are configured. No initramfs is made: `bootable` is told as soon as all that has
    /// a part in one is configured. Gives the tree, and its stem.
    pub fn make(root: &Path, making: &Making, bootable: &mut dyn FnMut(Stem)) -> Result<(Tree, Stem)> {
        ensure!(
            fs_err::read_dir(root)?.next().is_none(),
            "{} is not empty; a tree is made in an empty folder",
            root.display()
        );
        let debs = making.debs.par_iter().map(|path| Deb::open(path)).collect::<Result<Vec<_>>>()?;
        let order = Order::of(&debs, making.first)?;
        ensure!(!order.strata[0].rounds[0].is_empty(), "no package among the {} given is essential", debs.len());
        let tree = Tree { root: Root::open(root)?, epoch: making.epoch };
        let payloads = Payloads::new(debs, making.shelf.clone(), *making.progress);
        let stem = Growth { tree: &tree, making, order: &order, payloads }.grow(bootable).context("making the tree")?;
        Ok((tree, stem))
    }

    /// A sandbox in this tree, to which files of the host can be bound.
    pub fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.root.path(), self.epoch)
    }

    /// Runs a command in the tree, without input; the error of one that fails ends with what it wrote last.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        self.sandbox().run(argv)
    }

    /// The directory, open: files in it are read and written without leaving it.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Where the tree is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The time of the image, in seconds.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Copies overlays into the tree, which has all its packages. What may replace a package's file, and does not, is as
    /// wrong as what does, and may not: Debian may have moved the file meanwhile, and ours would lie where nobody reads it.
    pub fn overlays(&self, overlays: &[Overlay], allowed: &[&str]) -> Result<()> {
        let mut replaced = BTreeSet::new();
        for overlay in overlays {
            replaced.extend(self.overlay(overlay, allowed)?.into_iter().map(|file| file.path));
        }
        let unused = allowed.iter().filter(|path| !replaced.contains(Path::new(path.trim_start_matches('/'))));
        let problem = |path: &&str| {
            let saw = format!("an overlay may replace {path}, but no package of the image has that file");
            let cure = format!("take {path:?} out of `replaces`: a file of one's own needs no leave");
            Problem::of_none(saw, "files of packages, as `dpkg -S` names them", cure)
        };
        Ok(Problems(unused.map(problem).collect()).or(())?)
    }

    /// Copies an overlay into the tree. A file that a package owns is replaced only if its path is among `allowed`, and
    /// in a way that outlives the package's next version: docs/decisions/overlay-replaces.md. Gives those replaced.
    pub fn overlay(&self, overlay: &Overlay, allowed: &[&str]) -> Result<Vec<Replaced>> {
        let replaced = overlay.replaced(&self.root, allowed)?;
        for file in replaced.iter().filter(|file| !file.conffile) {
            self.divert(&file.listed).with_context(|| format!("diverting a file of {}", file.package))?;
        }
        overlay.copy_into(&self.root, self.epoch, allowed)?;
        Ok(replaced)
    }

    /// Moves a package's file aside, for good: dpkg puts each later version of it there too.
    fn divert(&self, path: &Path) -> Result<()> {
        let path = format!("/{}", path.display());
        let aside = format!("{path}.distrib");
        let divert = ["dpkg-divert", "--quiet", "--local", "--rename", "--divert", &aside, "--add", &path];
        self.sandbox().run(&divert).map(drop)
    }

    /// Writes one file that a Spec wants, replacing what is there. Its owner has to be known to the tree.
    pub fn put(&self, file: &File) -> Result<()> {
        let rules = dpkg::Rules::read(&self.root)?;
        let path = crate::tree::root::inside(Path::new(file.path.trim_start_matches('/')))?;
        let (user, group) = file
            .owner
            .split_once(':')
            .with_context(|| format!("{} is to belong to {:?}; wanted user:group", file.path, file.owner))?;
        let Some((uid, gid)) = rules.user(user).zip(rules.group(group)) else {
            bail!("{} is to belong to {}, which no package of the image makes", file.path, file.owner);
        };
        let attributes = Attributes { uid, gid, mode: file.mode, mtime: self.epoch };
        self.root.write(&path, file.content.as_bytes(), attributes)
    }

    /// Removes identities, secrets, logs and caches that configuring left: the tree is then ready to be packed.
    pub fn finish(&self) -> Result<()> {
        finish::finish(self).context("cleaning the tree")
    }
}
