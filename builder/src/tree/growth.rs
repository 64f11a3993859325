//! A tree that grows stratum by stratum: what was kept is restored, the rest unpacked, configured and kept.

use crate::progress::{Stage, Unit};
use crate::tree::deb::Deb;
use crate::tree::dpkg;
use crate::tree::layer::{self, Layer, LeftOut};
use crate::tree::order::{Order, Stratum};
use crate::tree::overlay::Overlay;
use crate::tree::payload::Payloads;
use crate::tree::root::Attributes;
use crate::tree::sandbox::Sandbox;
use crate::tree::shelf;
use crate::tree::state::State;
use crate::tree::unpack::{Conffiles, Unpacked, Unpacker};
use crate::tree::{Making, Stem, Tree};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;

/// What grows, and of what.
pub struct Growth<'a> {
    pub tree: &'a Tree,
    pub making: &'a Making<'a>,
    pub order: &'a Order,
    pub payloads: Arc<Payloads>,
}

/// Asked by invoke-rc.d before it starts anything: 101 forbids it.
pub const POLICY: &str = "usr/sbin/policy-rc.d";

impl Growth<'_> {
    /// Makes the whole tree; tells `bootable` once the last stratum with a part in the initramfs is configured.
    pub fn grow(&self, bootable: &mut dyn FnMut(Stem)) -> Result<Stem> {
        let keys = self.keys();
        let mut layers = self.kept(&keys)?;
        let rest = &self.order.strata[layers.len()..];
        // The largest of a stratum first: the last should not be the longest.
        let ahead = self.order.strata.iter().flat_map(|stratum| {
            let mut places: Vec<usize> = stratum.packages().collect();
            places.sort_by_key(|place| std::cmp::Reverse(self.payloads.debs[*place].installed_size()));
            places
        });
        let light = rest.is_empty() && keys.last().is_some_and(|key| (self.making.packed)(key));
        let _ahead = (!light).then(|| self.payloads.fetch_ahead(ahead.collect()));
        let left_out = Arc::new(self.restore(&mut layers, &keys, light)?);
        let unpacker = Unpacker::new(&self.tree.root, &self.payloads);
        if let Some(last) = layers.last() {
            unpacker.owners().remember(last.owners());
        }
        let boots = self.order.strata.iter().rposition(|stratum| stratum.boots).unwrap_or_default();
        let stem = |count: usize, layers: &[Layer]| Stem {
            key: keys[count - 1].clone(),
            epoch: self.epoch(count - 1),
            layers: layers[..count].to_vec(),
            payloads: self.payloads.clone(),
            left_out: left_out.clone(),
        };
        if layers.len() > boots {
            bootable(stem(boots + 1, &layers));
        }
        if layers.len() < keys.len() {
            let mut before = State::of(&self.tree.root, &self.payloads)?;
            for (at, key) in keys.iter().enumerate().skip(layers.len()) {
                self.stratum(at, &unpacker)?;
                let after = State::of(&self.tree.root, &self.payloads)?;
                layers.push(self.keep(key, &before, &after, &unpacker)?);
                before = after;
                if at == boots {
                    bootable(stem(boots + 1, &layers));
                }
            }
        }
        Ok(stem(layers.len(), &layers))
    }

    /// A key for the tree at the end of each stratum.
    fn keys(&self) -> Vec<String> {
        let mut before = String::new();
        let key = |stratum: &Stratum| {
            let mut parts = vec!["layer", before.as_str()];
            parts.extend(stratum.rounds.iter().flat_map(|round| {
                std::iter::once("round").chain(round.iter().map(|place| self.payloads.debs[*place].sha256.as_str()))
            }));
            before = shelf::key(&parts);
            before.clone()
        };
        self.order.strata.iter().map(key).collect()
    }

    /// The kept layers of as many strata as have one, from the first on.
    fn kept(&self, keys: &[String]) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for key in keys {
            let Some(folder) = self.making.shelf.find("layers", key) else { break };
            match Layer::open(folder) {
                Ok(layer) => layers.push(layer),
                Err(damage) => {
                    let (shelf, progress) = (self.making.shelf, self.making.progress);
                    shelf.quarantine("layers", key, "a stratum of packages", &damage, progress)?;
                    break;
                }
            }
        }
        Ok(layers)
    }

    /// Makes the tree of the kept layers, and gives what was left out of it. If one of them is damaged, none is used.
    fn restore(&self, layers: &mut Vec<Layer>, keys: &[String], light: bool) -> Result<LeftOut> {
        if layers.is_empty() {
            return Ok(Vec::new());
        }
        let stage = self.making.progress.stage("restoring");
        let damage = match layer::restore(&self.tree.root, layers, &self.payloads, light) {
            Ok(left_out) => {
                let count = self.order.strata[..layers.len()].iter().flat_map(Stratum::packages).count();
                stage.done(format!("{count} packages, configured before"));
                return Ok(left_out);
            }
            Err(damage) => damage,
        };
        drop(stage);
        for key in &keys[..layers.len()] {
            let (shelf, progress) = (self.making.shelf, self.making.progress);
            shelf.quarantine("layers", key, "a stratum of packages", &damage, progress)?;
        }
        layers.clear();
        self.tree.root.names(Path::new(""))?.iter().try_for_each(|name| self.tree.root.remove(Path::new(name)))?;
        Ok(Vec::new())
    }

    fn keep(&self, key: &str, before: &State, after: &State, unpacker: &Unpacker) -> Result<Layer> {
        let draft = self.making.shelf.draft()?;
        let owners = unpacker.owners().all();
        let layer = Layer::capture(&self.tree.root, before, after, &self.payloads, owners, draft.path())?;
        Ok(layer.moved(self.making.shelf.keep("layers", key, draft)?))
    }

    /// The scripts' time in a stratum depends on the packages alone: what they make is right for other images with the
    /// same.
    fn epoch(&self, at: usize) -> i64 {
        let there = self.order.strata[..=at].iter().flat_map(Stratum::packages);
        there.map(|place| self.payloads.debs[place].built()).max().unwrap_or_default()
    }

    fn stratum(&self, at: usize, unpacker: &Unpacker) -> Result<()> {
        let cook = Cook { growth: self, unpacker, epoch: self.epoch(at) };
        if at == 0 {
            return cook.core(&self.order.strata[0].rounds[0]);
        }
        self.order.strata[at].rounds.iter().try_for_each(|round| cook.round(round))
    }
}

