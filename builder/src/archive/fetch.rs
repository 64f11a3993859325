//! Packages from their mirrors into the cache.

use crate::archive::cache::{Cache, Content};
use crate::archive::http::{Gone, Http, Patience};
use crate::archive::package::Package;
use crate::progress::{Progress, Stage, Unit};
use anyhow::{Context, Result};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

/// Downloads at a time.
const LANES: usize = 8;

/// The verified .deb of each package, in the order of `packages`. What the cache lacks is downloaded, several at a time,
/// the largest first. The first failure ends all of it, but for packages that no mirror has: the others are fetched, and
/// these are told all at once (`Missing`). What was complete by then stays in the cache.
pub fn fetch(packages: &[Package], cache: &Cache, progress: &Progress) -> Result<Vec<PathBuf>> {
    fetch_with(&Http::new(Patience::default()), packages, cache, progress)
}

/// As `fetch`, with a client of the caller's.
pub fn fetch_with(http: &Http, packages: &[Package], cache: &Cache, progress: &Progress) -> Result<Vec<PathBuf>> {
    let stage = progress.stage("fetching");
    let found = Mutex::new(HashMap::new());
    each(packages.iter().collect(), |package| {
        if let Some(path) = cache.get(&package.content(), &package.to_string(), progress)? {
            lock(&found).insert(package.sha256.clone(), path);
        }
        Ok(())
    })?;
    let missing = missing(packages, &lock(&found));
    let mut unreachable: Vec<Package> = missing.iter().filter(|one| one.urls.is_empty()).copied().cloned().collect();
    if !unreachable.is_empty() {
        unreachable.sort_by(|a, b| a.name.cmp(&b.name));
        return Err(Missing { packages: unreachable, gone: false }.into());
    }
    // The sizes are an index's: their sum may be any.
    let bytes = missing.iter().fold(0, |sum: u64, package| sum.saturating_add(package.size));
    cache.room_for(bytes).context("fetching packages")?;
    stage.total(bytes, Unit::Bytes);
    let count = missing.len();
    let gone = Mutex::new(Vec::new());
    each(missing, |package| {
        match one(http, package, cache, progress, &stage) {
            Ok(path) => drop(lock(&found).insert(package.sha256.clone(), path)),
            Err(error) if error.downcast_ref::<Gone>().is_some() => lock(&gone).push((package.clone(), error)),
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    let gone = gone.into_inner().unwrap_or_else(|poison| poison.into_inner());
    if !gone.is_empty() {
        return Err(Missing::of(gone));
    }
    stage.done(format!("{} packages, {count} of them downloaded, {} MB", packages.len(), bytes / 1_000_000));
    let found = lock(&found);
    packages.iter().map(|package| found.get(&package.sha256).cloned().context("losing a package")).collect()
}

/// Packages that cannot be had, with all that is to be said about them.
#[derive(Debug)]
pub struct Missing {
    /// By name.
    pub packages: Vec<Package>,
    /// Did the mirrors say that they do not have them? Else nobody was asked.
    pub gone: bool,
}

impl Missing {
    fn of(gone: Vec<(Package, anyhow::Error)>) -> anyhow::Error {
        let mut said: Vec<String> = gone.iter().map(|(_, error)| format!("{error:#}")).collect();
        said.sort();
        let mut packages: Vec<Package> = gone.into_iter().map(|(package, _)| package).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        anyhow::Error::msg(said.join("\n")).context(Missing { packages, gone: true })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let bytes: u64 = self.packages.iter().map(|package| package.size).sum();
        let what = if self.gone { "no mirror has" } else { "the cache lacks" };
        let count = self.packages.len();
        write!(out, "{what} {count} package{} ({:.1} MB):", if count == 1 { "" } else { "s" }, bytes as f64 / 1e6)?;
        for package in &self.packages {
            write!(out, "\n  {package}, {} kB", package.size.div_ceil(1000))?;
        }
        Ok(())
    }
}

impl std::error::Error for Missing {}

impl Package {
    fn content(&self) -> Content {
        Content { sha256: self.sha256.clone(), size: self.size }
    }
}

/// What is not found, once each, the largest first: the last download should not be the longest.
fn missing<'a>(packages: &'a [Package], found: &HashMap<String, PathBuf>) -> Vec<&'a Package> {
    let mut missing: Vec<&Package> = packages.iter().filter(|package| !found.contains_key(&package.sha256)).collect();
    missing.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.sha256.cmp(&b.sha256)));
    missing.dedup_by(|a, b| a.sha256 == b.sha256);
    missing
}

fn one(http: &Http, package: &Package, cache: &Cache, progress: &Progress, stage: &Stage) -> Result<PathBuf> {
    let what = package.to_string();
    stage.now(&what);
    let mut counted = 0;
    download(http, &package.urls, &package.content(), &what, cache, progress, &mut |length| {
        stage.add(length.saturating_sub(counted));
        counted = counted.max(length);
    })
}

/// One file from the first mirror that has it into the cache. `told` hears how many bytes are there.
pub(crate) fn download(
    http: &Http,
    urls: &[String],
    content: &Content,
    what: &str,
    cache: &Cache,
    progress: &Progress,
    told: &mut dyn FnMut(u64),
) -> Result<PathBuf> {
    // The patience is for a download that stands: one that moves between failures is never given up.
    let write = |part: &mut crate::archive::cache::Part| loop {
        let before = part.len()?;
        told(before);
        match http.try_each(urls, |url| http.complete(url, part, told)) {
            Err(_) if part.len()? > before => {}
            done => return done,
        }
    };
    cache.fill(content, what, progress, write).with_context(|| format!("fetching {what} ({} bytes)", content.size))
}

/// Runs `work` on each item in a few threads. After a failure no new item is begun, and the first failure is returned.
fn each<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(items));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(item) = next(&queue) {
                    if let Err(error) = work(item) {
                        lock(&queue).clear();
                        lock(&failed).get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|poison| poison.into_inner()).map_or(Ok(()), Err)
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(queue).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
