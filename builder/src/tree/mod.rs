//! A root directory made of Debian packages: unpacked, configured with dpkg's own database, then completed with files.

pub mod deb;
pub mod dpkg;
mod finish;
pub mod order;
pub mod overlay;
mod owners;
pub mod root;
pub mod sandbox;
pub mod scan;
pub mod unpack;

use crate::progress::{Progress, Stage, Unit};
use crate::tree::deb::Deb;
use crate::tree::order::Order;
use crate::tree::overlay::{Overlay, Replaced};
use crate::tree::root::{Attributes, Root};
use crate::tree::sandbox::{Output, Sandbox};
use crate::tree::unpack::{Conffiles, Unpacked, Unpacker};
use anyhow::{Context, Result, bail, ensure};
use profiles::file::File;
use profiles::problem::{Problem, Problems};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A configured root directory.
pub struct Tree {
    root: Root,
    epoch: i64,
}

/// Asked by invoke-rc.d before it starts anything: 101 forbids it.
const POLICY: &str = "usr/sbin/policy-rc.d";

impl Tree {
    /// Makes a tree in the empty directory `root` of package files that need no others. `epoch` (seconds) is the one
    /// time of the image. What is switched off in every image (overlays/base) is in place before packages that are
    /// not essential are configured. No initramfs is made: that is the caller's, once, at the end.
    pub fn make(root: &Path, debs: &[PathBuf], epoch: i64, progress: &Progress) -> Result<Tree> {
        ensure!(
            fs_err::read_dir(root)?.next().is_none(),
            "{} is not empty; a tree is made in an empty folder",
            root.display()
        );
        let debs = debs.par_iter().map(|path| Deb::open(path)).collect::<Result<Vec<_>>>()?;
        let tree = Tree { root: Root::open(root)?, epoch };
        tree.base(&debs, progress).context("making the tree")?;
        Ok(tree)
    }

    fn base(&self, debs: &[Deb], progress: &Progress) -> Result<()> {
        let order = Order::of(debs)?;
        ensure!(!order.core.is_empty(), "no package among the {} given is essential", debs.len());
        let unpacker = Unpacker::new(&self.root, debs);
        self.core(&order.core, &unpacker, debs, progress)?;
        self.write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)?;
        self.overlay(&Overlay::embedded("base")?, &[])?;
        for round in &order.rounds {
            self.round(round, &unpacker, debs, progress)?;
        }
        self.root.remove(Path::new(POLICY))
    }

    /// The essential packages, as debootstrap begins: unpacked before there is anything that could run a script.
    fn core(&self, core: &[usize], unpacker: &Unpacker, debs: &[Deb], progress: &Progress) -> Result<()> {
        // Its links (/bin -> usr/bin) are what all the others are unpacked through.
        let (first, others): (Vec<usize>, Vec<usize>) = core.iter().partition(|at| debs[**at].name() == "base-files");
        let stage = stage(progress, "unpacking", core, debs);
        let mut unpacked = unpacker.unpack(&first, Conffiles::Final, &stage)?;
        unpacked.extend(unpacker.unpack(&others, Conffiles::Final, &stage)?);
        stage.done(format!("{} essential packages", core.len()));
        dpkg::create(&self.root, self.epoch)?;
        let core: Vec<usize> = first.into_iter().chain(others).collect();
        self.before_install(&core, debs)?;
        self.record(&core, unpacker, debs, &unpacked)?;
        self.configure(core.len(), progress)
    }

    fn round(&self, round: &[usize], unpacker: &Unpacker, debs: &[Deb], progress: &Progress) -> Result<()> {
        self.before_install(round, debs)?;
        let stage = stage(progress, "unpacking", round, debs);
        let unpacked = unpacker.unpack(round, Conffiles::New, &stage)?;
        stage.done(format!("{} packages", round.len()));
        self.record(round, unpacker, debs, &unpacked)?;
        self.configure(round.len(), progress)
    }

    fn record(&self, round: &[usize], unpacker: &Unpacker, debs: &[Deb], unpacked: &[Unpacked]) -> Result<()> {
        let packages: Vec<(&Deb, &Unpacked)> = round.iter().map(|at| &debs[*at]).zip(unpacked).collect();
        dpkg::record(&self.root, self.epoch, &packages).context("writing dpkg's database")?;
        for (at, paths) in unpacker.lost() {
            dpkg::forget(&self.root, self.epoch, &debs[at], &paths)?;
        }
        Ok(())
    }

    /// Runs `preinst install` of each package that has one, where dpkg runs it, with what dpkg gives it.
    fn before_install(&self, round: &[usize], debs: &[Deb]) -> Result<()> {
        let folder = Path::new("var/lib/dpkg/tmp.ci");
        for deb in round.iter().map(|at| &debs[*at]).filter(|deb| deb.members.contains_key("preinst")) {
            for (name, member) in &deb.members {
                let attributes = Attributes { uid: 0, gid: 0, mode: member.mode, mtime: member.mtime };
                self.root.write(&folder.join(name), &member.content, attributes)?;
            }
            self.write("var/lib/dpkg/tmp.ci/control", &format!("{}\n", deb.control), 0o644)?;
            let variables = [
                ("PACKAGE", deb.name()),
                ("PACKAGE_REFCOUNT", "1"),
                ("ARCH", deb.field("Architecture")),
                ("NAME", "preinst"),
                ("DEBUG", "0"),
            ];
            let sandbox = self.quiet_sandbox().env("DPKG_ADMINDIR", "/var/lib/dpkg").env("DPKG_ROOT", "");
            let sandbox = variables
                .iter()
                .fold(sandbox, |sandbox, (name, value)| sandbox.env(&format!("DPKG_MAINTSCRIPT_{name}"), value));
            let run = sandbox.run(&["/var/lib/dpkg/tmp.ci/preinst", "install"]);
            run.with_context(|| format!("preparing the installation of {}", deb.name()))?;
            self.root.remove(folder)?;
        }
        Ok(())
    }

    fn configure(&self, count: usize, progress: &Progress) -> Result<()> {
        let stage = progress.stage("configuring");
        let dpkg = ["dpkg", "--force-confold", "--log=/dev/null", "--configure", "--pending"];
        self.quiet_sandbox().run(&dpkg).context("configuring packages")?;
        stage.done(format!("{count} packages"));
        Ok(())
    }

    /// A sandbox in which kernels' and others' hooks make no initramfs. Nothing has to be taken back for that.
    fn quiet_sandbox(&self) -> Sandbox {
        self.sandbox().env("INITRD", "No")
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

    fn write(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        self.root.write(Path::new(path), content.as_bytes(), Attributes { uid: 0, gid: 0, mode, mtime: self.epoch })
    }
}

fn stage(progress: &Progress, name: &str, round: &[usize], debs: &[Deb]) -> Stage {
    let stage = progress.stage(name);
    let size = |at: &usize| debs[*at].path.metadata().map_or(0, |data| data.len());
    stage.total(round.iter().map(size).sum(), Unit::Bytes);
    stage
}
