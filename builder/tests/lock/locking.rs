//! Making a lock, and making it again.

use crate::desk::{Desk, Suite, TRIXIE, asking, has, specs, stable};
use builder::lock::renew::Upgrade;
use builder::lock::{Lock, Locked};

fn newer() -> Suite {
    Suite {
        age: 1,
        packages: &[
            "bash 2; Essential: yes; Depends: libc",
            "libc 2",
            "htop 2; Depends: libc, curses | slang",
            "curses 2",
            "slang 2",
            "jq 2; Depends: libc",
        ],
        ..TRIXIE
    }
}

#[test]
fn a_lock_is_one_fact_a_line_and_is_read_back_as_it_was() {
    let desk = Desk::new();
    let lock =
        desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop"), ("manor", "htop"), ("barn", "jq")]), None);
    insta::assert_snapshot!(stable(&lock));
    assert_eq!(Lock::parse(&lock.text()).unwrap_or_else(|problems| panic!("{problems}")), lock);
}

#[test]
fn the_order_of_lines_means_nothing() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop"), ("manor", "htop jq")]), None);
    let text = lock.text();
    let lines: Vec<&str> = text.lines().collect();
    let backwards: Vec<&str> = lines[1..lines.len() - 1].iter().rev().copied().collect();
    let turned = format!("{}\n{}\nend\n", lines[0], backwards.join("\n"));
    assert_eq!(Lock::parse(&turned).unwrap_or_else(|problems| panic!("{problems}")).text(), text);
}

#[test]
fn locking_again_changes_nothing_and_asks_nobody() {
    let desk = Desk::new();
    let specs = asking(&[("eccles", "htop")]);
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &specs, None);
    let market = desk.serve(&[newer()]);
    assert_eq!(desk.locks(&market, &specs, Some(&lock)), lock);
    assert_eq!(market.server.requests().len(), 0);
}

#[test]
fn what_no_package_depends_on_does_not_touch_the_lock() {
    let desk = Desk::new();
    let plain = [("eccles", "packages = [\"htop\", \"passwd\"]")];
    let more =
        [("eccles", "packages = [\"htop\", \"passwd\"]\nkernel-parameters = [\"quiet\"]\n[[user]]\nname = \"ana\"")];
    let suite = Suite { packages: &["bash; Essential: yes", "htop", "passwd"], ..TRIXIE };
    let market = desk.serve(&[suite]);
    let lock = desk.locks(&market, &specs(&plain), None);
    let asked = market.server.requests().len();
    assert_eq!(desk.locks(&market, &specs(&more), Some(&lock)), lock);
    assert_eq!(market.server.requests().len(), asked);
}

#[test]
fn only_what_is_new_or_gone_changes() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    assert_eq!(has(&lock, "eccles"), "bash 1, curses 1, htop 1, libc 1");
    // Both versions are there, as in an archive with a point release and its updates.
    let both = Suite { name: "trixie-updates", ..newer() };
    let market = desk.serve(&[TRIXIE, both]);
    let more = desk.locks(&market, &asking(&[("eccles", "htop jq")]), Some(&lock));
    assert_eq!(has(&more, "eccles"), "bash 1, curses 1, htop 1, jq 2, libc 1");
    let less = desk.locks(&market, &asking(&[("eccles", "jq")]), Some(&more));
    assert_eq!(has(&less, "eccles"), "bash 1, jq 2, libc 1");
    assert!(!less.text().contains("htop"), "{}", less.text());
}

#[test]
fn a_new_node_takes_the_versions_that_the_others_have() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    let market = desk.serve(&[TRIXIE, Suite { name: "trixie-updates", ..newer() }]);
    let lock = desk.locks(&market, &asking(&[("barn", "jq"), ("eccles", "htop")]), Some(&lock));
    assert_eq!(has(&lock, "barn"), "bash 1, jq 2, libc 1");
}

#[test]
fn a_version_that_left_the_archive_stays_while_the_cache_has_it() {
    let desk = Desk::new();
    let before = desk.serve(&[TRIXIE]);
    let asks = asking(&[("eccles", "htop")]);
    let lock = desk.locks(&before, &asks, None);
    let locked = Locked::of(&lock, &asks[0], &desk.sources(&before), None).unwrap();
    let htop: Vec<_> = locked.packages.into_iter().filter(|package| package.name == "htop").collect();
    crate::fetching::fetch(&desk, &htop).unwrap();
    let after = desk.locks(&desk.serve(&[newer()]), &asking(&[("eccles", "htop jq")]), Some(&lock));
    // Of the others nobody has the locked version any more.
    assert_eq!(has(&after, "eccles"), "bash 2, curses 2, htop 1, jq 2, libc 2");
    let htop = after.versions("htop").next().unwrap();
    assert_eq!(htop, lock.versions("htop").next().unwrap(), "with the day on which the archive had it");
}

#[test]
fn a_locked_version_goes_where_what_is_new_cannot_stand_it() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    let updates = Suite {
        name: "trixie-updates",
        age: 1,
        packages: &["curses 2", "libc 2", "slang 2", "iotop 2; Depends: curses (>= 2)"],
    };
    let lock = desk.locks(&desk.serve(&[TRIXIE, updates]), &asking(&[("eccles", "htop iotop")]), Some(&lock));
    assert_eq!(has(&lock, "eccles"), "bash 1, curses 2, htop 1, iotop 2, libc 1");
}

