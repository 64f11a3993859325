//! The archive: suites whose Release is verified, with their indexes.

pub mod cache;
pub mod certificate;
mod explain;
mod fault;
pub mod fetch;
pub mod http;
pub mod index;
pub mod mirror;
pub mod opened;
mod opening;
pub mod package;
pub mod relation;
pub mod release;
pub mod signature;
pub mod solve;
pub mod source;
pub mod universe;
mod walk;

use crate::archive::cache::Cache;
use crate::archive::http::{Http, Patience};
use crate::archive::index::{Entry, Index, Names};
use crate::archive::opening::Opening;
use crate::archive::package::Package;
use crate::archive::solve::{Chosen, Wanted, solve};
use crate::archive::source::Source;
use crate::archive::universe::{Pins, Universe};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Verified suites, and all packages that they offer.
pub struct Archive {
    suites: Vec<Suite>,
    priorities: Vec<i32>,
    indexes: Vec<Index>,
}

/// A suite as it was when the archive was opened, for a lock or a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Suite {
    pub uris: Vec<String>,
    pub suite: String,
    /// How a lock calls it: `Source::origin`.
    pub origin: String,
    pub components: Vec<String>,
    /// When it was published.
    pub date: Timestamp,
    /// Of its signed Release, in hexadecimal digits.
    pub sha256: String,
}

impl Archive {
    /// Opens all sources: fetches and verifies each Release as of `now`, then the indexes that the cache does not have.
    pub fn open(sources: &[Source], cache: &Cache, progress: &Progress, now: Timestamp) -> Result<Self> {
        Self::open_with(&Http::new(Patience::default()), sources, cache, progress, now)
    }

    /// As `open`, with a client of the caller's.
    pub fn open_with(
        http: &Http,
        sources: &[Source],
        cache: &Cache,
        progress: &Progress,
        now: Timestamp,
    ) -> Result<Self> {
        let stage = progress.stage("archive");
        let opening = Opening { http, cache, progress, now, stage: &stage };
        let opened: Vec<Result<(Suite, Vec<String>)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = sources.iter().map(|source| scope.spawn(|| opening.suite(source))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
        });
        let mut archive = Archive { suites: Vec::new(), priorities: Vec::new(), indexes: Vec::new() };
        for (place, (source, opened)) in sources.iter().zip(opened).enumerate() {
            let (suite, texts) = opened.with_context(|| format!("opening {}", source.name()))?;
            archive.suites.push(suite);
            archive.priorities.push(source.priority);
            archive.indexes.extend(texts.into_iter().map(|text| Index { text, suite: place }));
        }
        stage.done(archive.suites.iter().map(|s| format!("{} of {}", s.suite, s.date)).collect::<Vec<_>>().join(", "));
        Ok(archive)
    }

    /// The newest date of the suites, in seconds since 1970: the time stamp of all that is made from them.
    pub fn epoch(&self) -> i64 {
        self.suites.iter().map(|suite| suite.date.as_second()).max().unwrap_or_default()
    }

    /// The suites, in the order of the sources.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    /// The packages of an image that has all that is wanted, essential packages included, by name.
    pub fn solve(&self, wanted: &[Wanted]) -> Result<Vec<Package>> {
        self.solve_in(&self.universe()?, wanted)
    }

    /// All packages that could be chosen. Worth keeping where several images are solved.
    pub fn universe(&self) -> Result<Universe<'_>> {
        self.universe_with(&[], &Pins::new())
    }

    /// As `universe`, with packages of older days, and the very .debs that are to be taken where there is a choice.
    pub fn universe_with<'a>(&'a self, older: &'a [Index], pins: &Pins) -> Result<Universe<'a>> {
        let (mut entries, mut names) = (Vec::<Entry>::new(), Names::default());
        for index in self.indexes.iter().chain(older) {
            let suite = &self.suites[index.suite].suite;
            entries.extend(index.entries(&mut names).with_context(|| format!("reading an index of {suite}"))?);
        }
        Universe::pinned(entries, &self.priorities, pins)
    }

    /// The SHA-256 of every .deb that the indexes list.
    pub fn listed(&self) -> HashSet<&str> {
        self.indexes
            .iter()
            .flat_map(|index| index.text.lines())
            .filter_map(|line| line.strip_prefix("SHA256: "))
            .collect()
    }

    /// As `solve`, in a universe of this archive.
    pub fn solve_in(&self, universe: &Universe, wanted: &[Wanted]) -> Result<Vec<Package>> {
        let solution = solve(universe, wanted)?;
        let places: HashSet<usize> = solution.iter().map(|chosen| chosen.place).collect();
        let package = |chosen: Chosen| {
            let suite = &self.suites[universe.entry(chosen.place).suite];
            chosen.package(universe, &places, suite)
        };
        solution.into_iter().map(package).collect()
    }
}
