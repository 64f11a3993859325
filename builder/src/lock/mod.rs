//! The Lock: the exact packages of a fleet's Specs, kept as `mimg.lock` beside fleet.toml.
//!
//! ```text
//! mimg.lock 1
//! fleet 6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10
//! release ORIGIN STAMP SHA256                              a signed Release that packages came from
//! package NAME VERSION ARCHITECTURE ORIGIN STAMP SIZE SHA256 PATH [essential] [needs=a|b,c]
//! node/eccles from COMPONENT                               what it asks for …
//! node/eccles repository NAME SUITE PRIORITY FINGERPRINT COMPONENT,…
//! node/eccles asks NAME [PACKAGE]                          … PACKAGE where NAME is one that it provides
//! node/eccles has NAME [VERSION]                           what it gets; VERSION where the lock has several
//! node/manor as node/eccles                                asks for the same
//! end
//! ```
//!
//! Each line stands for itself and says one thing, so that git can merge two locks line by line. The order of lines means
//! nothing, and a line that stands twice says nothing new: a merge may leave both. No line has an address: those come from the fleet, the profiles and the host when the lock is used.

pub mod change;
pub mod command;
mod gather;
pub mod locked;
mod parse;
pub mod renew;
pub mod request;
mod stay;
pub mod why;
mod words;

pub use gather::Salvaged;
pub use locked::Locked;

use crate::lock::request::{Repository, Request};
use crate::lock::words::{stamp, word};
use jiff::Timestamp;
use profiles::problem::Problems;
use profiles::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use uuid::Uuid;

/// The file's name within a fleet.
pub const FILE: &str = "mimg.lock";

/// What `mimg.lock` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    pub fleet: Uuid,
    /// SHA-256 of each signed Release, by origin and date.
    pub releases: BTreeMap<(String, Timestamp), String>,
    /// By name and version.
    pub packages: BTreeMap<(String, String), Entry>,
    /// By label, such as `node/eccles`.
    pub shares: BTreeMap<String, Share>,
    /// Labels of Specs that ask for the same as one of `shares`, and that one's label.
    pub same: BTreeMap<String, String>,
}

/// A package of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// `Source::origin` of its suite.
    pub origin: String,
    /// Of the Release that it was locked from: on that day the archive had it.
    pub date: Timestamp,
    /// Of the .deb, in bytes.
    pub size: u64,
    pub sha256: String,
    /// Below the address of a mirror.
    pub path: String,
    pub essential: bool,
    /// For each group of alternatives that it depends on, those that are in the lock.
    pub needs: Vec<Vec<String>>,
}

/// What Specs that ask for the same get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub components: BTreeSet<String>,
    pub repositories: BTreeSet<Repository>,
    /// Names that are asked for, and the packages that they mean.
    pub asks: BTreeMap<String, String>,
    /// Names and versions of its packages.
    pub has: BTreeMap<String, String>,
}

impl Share {
    pub fn request(&self) -> Request {
        Request {
            components: self.components.clone(),
            repositories: self.repositories.clone(),
            asks: self.asks.keys().cloned().collect(),
        }
    }
}

/// How a lock calls a Spec: `node/eccles`, `profile/nuc`.
pub fn label(spec: &Spec) -> String {
    spec.owner().replacen(' ', "/", 1)
}

/// A label as people say it: `node eccles`.
pub fn owner(label: &str) -> String {
    label.replacen('/', " ", 1)
}

impl Lock {
    /// Reads a mimg.lock. All that is wrong with it is told at once.
    pub fn parse(text: &str) -> Result<Lock, Problems> {
        let Salvaged { lock, faults, .. } = Lock::salvage(text)?;
        faults.or(lock)
    }

    /// Reads a mimg.lock that may not hold together, as after a merge. What cannot be read at all is an error.
    pub fn salvage(text: &str) -> Result<Salvaged, Problems> {
        gather::gather(parse::facts(text)?)
    }

