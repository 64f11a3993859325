//! Who asks for a package, told from the lock alone.

use crate::desk::{Desk, Suite, asking, specs};

const SUITE: Suite = Suite {
    name: "trixie",
    age: 3,
    packages: &[
        "bash; Essential: yes; Depends: libc",
        "libc",
        "passwd; Depends: libc",
        "sudo; Depends: pam",
        "pam; Depends: audit",
        "audit",
        "web; Depends: tls, audit",
        "tls; Depends: libc",
        "init; Depends: lonely | other",
        "lonely",
        "other",
    ],
};

/// What is printed about each package.
fn told(names: &[&str]) -> String {
    let desk = Desk::new();
    let asks = specs(&[
        ("barn", "packages = [\"web\"]"),
        ("eccles", "packages = [\"web\", \"init\"]\n[[user]]\nname = \"ana\"\nsudo = true"),
        ("manor", "packages = [\"web\"]"),
    ]);
    let lock = desk.locks(&desk.serve(&[SUITE]), &asks, None);
    let told = |name: &&str| match lock.why(name, &asks) {
        Ok(accounts) => accounts.iter().map(ToString::to_string).collect(),
        Err(problems) => format!("{problems}\n"),
    };
    names.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_way_begins_with_who_asks_and_essential_packages_are_said_to_be() {
    insta::assert_snapshot!(told(&["audit", "libc", "bash", "lonely", "web", "sudo"]));
}

#[test]
fn a_package_that_is_not_in_the_lock_gets_the_nearest_name() {
    insta::assert_snapshot!(told(&["audits", "other", "zsh"]));
}

#[test]
fn many_ways_are_counted() {
    let desk = Desk::new();
    let packages = &[
        "one; Depends: libc",
        "two; Depends: libc",
        "three; Depends: libc",
        "four; Depends: libc",
        "five; Depends: libc",
        "six; Depends: libc",
        "seven; Depends: libc",
        "libc",
    ];
    let asks = asking(&[("barn", "one two three four five six seven")]);
    let lock = desk.locks(&desk.serve(&[Suite { packages, ..SUITE }]), &asks, None);
    insta::assert_snapshot!(lock.why("libc", &asks).unwrap()[0]);
}
