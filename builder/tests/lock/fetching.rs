//! Packages of a lock, from mirrors, from an archive of snapshots, from the cache alone.

use crate::desk::{Desk, Market, SMALL, Suite, asking, http};
use crate::server::Server;
use anyhow::Result;
use builder::archive::fetch::{Missing, fetch_with};
use builder::archive::package::Package;
use builder::lock::command::cured;
use builder::lock::{Lock, Locked};
use builder::progress::Progress;
use profiles::spec::Spec;
use std::path::PathBuf;

const SECURITY: Suite = Suite { name: "trixie-security", age: 2, packages: &["jq 2"] };

pub fn fetch(desk: &Desk, packages: &[Package]) -> Result<Vec<PathBuf>> {
    fetch_with(&http(), packages, &desk.cache(), &Progress::quiet())
}

fn locked(desk: &Desk) -> (Lock, Market, Vec<Spec>) {
    let asks = asking(&[("eccles", "htop jq")]);
    let market = desk.serve(&[SMALL, SECURITY]);
    (desk.locks(&market, &asks, None), market, asks)
}

#[test]
fn locked_packages_are_fetched_without_a_look_at_the_archive() {
    let desk = Desk::new();
    let (lock, market, asks) = locked(&desk);
    let locked = Locked::of(&lock, &asks[0], &desk.sources(&market), None).unwrap();
    let before = market.server.requests().len();
    assert_eq!(fetch(&desk, &locked.packages).unwrap().len(), 4);
    let asked: Vec<String> = market.server.requests()[before..].iter().map(|request| request.path.clone()).collect();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|path| path.starts_with("/pool/")), "{asked:?}");
}

#[test]
fn what_no_mirror_has_any_more_is_told_all_at_once_and_the_rest_is_fetched() {
    let desk = Desk::new();
    let (lock, market, asks) = locked(&desk);
    let mut files = desk.files(&[SMALL, SECURITY]);
    files.retain(|path, _| !path.contains("htop") && !path.contains("jq"));
    let poor = desk.market(Server::of_files(files), &["trixie", "trixie-security"]);
    let locked = Locked::of(&lock, &asks[0], &desk.sources(&poor), None).unwrap();
    let error = cured(fetch(&desk, &locked.packages).unwrap_err()).to_string();
    insta::assert_snapshot!(error.replace(&poor.server.url(""), "http://mirror"));
    // The other two are there now.
    drop(market);
    let missing = fetch(&desk, &Locked::of(&lock, &asks[0], &[], None).unwrap().packages).unwrap_err();
    let names = missing.downcast_ref::<Missing>().unwrap().packages.iter().map(|package| package.name.clone());
    assert_eq!(names.collect::<Vec<_>>(), ["htop", "jq"]);
}

#[test]
fn an_archive_of_snapshots_is_asked_after_the_mirrors_for_a_day_on_which_it_had_the_package() {
    let desk = Desk::new();
    let (lock, _, asks) = locked(&desk);
    let bare = desk.market(Server::of_files([].into()), &["trixie", "trixie-security"]);
    let pool = desk.files(&[SMALL, SECURITY]);
    let snapshot = Server::new(move |request| {
        let found = request.path.find("/pool/").and_then(|at| pool.get(&request.path[at..]));
        found.map_or(crate::server::Answer::Status(404), |bytes| crate::server::Answer::Bytes(bytes.clone()))
    });
    let locked = Locked::of(&lock, &asks[0], &desk.sources(&bare), Some(&snapshot.url("/"))).unwrap();
    assert_eq!(fetch(&desk, &locked.packages).unwrap().len(), 4);
    assert_eq!(bare.server.requests().len(), 4, "the mirror is asked first");
    let mut asked: Vec<String> = snapshot.requests().iter().map(|request| request.path.clone()).collect();
    asked.sort();
    // A day after each Release: trixie's is of 2025-05-02, trixie-security's of 2025-05-30.
    assert_eq!(
        asked,
        [
            "/archive/debian-security/20250531T000000Z/pool/main/j/jq/jq_2_all.deb",
            "/archive/debian/20250503T000000Z/pool/main/b/bash/bash_1_all.deb",
            "/archive/debian/20250503T000000Z/pool/main/c/curses/curses_1_all.deb",
            "/archive/debian/20250503T000000Z/pool/main/h/htop/htop_1_all.deb",
        ]
    );
}

#[test]
fn without_addresses_the_cache_is_enough_or_all_that_it_lacks_is_listed() {
    let desk = Desk::new();
    let (lock, market, asks) = locked(&desk);
    let offline = Locked::of(&lock, &asks[0], &[], Some("http://snapshot")).unwrap().packages;
    let lacking = cured(fetch(&desk, &offline).unwrap_err()).to_string();
    insta::assert_snapshot!(lacking);
    fetch(&desk, &Locked::of(&lock, &asks[0], &desk.sources(&market), None).unwrap().packages).unwrap();
    let asked = market.server.requests().len();
    assert_eq!(fetch(&desk, &offline).unwrap().len(), 4);
    assert_eq!(market.server.requests().len(), asked);
}
