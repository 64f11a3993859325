//! Which locked versions stay when something is solved anew: all that can.

use crate::archive::Archive;
use crate::archive::cache::Content;
use crate::archive::index::Index;
use crate::archive::package::Package;
use crate::archive::relation::parse_version;
use crate::archive::universe::Pins;
use crate::lock::locked::{asked_for_in_vain, wanted};
use crate::lock::renew::{Renewal, Upgrade};
use crate::lock::{Entry, Lock, label};
use crate::tree::deb::Deb;
use anyhow::Result;
use profiles::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

/// The locked .deb of each package name that is to stay.
type Pinned<'l> = BTreeMap<String, &'l Entry>;

impl<'a> Renewal<'a> {
    /// Solves with as many locked versions as can stay: all; all but those that the new packages lead to; none.
    pub(crate) fn solve(&self, spec: &Spec, lock: &Lock, archive: &Archive) -> Result<Vec<Package>> {
        let pinned = self.pinned(spec, lock);
        let older = self.older(archive, &pinned)?;
        let wanted = wanted(spec);
        let attempt = |pinned: &Pinned| {
            let pins: Pins = pinned.iter().map(|(name, entry)| (name.clone(), entry.sha256.clone())).collect();
            archive.solve_in(&archive.universe_with(&older, &pins)?, &wanted)
        };
        if let Ok(packages) = attempt(&pinned) {
            self.tell_of_the_gone(&pinned, &packages);
            return Ok(packages);
        }
        let free = attempt(&Pinned::new()).map_err(asked_for_in_vain)?;
        let moved = led_to(&free, |name| !pinned.contains_key(name));
        let rest = pinned.into_iter().filter(|(name, _)| !moved.contains(name)).collect();
        let names = match attempt(&rest) {
            Ok(packages) => return Ok(packages),
            Err(_) => spec.owner(),
        };
        self.progress
            .say(&format!("{names}: no locked version can stay beside what is new, so all of them are judged anew"));
        Ok(free)
    }

    /// The locked .deb of each package name that is not to be upgraded: the Spec's own, else the lock's newest.
    fn pinned<'l>(&self, spec: &Spec, lock: &'l Lock) -> BTreeMap<String, &'l Entry>
    where
        'a: 'l,
    {
        let mut pinned = Pinned::new();
        let Some(old) = self.old.filter(|_| *self.upgrade != Upgrade::All) else { return pinned };
        let own = old.share_of(&label(spec)).into_iter().flat_map(|share| old.members(share));
        for entry in own.chain(newest_first(lock)).chain(newest_first(old)) {
            pinned.entry(entry.name.clone()).or_insert(entry);
        }
        if let Upgrade::These(names) = self.upgrade {
            pinned.retain(|name, _| !names.contains(name));
        }
        pinned
    }

    /// Packages that left the archive, from the .debs that the cache still has: an index for each suite.
    fn older(&self, archive: &Archive, pinned: &Pinned) -> Result<Vec<Index>> {
        let listed = archive.listed();
        let mut older = Vec::new();
        for (place, suite) in archive.suites().iter().enumerate() {
            let mut text = String::new();
            for entry in pinned.values().filter(|entry| entry.origin == suite.origin) {
                let Entry { sha256, size, path, .. } = entry;
                let content = Content { sha256: sha256.clone(), size: *size };
                if listed.contains(sha256.as_str()) {
                    continue;
                }
                if let Some(file) = self.cache.get(&content, &entry.name, self.progress)? {
                    let control = Deb::open(&file)?.control;
                    text += &format!("{control}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n\n");
                }
            }
            older.push(Index { text, suite: place });
        }
        Ok(older)
    }

    /// Says which versions could not stay although nothing asked them to go.
    fn tell_of_the_gone(&self, pinned: &Pinned, packages: &[Package]) {
        for package in packages {
            if let Some(entry) = pinned.get(&package.name).filter(|entry| entry.sha256 != package.sha256) {
                self.progress.say(&format!(
                    "{} {}: neither the archive nor the cache has it any more; {} takes its place",
                    entry.name, entry.version, package.version
                ));
            }
        }
    }
}

fn newest_first(lock: &Lock) -> impl Iterator<Item = &Entry> {
    let mut entries: Vec<&Entry> = lock.packages.values().collect();
    entries.sort_by_cached_key(|entry| std::cmp::Reverse(parse_version(&entry.version).ok()));
    entries.into_iter()
}

/// The packages that `start` picks, all that they need, and all that are built from the same sources.
fn led_to(packages: &[Package], start: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let by_name: BTreeMap<&str, &Package> = packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let mut led: BTreeSet<String> = by_name.keys().filter(|name| start(name)).map(|name| name.to_string()).collect();
    let mut open: Vec<String> = led.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let needed = by_name.get(name.as_str()).into_iter().flat_map(|package| package.needs.iter().flatten());
        open.extend(needed.filter(|name| led.insert(name.to_string())).cloned());
    }
    let source = |package: &Package| {
        let source = package.field("Source").unwrap_or_else(|| package.name.clone());
        source.split(' ').next().unwrap_or_default().to_owned()
    };
    let sources: BTreeSet<String> =
        led.iter().filter_map(|name| by_name.get(name.as_str())).map(|p| source(p)).collect();
    led.extend(
        packages.iter().filter(|package| sources.contains(&source(package))).map(|package| package.name.clone()),
    );
    led
}
