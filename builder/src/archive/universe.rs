//! All packages that could be chosen, and who satisfies which relation.

use crate::archive::index::Entry;
use crate::archive::relation::{Provided, Qualifier, Relation, parse_version};
use anyhow::{Context, Result};
use debversion::Version;
use std::collections::HashMap;

/// The SHA-256 of the .deb that is to be taken for a package, by name.
pub type Pins = HashMap<String, String>;

/// The candidate version of every package name: as apt does, the one of the highest priority, then the newest.
/// Packages are named by their place in `candidates`.
pub struct Universe<'a> {
    candidates: Vec<Entry<'a>>,
    versions: Vec<Version>,
    by_name: HashMap<&'a str, usize>,
    providers: HashMap<String, Vec<(usize, Option<Version>)>>,
}

impl<'a> Universe<'a> {
    /// Chooses the candidates from all entries. `priorities` has the priority of each suite.
    pub fn new(entries: Vec<Entry<'a>>, priorities: &[i32]) -> Result<Self> {
        Self::pinned(entries, priorities, &Pins::new())
    }

    /// As `new`, but where an entry is the very .deb that `pins` names for it, it is the candidate.
    pub fn pinned(entries: Vec<Entry<'a>>, priorities: &[i32], pins: &Pins) -> Result<Self> {
        let (mut candidates, mut versions) = (Vec::<Entry>::new(), Vec::<Version>::new());
        let mut by_name = HashMap::new();
        for entry in entries {
            let version =
                parse_version(entry.version).with_context(|| format!("reading the package {}", entry.name))?;
            match by_name.get(entry.name) {
                None => {
                    by_name.insert(entry.name, candidates.len());
                    candidates.push(entry);
                    versions.push(version);
                }
                Some(&old) => {
                    let rank = |entry: &Entry| {
                        let pinned = pins.get(entry.name).is_some_and(|sha256| sha256 == entry.sha256);
                        (pinned, priorities.get(entry.suite).copied().unwrap_or_default())
                    };
                    if (rank(&entry), &version) > (rank(&candidates[old]), &versions[old]) {
                        candidates[old] = entry;
                        versions[old] = version;
                    }
                }
            }
        }
        let mut universe = Universe { candidates, versions, by_name, providers: HashMap::new() };
        universe.list_providers()?;
        Ok(universe)
    }

    fn list_providers(&mut self) -> Result<()> {
        for (place, entry) in self.candidates.iter().enumerate().filter(|(_, entry)| !entry.provides.is_empty()) {
            let list = Provided::list(&entry.provides).with_context(|| format!("in Provides of {}", entry.name))?;
            for Provided { name, version } in list {
                self.providers.entry(name.to_owned()).or_default().push((place, version));
            }
        }
        Ok(())
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Are there none at all?
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The package at a place.
    pub fn entry(&self, place: usize) -> &Entry<'a> {
        &self.candidates[place]
    }

    /// The place of the real package of this name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All names of real packages.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.candidates.iter().map(|entry| entry.name)
    }

    /// The packages that every image has.
    pub fn essential(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&place| self.candidates[place].essential)
    }

    /// Who satisfies a relation, the preferred first: the package of that name, then providers by their importance.
    pub fn satisfying(&self, relation: &Relation) -> Vec<usize> {
        let mut places: Vec<usize> = self.real(relation).into_iter().collect();
        for (place, version) in self.providers.get(relation.name).into_iter().flatten() {
            let fits = match (&relation.version, version) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(_), Some(version)) => relation.admits(version),
            };
            if fits && self.qualifies(*place, relation) && !places.contains(place) {
                places.push(*place);
            }
        }
        places.sort_by_key(|&place| self.rank(place, relation.name));
        places
    }

    /// Who meets a need that is written as a group of alternatives, the preferred first.
    pub fn alternatives(&self, group: &[Relation]) -> Vec<usize> {
        let mut places = Vec::new();
        for place in group.iter().flat_map(|relation| self.satisfying(relation)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Whom a package cannot stand beside itself, by its own word.
    pub fn rivals(&self, place: usize) -> Result<Vec<usize>> {
        let entry = self.entry(place);
        let mut rivals = Vec::new();
        for field in [&entry.conflicts, &entry.breaks] {
            for group in Relation::groups(field).with_context(|| format!("in the conflicts of {}", entry.name))? {
                rivals.extend(self.alternatives(&group).into_iter().filter(|&rival| rival != place));
            }
        }
        Ok(rivals)
    }

    /// Providers of a name, whatever their version.
    pub fn providers(&self, name: &str) -> Vec<usize> {
        self.providers.get(name).into_iter().flatten().map(|(place, _)| *place).collect()
    }

    fn real(&self, relation: &Relation) -> Option<usize> {
        let place = self.place(relation.name)?;
        (relation.admits(&self.versions[place]) && self.qualifies(place, relation)).then_some(place)
    }

    fn qualifies(&self, place: usize, relation: &Relation) -> bool {
        match relation.qualifier {
            Qualifier::Own => true,
            Qualifier::Any => self.candidates[place].any,
            Qualifier::Foreign => false,
        }
    }

    /// apt's order among those that satisfy a name: the real package, essential, protected, by priority, the
    /// latest mentioned.
    fn rank(&self, place: usize, name: &str) -> impl Ord + use<> {
        let entry = &self.candidates[place];
        (entry.name != name, !entry.essential, !entry.protected, entry.priority, std::cmp::Reverse(entry.order))
    }
}
