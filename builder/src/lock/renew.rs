//! Making a lock, and making it anew: what was locked stays, what is new is solved beside it.

use crate::archive::cache::Cache;
use crate::archive::opened::Opened;
use crate::archive::package::Package;
use crate::archive::source::Source;
use crate::archive::{Archive, Suite};
use crate::lock::request::Request;
use crate::lock::{Entry, FILE, Lock, Share, label, owner};
use crate::progress::Progress;
use anyhow::{Context, Result};
use profiles::problem::{Problem, Problems, nearest};
use profiles::spec::Spec;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Which locked versions may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// None, except where nothing else can be had.
    Nothing,
    /// These packages, and what cannot stay beside them.
    These(BTreeSet<String>),
    All,
}

/// What a lock is made of.
pub struct Renewal<'a> {
    pub fleet: Uuid,
    /// All that are to be covered.
    pub specs: &'a [Spec],
    pub old: Option<&'a Lock>,
    pub upgrade: &'a Upgrade,
    /// Where a Spec's packages come from.
    pub sources: &'a dyn Fn(&Spec) -> Result<Vec<Source>>,
    pub open: &'a dyn Fn(&[Source]) -> Result<Archive>,
    /// Where .debs of packages that left the archive may be.
    pub cache: &'a Cache,
    pub progress: &'a Progress,
}

impl Lock {
    /// Locks all Specs. Shares of the old lock whose Specs ask for the same, and in which nothing is to be upgraded, are
    /// kept as they are; if that is all, no archive is opened.
    pub fn renew(renewal: &Renewal) -> Result<Lock> {
        let mut lock = Lock { fleet: renewal.fleet, ..Lock::default() };
        lock.releases = renewal.old.map(|old| old.releases.clone()).unwrap_or_default();
        renewal.must_know()?;
        renewal.one_archive_each()?;
        let mut opened = Opened::default();
        let mut problems = Problems::default();
        for (request, specs) in renewal.requests() {
            let labels: Vec<String> = specs.iter().map(|spec| label(spec)).collect();
            let kept = renewal.kept(&request).cloned();
            match kept {
                Some(share) => lock.keep(renewal.old, &labels, share),
                None => {
                    let archive = renewal.archive(specs[0], &mut opened)?;
                    match renewal.solve(specs[0], &lock, archive) {
                        Ok(packages) => lock.admit(renewal.old, &labels, &request, &packages, archive.suites())?,
                        Err(error) => problems.0.extend(error.downcast::<Problems>()?.0),
                    }
                }
            }
        }
        lock.tidy();
        Ok(problems.or(lock)?)
    }

    fn keep(&mut self, old: Option<&Lock>, labels: &[String], share: Share) {
        for entry in old.into_iter().flat_map(|old| old.members(&share)) {
            self.insert(entry.clone());
        }
        self.name(labels, share);
    }

    fn name(&mut self, labels: &[String], share: Share) {
        let Some((first, others)) = labels.split_first() else { return };
        self.same.extend(others.iter().map(|other| (other.clone(), first.clone())));
        self.shares.insert(first.clone(), share);
    }

    /// Takes in a solution.
    fn admit(
        &mut self,
        old: Option<&Lock>,
        labels: &[String],
        request: &Request,
        packages: &[Package],
        suites: &[Suite],
    ) -> Result<()> {
        for suite in suites {
            self.releases.insert((suite.origin.clone(), suite.date), suite.sha256.clone());
        }
        let mut share = Share {
            components: request.components.clone(),
            repositories: request.repositories.clone(),
            ..Share::default()
        };
        for package in packages {
            let suite = suites.iter().find(|suite| suite.origin == package.origin).context("losing a suite")?;
            let mut entry = Entry::of(package, suite);
            let key = (entry.name.clone(), entry.version.clone());
            // Kept from the cache, it was in the archive on the day on which it was locked first, and is there no more.
            if let Some(before) = old.and_then(|old| old.packages.get(&key)).filter(|before| before.is(&entry)) {
                entry.stand_at(before);
            }
            if let Some(other) = self.packages.get(&key).filter(|other| !other.is(&entry)) {
                return Err(two_files(&entry, other, labels).into());
            }
            share.has.insert(key.0, key.1);
            self.insert(entry);
        }
        for name in &request.asks {
            share.asks.insert(name.clone(), meant(name, packages).to_owned());
        }
        self.name(labels, share);
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        match self.packages.entry((entry.name.clone(), entry.version.clone())) {
            Place::Vacant(place) => drop(place.insert(entry)),
            Place::Occupied(mut there) => there.get_mut().join(&entry),
        }
    }
}

