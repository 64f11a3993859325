//! A lock from its facts, and what does not hold together: after a merge, or an edit by hand.

use crate::lock::parse::{Fact, Facts, unsound};
use crate::lock::{Entry, Lock, Share, owner};
use profiles::problem::{Problem, Problems, Span, Texts};
use std::collections::{BTreeMap, BTreeSet};

/// A lock as far as it is sound.
#[derive(Debug)]
pub struct Salvaged {
    /// With the shares that hold together.
    pub lock: Lock,
    /// What does not; `mimg lock` mends it.
    pub faults: Problems,
}

struct Gathering {
    texts: Texts,
    lock: Lock,
    /// What cannot be mended from the lock alone.
    broken: Vec<Problem>,
    faults: Vec<Problem>,
    /// Labels whose share does not hold together.
    unsound: BTreeSet<String>,
    /// First line about each Spec.
    labels: BTreeMap<String, Span>,
    packages: BTreeMap<(String, String), Span>,
    has: Vec<(Span, String, String, Option<String>)>,
}

/// Puts the facts together. Errors: two lines that contradict each other about one file.
pub fn gather(facts: Facts) -> Result<Salvaged, Problems> {
    let mut gathering = Gathering {
        texts: facts.texts,
        lock: Lock::default(),
        broken: Vec::new(),
        faults: Vec::new(),
        unsound: BTreeSet::new(),
        labels: BTreeMap::new(),
        packages: BTreeMap::new(),
        has: Vec::new(),
    };
    gathering.must_name_a_fleet(&facts.all);
    for (span, fact) in facts.all {
        gathering.take(span, fact);
    }
    gathering.give();
    gathering.judge();
    let Gathering { mut lock, broken, faults, unsound, .. } = gathering;
    lock.shares.retain(|label, _| !unsound.contains(label));
    let sound: BTreeSet<String> = lock.shares.keys().cloned().collect();
    lock.same.retain(|_, other| sound.contains(other));
    if !broken.is_empty() {
        return Err(Problems(broken.into_iter().chain(faults).collect()).sorted());
    }
    Ok(Salvaged { lock, faults: Problems(faults).sorted() })
}

impl Gathering {
    fn fault(&mut self, span: &Span, saw: &str, wanted: &str) {
        self.faults.push(unsound(&self.texts, span, saw, wanted));
    }

    fn contradiction(&mut self, span: &Span, other: &Span, what: &str) {
        let saw =
            format!("{what} is here for the second time, after {}, and says something else", self.texts.place(other));
        let cure = "restore the file from git (`git checkout mimg.lock`), then `mimg lock`";
        self.broken.push(self.texts.problem(span, &saw, "one line", cure));
    }

    fn must_name_a_fleet(&mut self, facts: &[(Span, Fact)]) {
        if !facts.iter().any(|(_, fact)| matches!(fact, Fact::Fleet(_))) {
            let cure = "restore the file from git (`git checkout mimg.lock`), then `mimg lock`";
            self.broken.push(self.texts.problem(
                &(0..0),
                "the lock names no fleet",
                "a line `fleet` with its id",
                cure,
            ));
        }
    }

    fn take(&mut self, span: Span, fact: Fact) {
        match fact {
            Fact::Fleet(id) => {
                if !self.lock.fleet.is_nil() && self.lock.fleet != id {
                    let cure = "restore the file from git (`git checkout mimg.lock`), then `mimg lock`";
                    self.broken.push(self.texts.problem(&span, "the lock names a second fleet", "one fleet", cure));
                }
                self.lock.fleet = id;
            }
            Fact::Release { origin, date, sha256 } => {
                let old = self.lock.releases.insert((origin, date), sha256.clone());
                if old.is_some_and(|old| old != sha256) {
                    let cure = "restore the file from git (`git checkout mimg.lock`), then `mimg lock`";
                    let saw = "this release is here twice, with two digests";
                    self.broken.push(self.texts.problem(&span, saw, "one digest for each date of a suite", cure));
                }
            }
            Fact::Package(entry) => self.package(span, *entry),
            Fact::From { label, component } => self.share(&label, &span).components.extend([component]),
            Fact::Repository { label, repository } => self.share(&label, &span).repositories.extend([repository]),
            Fact::Asks { label, name, package } => self.share(&label, &span).asks.extend([(name, package)]),
            Fact::Has { label, name, version } => {
                self.share(&label, &span);
                self.has.push((span, label, name, version));
            }
            Fact::As { label, other } => {
                self.labels.entry(label.clone()).or_insert(span);
                self.lock.same.insert(label, other);
            }
        }
    }

