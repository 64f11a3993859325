//! Moving locked versions to what the archive has, and never back in time.

use crate::desk::{Desk, Market, SMALL, Suite, asking, has};
use builder::lock::Lock;
use builder::lock::change::Changes;
use builder::lock::renew::Upgrade;

fn security(age: i64) -> Suite {
    Suite { name: "trixie-security", age, packages: &["jq 2; Depends: onig", "onig 2"] }
}

fn updates() -> Suite {
    Suite { name: "trixie-updates", age: 2, packages: &["htop 2; Depends: curses", "curses 2"] }
}

/// A lock of old, and a mirror that has more.
fn before(desk: &Desk) -> (Lock, Market) {
    let old = desk.locks(&desk.serve(&[SMALL]), &asking(&[("barn", "jq"), ("eccles", "htop jq")]), None);
    (old, desk.serve(&[SMALL, updates(), security(1)]))
}

#[test]
fn an_upgrade_of_all_says_what_changes_and_for_whom() {
    let desk = Desk::new();
    let (old, market) = before(&desk);
    let new = desk.upgrades(&market, &asking(&[("barn", "jq"), ("manor", "jq"), ("eccles", "htop jq")]), &old, "");
    assert_eq!(has(&new, "eccles"), "bash 1, curses 2, htop 2, jq 2, onig 2");
    insta::assert_snapshot!(Changes::between(&old, &new));
    assert_eq!(Changes::between(&new, &new).to_string(), "");
}

#[test]
fn an_upgrade_of_one_package_leaves_the_others() {
    let desk = Desk::new();
    let (old, market) = before(&desk);
    let new = desk.upgrades(&market, &asking(&[("barn", "jq"), ("eccles", "htop jq")]), &old, "curses");
    assert_eq!(has(&new, "eccles"), "bash 1, curses 2, htop 1, jq 1");
    assert_eq!(has(&new, "barn"), "bash 1, jq 1");
}

#[test]
fn an_upgrade_of_what_is_not_locked_names_the_nearest() {
    let desk = Desk::new();
    let (old, market) = before(&desk);
    let these = Upgrade::These(["curse".to_owned(), "zsh".to_owned()].into());
    let error = desk.tries(&market, &asking(&[("barn", "jq")]), Some(&old), &these).unwrap_err();
    insta::assert_snapshot!(error);
    assert_eq!(market.server.requests().len(), 0);
}

#[test]
fn a_mirror_behind_the_lock_is_refused_also_on_another_machine() {
    let desk = Desk::new();
    let asks = asking(&[("barn", "jq")]);
    let new = desk.locks(&desk.serve(&[SMALL, security(1)]), &asks, None);
    assert_eq!(has(&new, "barn"), "bash 1, jq 2, onig 2");
    let desk = desk.elsewhere();
    let behind = desk.serve(&[SMALL, security(9)]);
    let error = format!("{:#}", desk.tries(&behind, &asks, Some(&new), &Upgrade::All).unwrap_err());
    for part in [
        "trixie-security",
        "its Release is of 2025-05-23",
        "the lock has seen one of 2025-05-31",
        "name another mirror",
    ] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
}

#[test]
fn a_mirror_behind_the_lock_gives_way_to_what_this_machine_has_seen() {
    let desk = Desk::new();
    let asks = asking(&[("barn", "jq")]);
    let new = desk.locks(&desk.serve(&[SMALL, security(1)]), &asks, None);
    // The address stays, and what is behind it goes back.
    let (now, then) = (desk.files(&[SMALL, security(1)]), desk.files(&[SMALL, security(9)]));
    let fresh = std::sync::atomic::AtomicBool::new(true);
    let fresh = std::sync::Arc::new(fresh);
    let seen = fresh.clone();
    let server = crate::server::Server::new(move |request| {
        let files = if seen.load(std::sync::atomic::Ordering::SeqCst) { &now } else { &then };
        files.get(&request.path).map_or(crate::server::Answer::Status(404), |b| crate::server::Answer::Bytes(b.clone()))
    });
    let market = desk.market(server, &["trixie", "trixie-security"]);
    let first = desk.upgrades(&market, &asks, &new, "");
    fresh.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(has(&desk.upgrades(&market, &asks, &first, ""), "barn"), "bash 1, jq 2, onig 2");
}

#[test]
fn a_suite_that_gave_no_package_is_remembered_all_the_same() {
    let desk = Desk::new();
    let asks = asking(&[("barn", "bash")]);
    let lock = desk.locks(&desk.serve(&[SMALL, security(1)]), &asks, None);
    let lock = Lock::parse(&lock.text()).unwrap();
    let older = desk.serve(&[SMALL, security(9)]);
    assert!(desk.tries(&older, &asks, Some(&lock), &Upgrade::All).is_err());
}
