//! What a new lock changes, and for whom.

use crate::lock::{Entry, Lock, owner};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One package that is new, gone, or another one.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    pub package: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// Does the new version come from Debian's security updates?
    pub security: bool,
    /// Whose packages change, such as `node eccles`.
    pub specs: Vec<String>,
}

/// All that changes.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// Nodes and profiles that the lock did not cover, and how many packages each has.
    pub new: BTreeMap<String, usize>,
    /// Those that it covers no more.
    pub gone: BTreeSet<String>,
    /// Of all others, by package.
    pub packages: Vec<Change>,
}

impl Changes {
    pub fn between(old: &Lock, new: &Lock) -> Changes {
        let mut specs: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        let labels: BTreeSet<&String> =
            [old, new].iter().flat_map(|lock| lock.shares.keys().chain(lock.same.keys())).collect();
        let mut changes = Changes { new: BTreeMap::new(), gone: BTreeSet::new(), packages: Vec::new() };
        for label in labels {
            match (old.share_of(label), new.share_of(label)) {
                (None, Some(share)) => drop(changes.new.insert(owner(label), share.has.len())),
                (Some(_), None) => drop(changes.gone.replace(owner(label))),
                _ => {}
            }
            if changes.new.contains_key(&owner(label)) || changes.gone.contains(&owner(label)) {
                continue;
            }
            let (before, after) = (packages(old, label), packages(new, label));
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let (old, new) = (before.get(name), after.get(name));
                if old.map(|entry| &entry.sha256) != new.map(|entry| &entry.sha256) {
                    let version = |entry: Option<&&Entry>| entry.map(|entry| entry.version.clone());
                    let security = new.is_some_and(|entry| entry.origin == "trixie-security");
                    let key = (name.clone(), version(old), version(new), security);
                    specs.entry(key).or_default().insert(owner(label));
                }
            }
        }
        let change = |((package, old, new, security), specs): (Key, BTreeSet<String>)| Change {
            package,
            old,
            new,
            security,
            specs: specs.into_iter().collect(),
        };
        changes.packages = specs.into_iter().map(change).collect();
        changes
    }
}

/// Package, old and new version, and whether it is a security update.
type Key = (String, Option<String>, Option<String>, bool);

fn packages<'l>(lock: &'l Lock, label: &str) -> BTreeMap<String, &'l Entry> {
    let members = lock.share_of(label).into_iter().flat_map(|share| lock.members(share));
    members.map(|entry| (entry.name.clone(), entry)).collect()
}

impl fmt::Display for Changes {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for (owner, packages) in &self.new {
            writeln!(out, "{owner} is new: {packages} packages")?;
        }
        for owner in &self.gone {
            writeln!(out, "{owner} is gone")?;
        }
        let rows: Vec<[String; 4]> = self
            .packages
            .iter()
            .map(|change| {
                let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
                let security = if change.security && change.old.is_some() { "security  " } else { "" };
                let specs = format!("{security}{}", change.specs.join(", "));
                [change.package.clone(), version(&change.old), version(&change.new), specs]
            })
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let (first, second, third) = (width(0), width(1), width(2));
        for [package, old, new, specs] in &rows {
            writeln!(out, "{package:first$}  {old:second$}  {new:third$}  {specs}")?;
        }
        Ok(())
    }
}
