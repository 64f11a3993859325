//! What differs between two sets of packages: those of locks, manifests or images.

use crate::lock::Lock;
use anyhow::Result;
use deb822_fast::{Deb822, Paragraph};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A package as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Item {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// In bytes: of the .deb, and of an image's package what it says to take when it is installed.
    pub size: u64,
    /// Of the .deb; an image does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One side: packages, and the suites that they come from with the days of their Releases.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub suites: BTreeMap<String, BTreeSet<String>>,
    pub items: Vec<Item>,
}

/// What has to change to get from one side's packages to the other's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    pub suites: Vec<Moved>,
    pub added: Vec<Item>,
    pub removed: Vec<Item>,
    pub changed: Vec<Changed>,
}

/// A suite whose Release is another one. Empty where a side does not have the suite.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Moved {
    pub suite: String,
    pub old: Vec<String>,
    pub new: Vec<String>,
}

/// A package that both sides have, but not the same file of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changed {
    pub old: Item,
    pub new: Item,
}

impl Listing {
    pub fn of_lock(lock: &Lock) -> Listing {
        let mut listing = Listing::default();
        for (origin, date) in lock.releases.keys() {
            listing.suites.entry(origin.clone()).or_default().insert(date.to_string());
        }
        listing.items.extend(lock.packages.values().map(|entry| Item {
            name: entry.name.clone(),
            version: entry.version.clone(),
            architecture: entry.architecture.clone(),
            size: entry.size,
            sha256: Some(entry.sha256.clone()),
        }));
        listing
    }

    pub fn of_manifest(text: &str) -> Result<Listing> {
        #[derive(Deserialize)]
        struct Published {
            suite: String,
            date: String,
        }
        #[derive(Deserialize)]
        struct Manifest {
            suites: Vec<Published>,
            packages: Vec<Item>,
        }
        let manifest: Manifest = serde_json::from_str(text)?;
        let mut listing = Listing { items: manifest.packages, ..Listing::default() };
        for Published { suite, date } in manifest.suites {
            listing.suites.entry(suite).or_default().insert(date);
        }
        Ok(listing)
    }

    /// Of the text of dpkg's status: packages that are there, if only as files that wait for the rest of them.
    pub fn of_status(text: &str) -> Result<Listing> {
        let paragraphs: Deb822 = text.parse()?;
        let item = |paragraph: &Paragraph| {
            let field = |name| paragraph.get(name).unwrap_or_default().to_owned();
            let kib: u64 = field("Installed-Size").parse().unwrap_or_default();
            let (name, version, architecture) = (field("Package"), field("Version"), field("Architecture"));
            Item { name, version, architecture, size: kib.saturating_mul(1024), sha256: None }
        };
        let is_here = |paragraph: &&Paragraph| {
            let status = paragraph.get("Status").unwrap_or_default();
            !status.ends_with(" not-installed") && !status.ends_with(" config-files")
        };
        Ok(Listing { items: paragraphs.iter().filter(is_here).map(item).collect(), ..Listing::default() })
    }
}

/// From `old` to `new`, by name.
pub fn diff(old: &Listing, new: &Listing) -> Difference {
    let mut difference = Difference { suites: moved(&old.suites, &new.suites), ..Difference::default() };
    let by_name = |items: &[Item]| -> BTreeMap<String, Vec<Item>> {
        let mut by_name: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        items.iter().for_each(|item| by_name.entry(item.name.clone()).or_default().push(item.clone()));
        by_name
    };
    let (mut before, mut after) = (by_name(&old.items), by_name(&new.items));
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    for name in names {
        let (mut gone, mut come) = (before.remove(&name).unwrap_or_default(), after.remove(&name).unwrap_or_default());
        // A lock may have several versions of a name: those that both sides have are no difference.
        gone.retain(|item| match come.iter().position(|other| other == item) {
            Some(place) => {
                come.remove(place);
                false
            }
            None => true,
        });
        let pairs = gone.len().min(come.len());
        let (removed, added) = (gone.split_off(pairs), come.split_off(pairs));
        difference.changed.extend(gone.into_iter().zip(come).map(|(old, new)| Changed { old, new }));
        difference.removed.extend(removed);
        difference.added.extend(added);
    }
    difference
}

fn moved(old: &BTreeMap<String, BTreeSet<String>>, new: &BTreeMap<String, BTreeSet<String>>) -> Vec<Moved> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let dates = |side: &BTreeMap<String, BTreeSet<String>>, suite: &String| -> Vec<String> {
        side.get(suite).into_iter().flatten().cloned().collect()
    };
    let moved =
        names.into_iter().map(|suite| Moved { suite: suite.clone(), old: dates(old, suite), new: dates(new, suite) });
    moved.filter(|moved| moved.old != moved.new).collect()
}

impl Difference {
    /// Bytes of .debs that one side has more than the other.
    fn grown(&self) -> i128 {
        let sum = |items: &[Item]| items.iter().map(|item| i128::from(item.size)).sum::<i128>();
        let changed = self.changed.iter().map(|pair| i128::from(pair.new.size) - i128::from(pair.old.size));
        sum(&self.added) - sum(&self.removed) + changed.sum::<i128>()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let dates = |dates: &[String]| if dates.is_empty() { "-".to_owned() } else { dates.join(", ") };
        for Moved { suite, old, new } in &self.suites {
            writeln!(out, "suite    {suite}  {} -> {}", dates(old), dates(new))?;
        }
        let kb = |bytes: u64| format!("{} kB", bytes.div_ceil(1000));
        for Item { name, version, size, .. } in &self.added {
            writeln!(out, "added    {name} {version}  {}", kb(*size))?;
        }
        for Item { name, version, size, .. } in &self.removed {
            writeln!(out, "removed  {name} {version}  {}", kb(*size))?;
        }
        for Changed { old, new } in &self.changed {
            let versions = match old.version == new.version {
                true => format!("{} in another file", old.version),
                false => format!("{} -> {}", old.version, new.version),
            };
            writeln!(out, "changed  {} {versions}  {} -> {}", old.name, kb(old.size), kb(new.size))?;
        }
        let (added, removed, changed) = (self.added.len(), self.removed.len(), self.changed.len());
        let grown = self.grown() as f64 / 1e6;
        writeln!(out, "{added} added, {removed} removed, {changed} changed, {grown:+.1} MB of packages")
    }
}
