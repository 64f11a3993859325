//! Locks of two branches, merged by git itself.

use crate::desk::{Desk, Suite, asking, has};
use builder::lock::Lock;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const SUITE: Suite = Suite {
    name: "trixie",
    age: 9,
    packages: &[
        "bash; Essential: yes",
        "emacs",
        "htop; Depends: curses",
        "curses",
        "iotop; Depends: curses",
        "less",
        "zsh",
    ],
};

/// The same packages, and newer ones, on another day.
const LATER: Suite = Suite { name: "trixie-updates", age: 1, packages: &["iotop 2; Depends: curses, more", "more 2"] };

fn git(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").output().expect("running git")
}

fn must(folder: &Path, arguments: &[&str]) {
    let output = git(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two branches with a lock each, both from `base`, merged. The text that comes of it, and whether git is content.
fn merged(attributes: &str, base: &Lock, one: &Lock, two: &Lock) -> (String, bool) {
    let repository: TempDir = tempfile::tempdir().expect("a folder");
    let folder = repository.path();
    let commit = |lock: &Lock| {
        std::fs::write(folder.join("mimg.lock"), lock.text()).expect("writing a lock");
        must(folder, &["add", "."]);
        must(folder, &["commit", "-q", "-m", "a lock"]);
    };
    must(folder, &["init", "-q", "-b", "main"]);
    std::fs::write(folder.join(".gitattributes"), attributes).expect("writing attributes");
    commit(base);
    must(folder, &["checkout", "-q", "-b", "one"]);
    commit(one);
    must(folder, &["checkout", "-q", "main"]);
    commit(two);
    let content = git(folder, &["merge", "-q", "-m", "both", "one"]).status.success();
    (std::fs::read_to_string(folder.join("mimg.lock")).expect("a lock"), content)
}

/// What `mimg init` writes.
fn attributes() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    builder::folder::init(folder.path(), uuid::Uuid::new_v4()).expect("a fleet");
    std::fs::read_to_string(folder.path().join(".gitattributes")).expect("attributes")
}

#[test]
fn two_branches_that_add_packages_merge_into_what_both_want() {
    let desk = Desk::new();
    let market = desk.serve(&[SUITE]);
    let base = desk.locks(&market, &asking(&[("barn", "bash"), ("eccles", "emacs less")]), None);
    let lock = |nodes: &[(&str, &str)]| desk.locks(&market, &asking(nodes), Some(&base));
    let one = lock(&[("barn", "bash"), ("eccles", "emacs htop less")]);
    let two = lock(&[("barn", "bash"), ("eccles", "emacs less zsh")]);
    for attributes in ["", &attributes()] {
        let (text, content) = merged(attributes, &base, &one, &two);
        assert!(content, "{text}");
        let both = Lock::parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(both, lock(&[("barn", "bash"), ("eccles", "emacs htop less zsh")]));
        assert_eq!(both.text(), text, "in order, too");
    }
}

#[test]
fn two_branches_that_add_neighbours_on_different_days_merge_as_well() {
    let desk = Desk::new();
    let market = desk.serve(&[SUITE]);
    let base = desk.locks(&market, &asking(&[("eccles", "emacs")]), None);
    let one = desk.locks(&market, &asking(&[("eccles", "emacs htop")]), Some(&base));
    let later = desk.serve(&[SUITE, LATER]);
    let two = desk.locks(&later, &asking(&[("eccles", "emacs iotop"), ("manor", "iotop")]), Some(&base));
    let (text, content) = merged(&attributes(), &base, &one, &two);
    assert!(content, "{text}");
    let both = Lock::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert_eq!(has(&both, "eccles"), "bash 1, curses 1, emacs 1, htop 1, iotop 2, more 2");
    assert_eq!(has(&both, "manor"), "bash 1, curses 1, iotop 2, more 2");
}

#[test]
fn two_new_nodes_are_not_mixed_up() {
    let desk = Desk::new();
    let market = desk.serve(&[SUITE]);
    let base = desk.locks(&market, &asking(&[("eccles", "emacs")]), None);
    let lock = |nodes: &[(&str, &str)]| desk.locks(&market, &asking(nodes), Some(&base));
    let one = lock(&[("eccles", "emacs"), ("manor", "htop emacs")]);
    let two = lock(&[("eccles", "emacs"), ("mews", "iotop emacs")]);
    let (text, content) = merged(&attributes(), &base, &one, &two);
    assert!(content, "{text}");
    let both = Lock::parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert_eq!(both, lock(&[("eccles", "emacs"), ("manor", "htop emacs"), ("mews", "iotop emacs")]));
}

#[test]
fn two_upgrades_of_one_package_are_told_apart_and_mended() {
    let desk = Desk::new();
    let asks = asking(&[("eccles", "iotop emacs")]);
    let market = desk.serve(&[SUITE]);
    let base = desk.locks(&market, &asks, None);
    let one = desk.upgrades(&desk.serve(&[SUITE, LATER]), &asks, &base, "");
    let third = Suite { name: "trixie-updates", age: 0, packages: &["iotop 3; Depends: curses", "more 2"] };
    let last = desk.serve(&[SUITE, third]);
    let two = desk.upgrades(&last, &asks, &base, "");
    let (text, content) = merged(&attributes(), &base, &one, &two);
    assert!(content, "{text}");
    let said = Lock::parse(&text).unwrap_err().to_string();
    assert!(said.contains("iotop is here in several versions: 2, 3") && said.contains("`mimg lock`"), "{said}");
    let salvaged = Lock::salvage(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(has(&desk.locks(&last, &asks, Some(&salvaged.lock)), "eccles"), "bash 1, curses 1, emacs 1, iotop 3");
}

#[test]
fn a_conflict_that_git_left_is_called_by_its_name() {
    let desk = Desk::new();
    let market = desk.serve(&[SUITE]);
    let base = desk.locks(&market, &asking(&[("eccles", "emacs")]), None);
    let one = desk.locks(&market, &asking(&[("eccles", "emacs htop")]), Some(&base));
    let two = desk.locks(&market, &asking(&[("eccles", "emacs iotop")]), Some(&base));
    let (text, content) = merged("", &base, &one, &two);
    assert!(!content, "neighbours without the attribute: {text}");
    let said = Lock::salvage(&text).unwrap_err().to_string();
    assert!(said.contains("git left a conflict here"), "{said}");
}
