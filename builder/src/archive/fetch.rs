//! Packages from their mirrors into the cache.

use crate::archive::cache::{Cache, Content};
use crate::archive::http::{Http, Patience};
use crate::archive::package::Package;
use crate::progress::{Progress, Stage, Unit};
use anyhow::{Context, Result};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;

/// Downloads at a time.
const LANES: usize = 8;

/// The verified .deb of each package, in the order of `packages`. What the cache lacks is downloaded, several at a time,
/// the largest first. The first failure ends all of it; what was complete by then stays in the cache.
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
    // The sizes are an index's: their sum may be any.
    let bytes = missing.iter().fold(0, |sum: u64, package| sum.saturating_add(package.size));
    cache.room_for(bytes).context("fetching packages")?;
    stage.total(bytes, Unit::Bytes);
    let count = missing.len();
    each(missing, |package| {
        let path = one(http, package, cache, progress, &stage)?;
        lock(&found).insert(package.sha256.clone(), path);
        Ok(())
    })?;
    stage.done(format!("{} packages, {count} of them downloaded, {} MB", packages.len(), bytes / 1_000_000));
    let found = lock(&found);
    packages.iter().map(|package| found.get(&package.sha256).cloned().context("losing a package")).collect()
}

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
