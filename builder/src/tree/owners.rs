//! Whose each file in a tree is, while packages are unpacked; two packages with one file, and Replaces.

use crate::tree::deb::Deb;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by the threads that unpack. Packages are named by their position in the list.
pub struct Owners<'a> {
    debs: &'a [Deb],
    state: Mutex<State>,
}

/// Paths by package.
type Paths = BTreeMap<usize, BTreeSet<PathBuf>>;

#[derive(Default)]
struct State {
    /// Package by canonical path of file or link.
    owners: HashMap<PathBuf, usize>,
    /// Files that a package replaces but another wrote first: to be written again, over those.
    again: Paths,
    /// Paths that packages lost to others that replace them.
    lost: Paths,
}

impl<'a> Owners<'a> {
    pub fn new(debs: &'a [Deb]) -> Owners<'a> {
        Owners { debs, state: Mutex::default() }
    }

    /// All that is known: the package's name by canonical path.
    pub fn all(&self) -> BTreeMap<PathBuf, String> {
        let owners = &self.state().owners;
        owners.iter().map(|(path, at)| (path.clone(), self.debs[*at].name().to_owned())).collect()
    }

    /// Takes over what an earlier run knew of packages that are in the list.
    pub fn remember(&self, all: &BTreeMap<PathBuf, String>) {
        let places: HashMap<&str, usize> = self.debs.iter().enumerate().map(|(at, deb)| (deb.name(), at)).collect();
        let known = all.iter().filter_map(|(path, name)| Some((path.clone(), *places.get(name.as_str())?)));
        self.state().owners.extend(known);
    }

    /// Whether the package at `me` may write its file `path`, which is at `canonical`, now: no other package has it.
    /// An error names both packages if neither replaces the other.
    pub fn claim(&self, me: usize, path: &Path, canonical: PathBuf) -> Result<bool> {
        let mut state = self.state();
        let Some(other) = state.owners.get(&canonical).copied().filter(|other| *other != me) else {
            state.owners.insert(canonical, me);
            return Ok(true);
        };
        let (mine, theirs) = (self.replaces(me, other), self.replaces(other, me));
        if !mine && !theirs {
            bail!(
                "/{} is in {} and in {}, and neither says that it replaces the other; leave one of them out",
                path.display(),
                self.debs[me.min(other)].name(),
                self.debs[me.max(other)].name()
            );
        }
        // If each replaces the other, the later one in the list has it, as if it were unpacked later.
        if mine && (!theirs || me > other) {
            state.owners.insert(canonical, me);
            state.lost.entry(other).or_default().insert(path.to_owned());
            state.again.entry(me).or_default().insert(path.to_owned());
        } else {
            state.lost.entry(me).or_default().insert(path.to_owned());
        }
        Ok(false)
    }

    /// For the end of an error: whose a path is, if it is known.
    pub fn shown(&self, canonical: &Path) -> String {
        let owner = self.state().owners.get(canonical).copied();
        owner.map_or_else(String::new, |at| format!(": it belongs to {}", self.debs[at].name()))
    }

    /// Takes `path` off what the package at `at` has to write again; whether it was there.
    pub fn take_again(&self, at: usize, path: &Path) -> bool {
        self.state().again.get_mut(&at).is_some_and(|paths| paths.remove(path))
    }

    pub fn take_all_again(&self) -> Paths {
        std::mem::take(&mut self.state().again)
    }

    pub fn take_lost(&self, at: usize) -> BTreeSet<PathBuf> {
        self.state().lost.remove(&at).unwrap_or_default()
    }

    pub fn take_all_lost(&self) -> Paths {
        std::mem::take(&mut self.state().lost)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replaces(&self, one: usize, other: usize) -> bool {
        let (field, other) = (self.debs[one].field("Replaces"), &self.debs[other]);
        let mut clauses = field.split([',', '|']).map(str::trim);
        clauses.any(|clause| covers(clause, other.name(), other.field("Version")))
    }
}

/// Whether one clause of a Replaces field (`name`, `name (<< version)`) covers a package.
fn covers(clause: &str, name: &str, version: &str) -> bool {
    let (wanted, condition) = clause.split_once('(').unwrap_or((clause, ""));
    if wanted.trim().split(':').next() != Some(name) {
        return false;
    }
    let condition = condition.trim_end_matches([')', ' ']);
    let (relation, limit) = condition.split_at(condition.find(|c| !"<>=".contains(c)).unwrap_or(condition.len()));
    let parse = |text: &str| text.trim().parse::<debversion::Version>();
    let (Ok(version), Ok(limit)) = (parse(version), parse(limit)) else { return condition.is_empty() };
    match relation {
        "<<" => version < limit,
        "<=" | "<" => version <= limit,
        "=" => version == limit,
        ">=" | ">" => version >= limit,
        ">>" => version > limit,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_replaces_clause_covers_the_versions_it_says() {
        assert!(covers("old", "old", "1"));
        assert!(covers("old:any (<< 2)", "old", "2~rc1"));
        assert!(covers("old (>= 1:0)", "old", "1:0-1"));
        assert!(!covers("old (<< 2)", "old", "2"));
        assert!(!covers("older", "old", "1"));
        assert!(!covers("old (<< )", "old", "1"));
    }
}