    fn package(&mut self, span: Span, entry: Entry) {
        let key = (entry.name.clone(), entry.version.clone());
        match self.lock.packages.get_mut(&key) {
            None => {
                self.lock.packages.insert(key.clone(), entry);
                // The beginning says which package it is; the rest of the line is long.
                let head = "package".len() + key.0.len() + key.1.len() + 2;
                self.packages.insert(key, span.start..span.start + head);
            }
            // Two branches may have locked the same package on two days.
            Some(old) if old.is(&entry) => old.join(&entry),
            Some(_) => {
                let (what, other) = (format!("{} {}", key.0, key.1), self.packages[&key].clone());
                self.contradiction(&(span.start..span.start + other.len()), &other, &what);
            }
        }
    }

    fn share(&mut self, label: &str, span: &Span) -> &mut Share {
        self.labels.entry(label.to_owned()).or_insert(span.clone());
        self.lock.shares.entry(label.to_owned()).or_default()
    }

    /// Gives each share its packages, now that all of them are known.
    fn give(&mut self) {
        for (span, label, name, version) in std::mem::take(&mut self.has) {
            let there: Vec<String> = self.lock.versions(&name).map(|entry| entry.version.clone()).collect();
            let saw = match (&version, &there[..]) {
                (_, []) => Some(format!("{name} has no line of its own")),
                (None, [_, _, ..]) => Some(format!("{name} is here in several versions: {}", there.join(", "))),
                (Some(version), _) if !there.contains(version) => {
                    Some(format!("{name} {version} has no line of its own: there is {}", there.join(", ")))
                }
                _ => None,
            };
            if let Some(saw) = saw {
                self.fault(&span, &saw, "one package line that is meant");
                self.unsound.insert(label);
                continue;
            }
            let version = version.or_else(|| there.into_iter().next()).unwrap_or_default();
            let old = self.share(&label, &span).has.insert(name.clone(), version.clone());
            if old.is_some_and(|old| old != version) {
                self.fault(&span, &format!("{} has {name} twice", owner(&label)), "one version of each package");
                self.unsound.insert(label);
            }
        }
    }

    fn judge(&mut self) {
        let lock = self.lock.clone();
        for (key, entry) in &lock.packages {
            if !lock.releases.contains_key(&(entry.origin.clone(), entry.date)) {
                let saw = format!("{} comes from a Release of {} that is not here", entry.name, entry.origin);
                let span = self.packages[key].clone();
                self.fault(&span, &saw, "a `release` line for each suite and date that packages come from");
                let holders = lock.shares.iter().filter(|(_, share)| share.has.get(&key.0) == Some(&key.1));
                self.unsound.extend(holders.map(|(label, _)| label.clone()));
            }
        }
        for (label, share) in lock.shares.iter().filter(|(label, _)| !self.unsound.contains(*label)).collect::<Vec<_>>()
        {
            for saw in holes(&lock, label, share) {
                let span = self.labels[label].clone();
                self.fault(&span, &saw, "all that is asked for and needed, and nothing else");
                self.unsound.insert(label.clone());
            }
        }
        for (label, other) in &lock.same {
            if !lock.shares.contains_key(other) {
                let span = self.labels[label].clone();
                self.fault(
                    &span,
                    &format!("{} is said to be as {other}, which is not here", owner(label)),
                    "a Spec of this lock",
                );
            }
        }
    }
}

/// What a share lacks of what it asks for and its packages need, and what it has that nobody needs.
fn holes(lock: &Lock, label: &str, share: &Share) -> Vec<String> {
    let (mut holes, label) = (Vec::new(), owner(label));
    let asked = share.asks.iter().filter(|(_, package)| !share.has.contains_key(*package));
    holes.extend(asked.map(|(name, _)| format!("{label} asks for {name}, and does not have it")));
    let mut needed: BTreeSet<&str> = share.asks.values().map(String::as_str).collect();
    needed.extend(lock.members(share).filter(|entry| entry.essential).map(|entry| entry.name.as_str()));
    let mut open: Vec<&str> = needed.iter().copied().collect();
    while let Some(name) = open.pop() {
        let version = share.has.get(name).cloned().unwrap_or_default();
        let Some(entry) = lock.packages.get(&(name.to_owned(), version)) else { continue };
        for group in &entry.needs {
            let met: Vec<&str> =
                group.iter().map(String::as_str).filter(|name| share.has.contains_key(*name)).collect();
            if met.is_empty() {
                holes.push(format!("{name} needs {}, and {label} does not have it", group.join(" or ")));
            }
            open.extend(met.into_iter().filter(|name| needed.insert(name)));
        }
    }
    let idle = share.has.keys().filter(|name| !needed.contains(name.as_str()));
    holes.extend(idle.map(|name| format!("{label} has {name}, which nobody asks for or needs")));
    holes.sort();
    holes.dedup();
    holes
}