#[test]
fn what_cannot_be_had_is_told_of_all_nodes_at_once() {
    let desk = Desk::new();
    let asks = asking(&[("barn", "htopp"), ("eccles", "jqq")]);
    let error = desk.tries(&desk.serve(&[TRIXIE]), &asks, None, &Upgrade::Nothing).unwrap_err().to_string();
    insta::assert_snapshot!(error);
}

#[test]
fn a_name_that_another_package_provides_is_locked_with_that_package() {
    let desk = Desk::new();
    let suite = Suite { packages: &["exim; Provides: mta (= 1), mail"], ..TRIXIE };
    let lock = desk.locks(&desk.serve(&[suite]), &asking(&[("eccles", "mta")]), None);
    assert!(lock.text().contains("node/eccles asks mta exim\nnode/eccles has exim\n"), "{}", lock.text());
    assert_eq!(Lock::parse(&lock.text()).unwrap(), lock);
}

#[test]
fn a_spec_that_asks_for_something_else_than_when_it_was_locked_is_refused() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    let refused = |specs: &[profiles::spec::Spec]| Locked::of(&lock, &specs[0], &[], None).unwrap_err().to_string();
    let line = "components = [\"main\", \"contrib\"]\npackages = [\"jq\"]";
    insta::assert_snapshot!(format!(
        "{}\n\n{}",
        refused(&specs(&[("eccles", line)])),
        refused(&asking(&[("barn", "jq")]))
    ));
}

#[test]
fn a_node_that_asks_for_the_same_is_covered_whatever_its_name() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    let barn = Locked::of(&lock, &asking(&[("barn", "htop")])[0], &[], None).unwrap();
    assert_eq!(
        barn.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(),
        ["bash", "curses", "htop", "libc"]
    );
}

#[test]
fn an_image_keeps_its_time_stamp_while_its_packages_stay() {
    let desk = Desk::new();
    let lock = desk.locks(&desk.serve(&[TRIXIE]), &asking(&[("eccles", "htop")]), None);
    let both = desk.serve(&[TRIXIE, Suite { name: "trixie-updates", ..newer() }]);
    let nodes = asking(&[("barn", "jq"), ("eccles", "htop")]);
    let more = desk.locks(&both, &nodes, Some(&lock));
    let epoch = |lock: &Lock, node: usize| Locked::of(lock, &nodes[node], &[], None).unwrap().epoch;
    assert_eq!(epoch(&more, 1), epoch(&lock, 1));
    assert!(epoch(&more, 0) > epoch(&more, 1), "of the day on which its newest package was locked");
}

/// Specs with other repositories may have other versions of a package: the lock has both, and says which is whose.
#[test]
fn two_nodes_may_have_two_versions_of_a_package() {
    let desk = Desk::new();
    let repository = "[[repository]]\nname = \"my-own\"\nuri = \"http://example.org\"\nsuite = \"trixie\"\n\
                      components = [\"main\"]\nkey = \"-\"\nfingerprint = \"0123456789012345678901234567890123456789\"\npriority = 900";
    let nodes = specs(&[("barn", "packages = [\"jq\"]"), ("eccles", &format!("packages = [\"jq\"]\n{repository}"))]);
    let (debian, own) = (desk.serve(&[TRIXIE]), desk.serve(&[newer()]));
    let sources = |spec: &profiles::spec::Spec| {
        let mut sources = desk.sources(&debian);
        if !spec.settings.repository.is_empty() {
            let mut more = desk.sources(&own);
            (more[0].repository, more[0].priority) = (Some("my-own".to_owned()), 900);
            sources.extend(more);
        }
        Ok(sources)
    };
    let lock = desk.renews(&sources, &nodes, None, &Upgrade::Nothing).unwrap();
    insta::assert_snapshot!(stable(&lock));
    assert_eq!(Lock::parse(&lock.text()).unwrap_or_else(|problems| panic!("{problems}")), lock);
    let urls = |node: usize| {
        let locked = Locked::of(&lock, &nodes[node], &sources(&nodes[node]).unwrap(), Some("http://snapshot")).unwrap();
        locked.packages.into_iter().find(|package| package.name == "jq").unwrap().urls
    };
    assert_eq!(urls(1), [own.server.url("/pool/main/j/jq/jq_2_all.deb")], "no snapshots of other archives");
    assert_eq!(urls(0).len(), 3);
}

/// As at a point release: what came from the security updates is then in the release itself, under another path.
#[test]
fn a_package_that_moves_to_another_suite_stays_one_package() {
    let desk = Desk::new();
    let security = |age| Suite { name: "trixie-security", age, packages: &["jq 2"] };
    let base = |age| Suite { name: "trixie", age, packages: &["bash; Essential: yes", "jq 1", "htop"] };
    let old = desk.locks(&desk.serve(&[base(30), security(20)]), &asking(&[("eccles", "jq")]), None);
    assert_eq!(old.versions("jq").next().unwrap().origin, "trixie-security");
    let point = Suite { name: "trixie", age: 1, packages: &["bash; Essential: yes", "jq 2", "htop"] };
    let market = desk.serve(&[point, Suite { packages: &[], ..security(1) }]);
    let new = desk.locks(&market, &asking(&[("barn", "jq htop"), ("eccles", "jq")]), Some(&old));
    assert_eq!((has(&new, "barn"), has(&new, "eccles")), ("bash 1, htop 1, jq 2".into(), "bash 1, jq 2".into()));
    let jq: Vec<&str> = new.versions("jq").map(|entry| entry.origin.as_str()).collect();
    assert_eq!(jq, ["trixie"]);
}
