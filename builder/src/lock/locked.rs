//! One Spec's share of a lock: all that a build has to know of the archive.

use crate::archive::cache::Cache;
use crate::archive::mirror::Mirror;
use crate::archive::opened::Opened;
use crate::archive::package::{Package, Why};
use crate::archive::solve::Wanted;
use crate::archive::source::Source;
use crate::archive::{Archive, Suite};
use crate::lock::request::Request;
use crate::lock::words::stamp;
use crate::lock::{Entry, FILE, Lock, Share, label, owner};
use crate::progress::Progress;
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use profiles::fleet;
use profiles::part::repository::Repository;
use profiles::problem::{Problem, Problems};
use profiles::spec::Spec;
use std::collections::BTreeSet;

/// The packages of one Spec, and where they come from.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The newest date of the suites, in seconds since 1970: the time stamp of all that is made of the packages.
    pub epoch: i64,
    pub suites: Vec<Suite>,
    /// By name, each once.
    pub packages: Vec<Package>,
}

impl Locked {
    /// What the archive has today for a Spec that no mimg.lock covers. `settings` is `[archive]` of the fleet.
    pub fn afresh(
        spec: &Spec,
        settings: &fleet::Archive,
        opened: &mut Opened,
        cache: &Cache,
        progress: &Progress,
    ) -> Result<Locked> {
        let open = |sources: &[Source]| Archive::open(sources, cache, progress, Timestamp::now());
        let archive = opened.archive(&sources(spec, settings)?, open)?;
        let packages = archive.solve(&wanted(spec)).map_err(asked_for_in_vain)?;
        Ok(Locked { epoch: archive.epoch(), suites: archive.suites().to_vec(), packages })
    }

    /// What a lock has for a Spec. Without `sources` the packages have no addresses: only the cache may have them.
    pub fn of(lock: &Lock, spec: &Spec, sources: &[Source], snapshot: Option<&str>) -> Result<Locked, Problems> {
        let request = Request::of(spec);
        let (_, share) = lock.share(&request).ok_or_else(|| uncovered(lock, spec, &request))?;
        let whence = Whence { sources, snapshot };
        let used: BTreeSet<(&String, Timestamp)> =
            lock.members(share).map(|entry| (&entry.origin, entry.date)).collect();
        Ok(Locked {
            epoch: used.iter().map(|(_, date)| date.as_second()).max().unwrap_or_default(),
            suites: used.into_iter().filter_map(|(origin, date)| whence.suite(lock, share, origin, date)).collect(),
            packages: lock.members(share).map(|entry| whence.package(lock, share, entry)).collect(),
        })
    }
}

/// A Spec that the lock says nothing about.
fn uncovered(lock: &Lock, spec: &Spec, request: &Request) -> Problems {
    let (saw, cure) = match lock.share_of(&label(spec)) {
        Some(share) => {
            let since = request.since(&share.request());
            (format!("{} asks for something else than when {FILE} was made: {since}", spec.owner()), "`mimg lock`")
        }
        None if spec.node.is_none() => (
            format!("{FILE} does not cover {}", spec.owner()),
            "`mimg lock`; it locks the fleet's own profiles and those that a node uses: if this is none of them, let a \
             node or a profile of the fleet's start from it",
        ),
        None => (format!("{FILE} does not cover {}", spec.owner()), "`mimg lock`"),
    };
    Problems(vec![Problem::of_none(saw, "a lock of what is asked for", cure)])
}

/// Where locked packages are looked for.
struct Whence<'a> {
    sources: &'a [Source],
    snapshot: Option<&'a str>,
}

/// How long after a Release its packages are looked for in snapshots: a snapshot has the state at the moment in its
/// address, and is taken some hours after the Release was signed. The archive keeps a replaced file for a day or more.
const LATER: [SignedDuration; 2] = [SignedDuration::from_hours(24), SignedDuration::from_hours(6)];