    /// The file's text, stable: the same lock gives the same bytes.
    pub fn text(&self) -> String {
        let mut text = format!(
            "mimg.lock {}\n# Written by `mimg lock`. Keep it in git, and do not edit it.\nfleet {}\n",
            parse::FORMAT,
            self.fleet
        );
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}");
        };
        for ((origin, date), sha256) in &self.releases {
            line(format!("release {} {} {sha256}", word(origin), stamp(*date)));
        }
        for entry in self.packages.values() {
            line(entry.line());
        }
        for (label, share) in &self.shares {
            self.lines(label, share).into_iter().for_each(&mut line);
        }
        for (label, other) in &self.same {
            line(format!("{} as {}", word(label), word(other)));
        }
        line("end".to_owned());
        text
    }

    fn lines(&self, label: &str, share: &Share) -> Vec<String> {
        let label = word(label);
        let mut lines = Vec::new();
        lines.extend(share.components.iter().map(|component| format!("{label} from {}", word(component))));
        lines.extend(share.repositories.iter().map(|repository| format!("{label} repository {}", repository.words())));
        for (name, package) in &share.asks {
            let means = if name == package { String::new() } else { format!(" {package}") };
            lines.push(format!("{label} asks {name}{means}"));
        }
        for (name, version) in &share.has {
            let which = if self.versions(name).count() > 1 { format!(" {version}") } else { String::new() };
            lines.push(format!("{label} has {name}{which}"));
        }
        lines
    }

    /// The packages of a name: several where Specs have different repositories.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let from = (name.to_owned(), String::new());
        self.packages.range(from..).take_while(move |((other, _), _)| other == name).map(|(_, entry)| entry)
    }

    /// The packages of a share, by name.
    pub fn members<'a>(&'a self, share: &'a Share) -> impl Iterator<Item = &'a Entry> {
        share.has.iter().filter_map(|(name, version)| self.packages.get(&(name.clone(), version.clone())))
    }

    /// The share of a request, whoever's it is.
    pub fn share(&self, request: &Request) -> Option<(&String, &Share)> {
        self.shares.iter().find(|(_, share)| share.request() == *request)
    }

    /// What the lock has for a label, its own or another's.
    pub fn share_of(&self, label: &str) -> Option<&Share> {
        self.shares.get(self.same.get(label).map_or(label, String::as_str))
    }

    /// The labels that a share stands for, its own first.
    pub fn labels<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.same.iter().filter(move |(_, other)| *other == label).map(|(label, _)| label.as_str());
        std::iter::once(label).chain(others)
    }

    /// The newest date that the lock has seen of an origin.
    pub fn newest(&self, origin: &str) -> Option<Timestamp> {
        self.releases.keys().filter(|(other, _)| other == origin).map(|(_, date)| *date).max()
    }

    /// Leaves out packages and Releases that nothing refers to; of each origin the newest Release stays.
    pub(crate) fn tidy(&mut self) {
        let used: BTreeSet<(String, String)> = self
            .shares
            .values()
            .flat_map(|share| share.has.iter().map(|(name, version)| (name.clone(), version.clone())))
            .collect();
        self.packages.retain(|key, _| used.contains(key));
        let named: BTreeSet<(String, Timestamp)> =
            self.packages.values().map(|entry| (entry.origin.clone(), entry.date)).collect();
        let newest: BTreeMap<String, Timestamp> = self.releases.keys().cloned().collect();
        self.releases.retain(|key, _| named.contains(key) || newest.get(&key.0) == Some(&key.1));
    }
}

impl Entry {
    fn line(&self) -> String {
        let Entry { name, version, architecture, origin, date, size, sha256, path, essential, needs } = self;
        let mut line =
            format!("package {name} {version} {architecture} {} {} {size} {sha256} {path}", word(origin), stamp(*date));
        if *essential {
            line += " essential";
        }
        if !needs.is_empty() {
            let groups: Vec<String> = needs.iter().map(|group| group.join("|")).collect();
            line += &format!(" needs={}", groups.join(","));
        }
        line
    }

    /// The same .deb, wherever it was found?
    pub fn is(&self, other: &Entry) -> bool {
        (&self.name, &self.version, &self.architecture, self.size, &self.sha256)
            == (&other.name, &other.version, &other.architecture, other.size, &other.sha256)
    }

    /// Takes the place that another line about the same .deb knows, if that is better. At one place the earlier day counts:
    /// the archive had it then. A file that moved, as from the security updates to a point release, is where it was seen last.
    pub(crate) fn stand_at(&mut self, other: &Entry) {
        let place = |entry: &Entry| (entry.origin.clone(), entry.path.clone());
        let better = match place(self) == place(other) {
            true => other.date < self.date,
            false => (other.date, place(other)) > (self.date, place(self)),
        };
        if better {
            (self.origin, self.path, self.date) = (other.origin.clone(), other.path.clone(), other.date);
        }
    }

    /// Takes over what another line about the same .deb knows: its place, and more alternatives.
    pub(crate) fn join(&mut self, other: &Entry) {
        self.stand_at(other);
        if self.needs.len() != other.needs.len() {
            return;
        }
        for (group, more) in self.needs.iter_mut().zip(&other.needs) {
            group.extend(more.iter().cloned());
            group.sort_unstable();
            group.dedup();
        }
    }
}
