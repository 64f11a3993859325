//! Why a package is in the lock: the ways to it from those who ask. Everything is in the lock: no network, no archive.

use crate::lock::renew::not_locked;
use crate::lock::request::Request;
use crate::lock::{Entry, Lock, Share, label, owner};
use profiles::problem::Problems;
use profiles::spec::Spec;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Ways shown for each share; there may be hundreds to a library.
const SHOWN: usize = 5;

/// Why one package of one share is there.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    pub package: String,
    pub version: String,
    /// Those whose packages these are, such as `node eccles`.
    pub specs: Vec<String>,
    /// Has every image it?
    pub essential: bool,
    /// The shortest way from each package that is asked for, but for those that lead through another such; the shortest first.
    pub ways: Vec<Way>,
    /// The shortest way from an essential package.
    pub essential_way: Option<Vec<String>>,
}

/// A chain of packages, each of which needs the next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Way {
    /// Who asks for the first.
    pub asked_by: Vec<String>,
    pub packages: Vec<String>,
}

impl Lock {
    /// Why `name` is in the lock, share by share. `specs` are the fleet's as they are now: they know which Part asks.
    pub fn why(&self, name: &str, specs: &[Spec]) -> Result<Vec<Account>, Problems> {
        let accounts = self.shares.iter().filter_map(|(label, share)| {
            let version = share.has.get(name)?;
            let entry = self.packages.get(&(name.to_owned(), version.clone()))?;
            Some(self.account(label, share, entry, specs))
        });
        let accounts: Vec<Account> = accounts.collect();
        if accounts.is_empty() {
            let known: BTreeSet<&str> = self.packages.keys().map(|(name, _)| name.as_str()).collect();
            return Err(Problems(vec![not_locked(name, &known)]));
        }
        Ok(accounts)
    }

    fn account(&self, label: &str, share: &Share, entry: &Entry, specs: &[Spec]) -> Account {
        let next = self.towards(share, &entry.name);
        let follow = |start: &str| {
            let mut way = vec![start.to_owned()];
            while let Some(Some(name)) = way.last().and_then(|name| next.get(name.as_str())) {
                way.push(name.to_string());
            }
            way
        };
        let askers = self.askers(label, share, specs);
        let asked: BTreeSet<&str> = share.asks.values().map(String::as_str).collect();
        let mut ways: Vec<Way> = asked
            .iter()
            .filter(|name| next.contains_key(*name))
            .map(|name| Way { asked_by: askers.get(*name).cloned().unwrap_or_default(), packages: follow(name) })
            .collect();
        // A way through another package that is asked for says nothing that its own way does not.
        ways.retain(|way| {
            let between = way.packages.iter().skip(1).rev().skip(1);
            between.into_iter().all(|name| !asked.contains(name.as_str()))
        });
        ways.sort_by_key(|way| (way.packages.len(), way.packages.clone()));
        let essential = self.members(share).filter(|entry| entry.essential && next.contains_key(entry.name.as_str()));
        let shortest = essential.map(|entry| follow(&entry.name)).min_by_key(|way| (way.len(), way.clone()));
        Account {
            package: entry.name.clone(),
            version: entry.version.clone(),
            specs: self.labels(label).map(owner).collect(),
            essential: entry.essential,
            essential_way: shortest,
            ways,
        }
    }

    /// For each package that leads to `target`, the next one on the shortest way there; nothing for `target` itself.
    fn towards<'l>(&'l self, share: &'l Share, target: &'l str) -> BTreeMap<&'l str, Option<&'l str>> {
        let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for entry in self.members(share) {
            for name in entry.needs.iter().flatten() {
                needed_by.entry(name).or_default().push(&entry.name);
            }
        }
        let mut next = BTreeMap::from([(target, None)]);
        let mut queue = VecDeque::from([target]);
        while let Some(name) = queue.pop_front() {
            for by in needed_by.get(name).into_iter().flatten() {
                if !next.contains_key(by) {
                    next.insert(by, Some(name));
                    queue.push_back(by);
                }
            }
        }
        next
    }

    /// Who asks for each package: nodes and profiles, with the Part that needs it where that is who asks.
    fn askers(&self, of: &str, share: &Share, specs: &[Spec]) -> BTreeMap<String, Vec<String>> {
        let mut askers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in self.labels(of) {
            let spec = specs.iter().find(|spec| label(spec) == one && Request::of(spec) == share.request());
            let known = spec.map(Spec::packages).unwrap_or_default();
            for (name, package) in &share.asks {
                let parts = known.get(name).into_iter().flatten().filter(|by| **by != owner(one));
                let parts: Vec<&str> = parts.map(String::as_str).collect();
                let said = if parts.is_empty() { owner(one) } else { format!("{} ({})", owner(one), parts.join(", ")) };
                askers.entry(package.clone()).or_default().push(said);
            }
        }
        askers
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        writeln!(out, "{} {}, of {}", self.package, self.version, self.specs.join(", "))?;
        if self.essential {
            writeln!(out, "  is essential: every image has it")?;
        }
        for way in self.ways.iter().take(SHOWN) {
            let ask = if way.asked_by.len() == 1 { "asks" } else { "ask" };
            writeln!(out, "  {} {ask} for {}", way.asked_by.join(", "), chain(&way.packages))?;
        }
        if self.ways.len() > SHOWN {
            writeln!(out, "  and {} more ways, from other packages that are asked for", self.ways.len() - SHOWN)?;
        }
        match &self.essential_way {
            Some(way) if way.len() > 1 => writeln!(out, "  every image has {}", chain(way)),
            _ => Ok(()),
        }
    }
}

fn chain(packages: &[String]) -> String {
    let (first, rest) = packages.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    rest.iter().fold(first.to_owned(), |chain, name| format!("{chain}, which needs {name}"))
}