impl Whence<'_> {
    fn uris(&self, origin: &str) -> Vec<String> {
        let source = self.sources.iter().find(|source| source.origin() == origin);
        source.map(|source| source.uris.clone()).unwrap_or_default()
    }

    fn suite(&self, lock: &Lock, share: &Share, origin: &str, date: Timestamp) -> Option<Suite> {
        let sha256 = lock.releases.get(&(origin.to_owned(), date))?.clone();
        let of_repository = || {
            let repository = share.repositories.iter().find(|one| format!("{}:{}", one.name, one.suite) == origin)?;
            Some(repository.components.iter().cloned().collect())
        };
        Some(Suite {
            uris: self.uris(origin),
            suite: suite(origin),
            origin: origin.to_owned(),
            components: of_repository().unwrap_or_else(|| share.components.iter().cloned().collect()),
            date,
            sha256,
        })
    }

    fn package(&self, lock: &Lock, share: &Share, entry: &Entry) -> Package {
        let mut urls: Vec<String> =
            self.uris(&entry.origin).iter().map(|uri| format!("{uri}/{}", entry.path)).collect();
        if let (Some(snapshot), false) = (self.snapshot, self.sources.is_empty()) {
            urls.extend(snapshots(snapshot, entry));
        }
        Package {
            name: entry.name.clone(),
            version: entry.version.clone(),
            architecture: entry.architecture.clone(),
            size: entry.size,
            sha256: entry.sha256.clone(),
            path: entry.path.clone(),
            urls,
            suite: suite(&entry.origin),
            origin: entry.origin.clone(),
            essential: entry.essential,
            priority: String::new(),
            control: String::new(),
            needs: entry.needs.clone(),
            why: why(lock, share, entry),
        }
    }
}

/// Addresses of a Debian package in an archive of snapshots; none for other repositories' packages.
fn snapshots(snapshot: &str, entry: &Entry) -> Vec<String> {
    if entry.origin.contains(':') {
        return Vec::new();
    }
    let archive = if entry.origin.ends_with("-security") { "debian-security" } else { "debian" };
    let snapshot = snapshot.trim_end_matches('/');
    let at = |later| format!("{snapshot}/archive/{archive}/{}/{}", stamp(entry.date + later), entry.path);
    LATER.into_iter().map(at).collect()
}

/// The suite of an origin, as it is called below `dists/`.
fn suite(origin: &str) -> String {
    origin.split_once(':').map_or(origin, |(_, suite)| suite).to_owned()
}

fn why(lock: &Lock, share: &Share, entry: &Entry) -> Why {
    if share.asks.values().any(|package| *package == entry.name) {
        let label = lock.shares.iter().find(|(_, other)| *other == share).map(|(label, _)| label.as_str());
        return Why::Asked(lock.labels(label.unwrap_or_default()).map(owner).collect());
    }
    let by = lock.members(share).find(|other| other.needs.iter().flatten().any(|name| *name == entry.name));
    match by {
        Some(by) if !entry.essential => Why::Needed { by: by.name.clone(), relation: entry.name.clone() },
        _ => Why::Essential,
    }
}

/// Debian's suites and the Spec's own repositories.
pub fn sources(spec: &Spec, settings: &fleet::Archive) -> Result<Vec<Source>> {
    let mirror = Mirror::new(settings.mirror.as_deref(), settings.security_mirror.as_deref())?;
    let mut sources = Source::debian(&mirror, &spec.settings.components)?;
    for repository in &spec.settings.repository {
        let source = extra(repository)
            .with_context(|| format!("reading the repository {:?} of the profile", repository.name))?;
        sources.push(source);
    }
    for source in &mut sources {
        source.check_valid_until = settings.check_valid_until.unwrap_or(true);
    }
    Ok(sources)
}

fn extra(repository: &Repository) -> Result<Source> {
    let Repository { name, uri, suite, components, key, fingerprint, priority } = repository;
    let mut source = Source::extra(uri, suite, components, key.as_bytes(), &[fingerprint])?;
    source.repository = Some(name.clone());
    source.priority = *priority;
    Ok(source)
}

pub(crate) fn wanted(spec: &Spec) -> Vec<Wanted> {
    let each = |(name, by): (String, Vec<String>)| Wanted { name, by: by.join(", ") };
    spec.packages().into_iter().map(each).collect()
}

/// Packages that do not exist, or not together, are bad input: the settings have to change.
pub(crate) fn asked_for_in_vain(error: anyhow::Error) -> Problems {
    let cure = "change the packages of the profile or node that asks for them";
    Problems(vec![Problem::of_none(format!("{error:#}"), "packages that exist, and can be installed together", cure)])
}
