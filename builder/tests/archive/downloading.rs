//! Downloads go on where they were, and nothing wrong ever stays in the cache. faults.rs has what mirrors do wrong.

use crate::server::{Answer, Server};
use anyhow::Result;
use builder::archive::cache::{Cache, Content};
use builder::archive::fetch::fetch_with;
use builder::archive::http::{Http, Patience};
use builder::archive::package::{Package, Why};
use builder::progress::Progress;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// As patient as a test can be.
pub fn http() -> Http {
    let milli = Duration::from_millis;
    Http::new(Patience { attempts: 3, pause: milli(1), connect: milli(5000), stall: milli(1000) })
}

pub fn package(name: &str, bytes: &[u8], urls: Vec<String>) -> Package {
    Package {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        architecture: "amd64".to_owned(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
        path: String::new(),
        urls,
        suite: "trixie".to_owned(),
        origin: "trixie".to_owned(),
        essential: false,
        priority: "optional".to_owned(),
        control: String::new(),
        needs: Vec::new(),
        why: Why::Essential,
    }
}

fn bytes() -> Vec<u8> {
    (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}

struct Place {
    folder: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        Place { folder, cache }
    }

    fn fetch(&self, packages: &[Package]) -> Result<Vec<PathBuf>> {
        fetch_with(&http(), packages, &self.cache, &Progress::quiet())
    }

    /// All files in a part of the cache.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        files(&self.folder.path().join(part))
    }

    /// Fetches one package and expects its bytes.
    fn gets(&self, server: &Server) -> PathBuf {
        let paths = self.fetch(&[package("a", &bytes(), vec![server.url("/a.deb")])]).unwrap();
        assert_eq!(std::fs::read(&paths[0]).unwrap(), bytes());
        assert_eq!(self.files("part"), Vec::<PathBuf>::new(), "no part is left behind");
        paths[0].clone()
    }

    /// Fetches one package, expects the failure to be told in these words, and nothing to be left.
    fn refuses(&self, server: &Server, words: &[&str]) {
        let error = self.fetch(&[package("a", &bytes(), vec![server.url("/a.deb")])]).unwrap_err();
        let error = format!("{error:#}");
        for word in words.iter().chain(&["fetching a 1.0", &server.url("/a.deb")]) {
            assert!(error.contains(word), "wanted {word:?} in: {error}");
        }
        assert_eq!(self.files("sha256"), Vec::<PathBuf>::new(), "nothing wrong is under a final name");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_package_is_downloaded_once() {
    let server = Server::new(|_| Answer::Bytes(bytes()));
    let place = Place::new();
    assert_eq!(place.gets(&server), place.gets(&server));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn many_packages_come_in_the_order_asked_for_and_equal_ones_once() {
    let server = Server::new(|request| Answer::Bytes(request.path.repeat(1000).into_bytes()));
    let packages: Vec<Package> = (0..40)
        .map(|n| format!("/{}", n % 20))
        .map(|path| package(&path, path.repeat(1000).as_bytes(), vec![server.url(&path)]))
        .collect();
    let paths = Place::new();
    for (path, package) in paths.fetch(&packages).unwrap().iter().zip(&packages) {
        assert!(path.ends_with(&package.sha256));
    }
    assert_eq!(server.requests().len(), 20);
}

#[test]
fn an_absent_file_is_asked_for_once_per_mirror() {
    let (empty, full) = (Server::new(|_| Answer::Status(404)), Server::new(|_| Answer::Bytes(bytes())));
    let place = Place::new();
    place.refuses(&empty, &["404"]);
    assert_eq!(empty.requests().len(), 1);
    place.fetch(&[package("a", &bytes(), vec![empty.url("/a.deb"), full.url("/a.deb")])]).unwrap();
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    let server = Server::new(|request| match request.before {
        0 => Answer::Cut(bytes(), 150_000),
        _ => Answer::Bytes(bytes()),
    });
    Place::new().gets(&server);
    assert_eq!(server.requests()[1].from, Some(150_000));
}

#[test]
fn a_download_that_breaks_often_but_moves_is_completed() {
    let server = Server::new(|request| match request.before {
        n @ 0..8 => Answer::Cut(bytes(), 20_000 * (n + 1)),
        _ => Answer::Bytes(bytes()),
    });
    Place::new().gets(&server);
}

#[test]
fn a_stalled_download_is_noticed_and_goes_on() {
    let server = Server::new(|request| match request.before {
        0 => Answer::Stall(bytes(), 100_000),
        _ => Answer::Bytes(bytes()),
    });
    Place::new().gets(&server);
    assert_eq!(server.requests()[1].from, Some(100_000));
}

#[test]
fn a_slow_download_that_moves_is_waited_for() {
    let server = Server::new(|_| Answer::Slow(bytes(), Duration::from_millis(100)));
    Place::new().gets(&server);
    assert_eq!(server.requests().len(), 1, "twice the stall limit in all, never beyond it at once");
}

#[test]
fn a_server_that_sends_another_range_is_asked_without_one() {
    let server = Server::new(|request| match request.before {
        0 => Answer::Cut(bytes(), 150_000),
        1 => Answer::WrongRange(bytes()),
        _ => Answer::Bytes(bytes()),
    });
    Place::new().gets(&server);
    assert_eq!(server.requests()[2].from, None);
}

#[test]
fn a_file_with_other_content_is_refused_and_leaves_nothing() {
    let server = Server::new(|_| Answer::Bytes(bytes().into_iter().rev().collect()));
    let place = Place::new();
    place.refuses(&server, &["SHA-256", &package("a", &bytes(), Vec::new()).sha256]);
    assert_eq!(place.files("part"), Vec::<PathBuf>::new());
    assert_eq!(server.requests().len(), 3, "a cache in between may have been at fault: it is asked again");
}

#[test]
fn a_file_that_goes_away_half_way_comes_from_the_next_mirror() {
    let leaving = Server::new(|request| match request.before {
        0 => Answer::Cut(bytes(), 120_000),
        _ => Answer::Status(410),
    });
    let other = Server::new(|request| match request.before {
        0 => Answer::Status(500),
        _ => Answer::Bytes(bytes()),
    });
    let place = Place::new();
    place.fetch(&[package("a", &bytes(), vec![leaving.url("/a.deb"), other.url("/a.deb")])]).unwrap();
    assert_eq!(other.requests()[1].from, Some(120_000));
}

#[test]
fn nobody_there_is_said_by_address() {
    let url = Server::new(|_| Answer::Status(404)).url("/a.deb");
    let error = Place::new().fetch(&[package("a", &bytes(), vec![url.clone()])]).unwrap_err();
    assert!(format!("{error:#}").contains(&url), "{error:#}");
}

#[test]
fn what_an_earlier_run_left_is_completed() {
    let cut = Server::new(|_| Answer::Cut(bytes(), 110_000));
    let place = Place::new();
    place.refuses(&cut, &["of 200000 bytes"]);
    let whole = Server::new(|_| Answer::Bytes(bytes()));
    place.gets(&whole);
    assert_eq!(whole.requests()[0].from, Some(110_000));
}

#[test]
fn a_damaged_file_in_the_cache_is_set_aside_and_fetched_again() {
    let server = Server::new(|_| Answer::Bytes(bytes()));
    let place = Place::new();
    let path = place.gets(&server);
    for damage in [bytes()[..100].to_vec(), bytes().into_iter().rev().collect()] {
        std::fs::write(&path, &damage).unwrap();
        place.gets(&server);
        assert_eq!(std::fs::read(&place.files("quarantine")[0]).unwrap(), damage);
    }
}

#[test]
fn two_at_once_download_once() {
    let server = Server::new(|_| Answer::Slow(bytes(), Duration::from_millis(50)));
    let place = Place::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.gets_alone(&server));
        }
    });
    assert_eq!(server.requests().len(), 1);
}