/// Unpacks and configures.
struct Cook<'a> {
    growth: &'a Growth<'a>,
    unpacker: &'a Unpacker<'a>,
    /// SOURCE_DATE_EPOCH of scripts, and the time of files that are written for them.
    epoch: i64,
}

impl Cook<'_> {
    fn debs(&self) -> &[Deb] {
        &self.growth.payloads.debs
    }

    /// The essential packages, as debootstrap begins: unpacked before there is anything that could run a script.
    fn core(&self, core: &[usize]) -> Result<()> {
        // Its links (/bin -> usr/bin) are what all the others are unpacked through.
        let (first, others): (Vec<usize>, Vec<usize>) =
            core.iter().partition(|at| self.debs()[**at].name() == "base-files");
        let stage = self.stage("unpacking", core);
        let mut unpacked = self.unpacker.unpack(&first, Conffiles::Final, &stage)?;
        unpacked.extend(self.unpacker.unpack(&others, Conffiles::Final, &stage)?);
        stage.done(format!("{} essential packages", core.len()));
        let root = &self.growth.tree.root;
        dpkg::create(root, self.epoch)?;
        let core: Vec<usize> = first.into_iter().chain(others).collect();
        self.before_install(&core)?;
        self.record(&core, &unpacked)?;
        self.configure(core.len())?;
        self.write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)?;
        Overlay::embedded("base")?.copy_into(root, self.epoch, &[])
    }

    fn round(&self, round: &[usize]) -> Result<()> {
        self.before_install(round)?;
        let stage = self.stage("unpacking", round);
        let unpacked = self.unpacker.unpack(round, Conffiles::New, &stage)?;
        stage.done(format!("{} packages", round.len()));
        self.record(round, &unpacked)?;
        self.configure(round.len())
    }

    fn record(&self, round: &[usize], unpacked: &[Unpacked]) -> Result<()> {
        let (root, debs) = (&self.growth.tree.root, self.debs());
        let packages: Vec<(&Deb, &Unpacked)> = round.iter().map(|at| &debs[*at]).zip(unpacked).collect();
        dpkg::record(root, self.epoch, &packages).context("writing dpkg's database")?;
        for (at, paths) in self.unpacker.lost() {
            dpkg::forget(root, self.epoch, &debs[at], &paths)?;
        }
        Ok(())
    }

    /// Runs `preinst install` of each package that has one, where dpkg runs it, with what dpkg gives it.
    fn before_install(&self, round: &[usize]) -> Result<()> {
        let (folder, root) = (Path::new("var/lib/dpkg/tmp.ci"), &self.growth.tree.root);
        let debs = round.iter().map(|at| &self.debs()[*at]);
        for deb in debs.filter(|deb| deb.members.contains_key("preinst")) {
            for (name, member) in &deb.members {
                let attributes = Attributes { uid: 0, gid: 0, mode: member.mode, mtime: member.mtime };
                root.write(&folder.join(name), &member.content, attributes)?;
            }
            self.write("var/lib/dpkg/tmp.ci/control", &format!("{}\n", deb.control), 0o644)?;
            let variables = [
                ("PACKAGE", deb.name()),
                ("PACKAGE_REFCOUNT", "1"),
                ("ARCH", deb.field("Architecture")),
                ("NAME", "preinst"),
                ("DEBUG", "0"),
            ];
            let sandbox = self.sandbox().env("DPKG_ADMINDIR", "/var/lib/dpkg").env("DPKG_ROOT", "");
            let sandbox = variables
                .iter()
                .fold(sandbox, |sandbox, (name, value)| sandbox.env(&format!("DPKG_MAINTSCRIPT_{name}"), value));
            let run = sandbox.run(&["/var/lib/dpkg/tmp.ci/preinst", "install"]);
            run.with_context(|| format!("preparing the installation of {}", deb.name()))?;
            root.remove(folder)?;
        }
        Ok(())
    }

    fn configure(&self, count: usize) -> Result<()> {
        let stage = self.growth.making.progress.stage("configuring");
        let dpkg = ["dpkg", "--force-confold", "--log=/dev/null", "--configure", "--pending"];
        self.sandbox().run(&dpkg).context("configuring packages")?;
        stage.done(format!("{count} packages"));
        Ok(())
    }

    /// A sandbox in which kernels' and others' hooks make no initramfs. Nothing has to be taken back for that.
    fn sandbox(&self) -> Sandbox {
        Sandbox::new(self.growth.tree.path(), self.epoch).env("INITRD", "No")
    }

    fn stage(&self, name: &str, round: &[usize]) -> Stage {
        let stage = self.growth.making.progress.stage(name);
        let size = |at: &usize| self.debs()[*at].path.metadata().map_or(0, |data| data.len());
        stage.total(round.iter().map(size).sum(), Unit::Bytes);
        stage
    }

    fn write(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        let attributes = Attributes { uid: 0, gid: 0, mode, mtime: self.epoch };
        self.growth.tree.root.write(Path::new(path), content.as_bytes(), attributes)
    }
}