impl Entry {
    fn of(package: &Package, suite: &Suite) -> Entry {
        Entry {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            origin: package.origin.clone(),
            date: suite.date,
            size: package.size,
            sha256: package.sha256.clone(),
            path: package.path.clone(),
            essential: package.essential,
            needs: package.needs.clone(),
        }
    }
}

/// The package behind a name that is asked for: itself, or the one that provides it.
fn meant<'a>(name: &'a str, packages: &'a [Package]) -> &'a str {
    if packages.iter().any(|package| package.name == name) {
        return name;
    }
    let provides = |package: &&Package| {
        let provided = package.field("Provides").unwrap_or_default();
        provided.split(',').any(|item| item.split(['(', ' ']).find(|word| !word.is_empty()) == Some(name))
    };
    packages.iter().find(provides).map_or(name, |package| &package.name)
}

fn two_files(entry: &Entry, other: &Entry, labels: &[String]) -> Problems {
    let saw = format!(
        "{} {} is two different files: one of {} for {}, and one of {}",
        entry.name,
        entry.version,
        entry.origin,
        labels.iter().map(|label| owner(label)).collect::<Vec<_>>().join(", "),
        other.origin
    );
    let cure = "let both Specs use the same repositories, or ask the repository's owner for versions of its own";
    Problems(vec![Problem::of_none(saw, "one file for each version of a package", cure)])
}

impl<'a> Renewal<'a> {
    /// Those that ask for the same, together, the first label deciding the order.
    fn requests(&self) -> Vec<(Request, Vec<&'a Spec>)> {
        let mut specs: Vec<&Spec> = self.specs.iter().collect();
        specs.sort_by_key(|spec| label(spec));
        let mut requests: Vec<(Request, Vec<&Spec>)> = Vec::new();
        for spec in specs {
            let request = Request::of(spec);
            match requests.iter_mut().find(|(other, _)| *other == request) {
                Some((_, specs)) => specs.push(spec),
                None => requests.push((request, vec![spec])),
            }
        }
        requests
    }

    /// Packages that are to be upgraded have to be in the lock.
    fn must_know(&self) -> Result<(), Problems> {
        let Upgrade::These(names) = self.upgrade else { return Ok(()) };
        let known: BTreeSet<&str> =
            self.old.iter().flat_map(|old| old.packages.keys()).map(|(name, _)| name.as_str()).collect();
        let unknown = names.iter().filter(|name| !known.contains(name.as_str()));
        Problems(unknown.map(|name| not_locked(name, &known)).collect()).or(())
    }

    fn kept(&self, request: &Request) -> Option<&'a Share> {
        let (_, share) = self.old?.share(request)?;
        match self.upgrade {
            Upgrade::Nothing => Some(share),
            Upgrade::These(names) => names.iter().all(|name| !share.has.contains_key(name)).then_some(share),
            Upgrade::All => None,
        }
    }

    /// The archive of a Spec's sources, opened once. Dates never go back behind those of the old lock.
    fn archive<'o>(&self, spec: &Spec, opened: &'o mut Opened) -> Result<&'o Archive> {
        let mut sources = (self.sources)(spec)?;
        for source in &mut sources {
            source.not_before = self.old.and_then(|old| old.newest(&source.origin()));
        }
        opened.archive(&sources, self.open)
    }

    /// A repository's name stands for one archive in the whole fleet: dates are kept under it.
    fn one_archive_each(&self) -> Result<(), Problems> {
        let mut seen: BTreeMap<(&str, &str), (&str, String)> = BTreeMap::new();
        let mut problems = Problems::default();
        for spec in self.specs {
            for repository in &spec.settings.repository {
                let key = (repository.name.as_str(), repository.suite.as_str());
                let (uri, owner) = seen.entry(key).or_insert_with(|| (repository.uri.as_str(), spec.owner()));
                if *uri != repository.uri {
                    let saw = format!(
                        "the repository {:?} is at {uri} for {owner}, and at {} for {}",
                        repository.name,
                        repository.uri,
                        spec.owner()
                    );
                    problems.0.push(Problem::of_none(
                        saw,
                        "one archive for each name",
                        "give one of them another name",
                    ));
                }
            }
        }
        problems.or(())
    }
}

/// A package that was named, and is not in the lock.
pub fn not_locked(name: &str, known: &BTreeSet<&str>) -> Problem {
    let cure = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => "name a package of the lock".to_owned(),
    };
    Problem::of_none(format!("{FILE} has no package {name:?}"), "a package of the lock", cure)
}