impl Place {
    /// As another process would: with a cache of its own in the same folder.
    fn gets_alone(&self, server: &Server) {
        let cache = Cache::open(self.folder.path()).unwrap();
        let wanted = [package("a", &bytes(), vec![server.url("/a.deb")])];
        let paths = fetch_with(&http(), &wanted, &cache, &Progress::quiet()).unwrap();
        assert_eq!(std::fs::read(&paths[0]).unwrap(), bytes());
    }
}

#[test]
fn what_cannot_fit_is_not_begun() {
    let server = Server::new(|_| Answer::Bytes(bytes()));
    let mut huge = package("a", &bytes(), vec![server.url("/a.deb")]);
    huge.size = u64::MAX / 2;
    let place = Place::new();
    let error = format!("{:#}", place.fetch(&[huge]).unwrap_err());
    assert!(error.contains(&format!("{} more are needed", u64::MAX / 2)), "{error}");
    assert_eq!((server.requests().len(), place.files("part").len()), (0, 0));
}

#[test]
fn a_folder_that_cannot_be_written_is_said_up_front() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = format!("{:#}", Cache::open(&file.path().join("cache")).unwrap_err());
    assert!(error.contains(file.path().to_str().unwrap()) && error.contains("name another folder"), "{error}");
}

#[test]
fn a_part_that_could_not_be_written_leaves_nothing() {
    let place = Place::new();
    let content = Content { sha256: hex::encode(Sha256::digest(b"abc")), size: 3 };
    let full = |part: &mut builder::archive::cache::Part| -> Result<()> {
        std::io::Write::write_all(part, b"ab")?;
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
    };
    place.cache.fill(&content, "a", &Progress::quiet(), full).unwrap_err();
    assert_eq!(place.files("part"), Vec::<PathBuf>::new());
}
