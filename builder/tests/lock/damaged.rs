//! Locks that somebody edited, cut off, or left in conflict, each with the whole message that a person sees.

use crate::desk::{Desk, Suite, TRIXIE, asking};
use builder::lock::Lock;
use builder::lock::command;

/// A sound lock, with a digest of the Release that is the same at each run.
fn sound() -> String {
    let desk = Desk::new();
    let mut lock = desk.locks(
        &desk.serve(&[Suite { age: 3, ..TRIXIE }]),
        &asking(&[("barn", "bash"), ("eccles", "htop"), ("manor", "htop")]),
        None,
    );
    lock.releases.values_mut().for_each(|sha256| *sha256 = "5".repeat(64));
    lock.text()
}

fn seen(text: &str) -> String {
    Lock::parse(text).map_or_else(|problems| problems.to_string(), |_| "no problem".to_owned())
}

/// What a person sees after `edit` of a sound lock.
macro_rules! damage {
    ($name:ident, $edit:expr) => {
        #[test]
        fn $name() {
            let (sound, edit): (String, fn(String) -> String) = (sound(), $edit);
            let damaged = edit(sound.clone());
            assert_ne!(damaged, sound, "the edit changes something");
            insta::assert_snapshot!(seen(&damaged));
        }
    };
}

fn without(text: String, part: &str) -> String {
    text.lines().filter(|line| !line.contains(part)).map(|line| format!("{line}\n")).collect()
}

damage!(a_version_that_does_not_fit_the_file, |text| text.replacen("htop 1 all", "htop 3 all", 1));
damage!(a_digest_that_is_none, |text| text.replacen(&"5".repeat(64), "abc", 1));
damage!(a_size_that_is_none, |text| text.replacen(
    "package htop 1 all trixie 20250529T000000Z ",
    "package htop 1 all trixie 20250529T000000Z -",
    1
));
damage!(a_path_that_leads_out, |text| text.replacen("pool/main/h/htop/", "../../pool/main/h/htop/", 1));
damage!(a_word_too_many, |text| text.replacen("node/barn has bash", "node/barn has bash 1 today", 1));
damage!(a_package_twice, |text| {
    text.replacen("package curses", "package curses 1 all trixie 20250529T000000Z 1 0000000000000000000000000000000000000000000000000000000000000000 pool/main/c/curses/curses_1_all.deb\npackage curses", 1)
});
damage!(a_package_in_two_versions_of_which_none_is_meant, |text| {
    let line = text.lines().find(|line| line.starts_with("package curses")).unwrap_or_default().to_owned();
    text.replacen(
        &line,
        &format!("{line}\n{}", line.replace("curses 1", "curses 2").replace("curses_1", "curses_2")),
        1,
    )
});
damage!(a_package_line_that_is_gone, |text| without(text, "package curses"));
damage!(a_package_that_a_node_lost, |text| without(text, "node/eccles has curses"));
damage!(an_asked_package_that_a_node_lost, |text| without(text, "node/eccles has htop"));
damage!(a_package_that_nobody_asks_for, |text| text.replacen(
    "node/barn has bash",
    "node/barn has bash\nnode/barn has htop",
    1
));
damage!(a_release_that_is_gone, |text| without(text, "release "));
damage!(a_node_as_one_that_is_not_there, |text| text.replacen(
    "node/manor as node/eccles",
    "node/manor as node/eccle",
    1
));
damage!(no_fleet, |text| without(text, "fleet "));
damage!(a_fleet_that_is_none, |text| text.replacen("fleet 6f2c", "fleet 6f2", 1));
damage!(conflict_markers, |text| text.replacen(
    "node/eccles asks htop\n",
    "<<<<<<< HEAD\nnode/eccles asks htop\n=======\nnode/eccles asks top\n>>>>>>> feature\n",
    1
));
damage!(a_format_of_tomorrow, |text| text.replacen("mimg.lock 1", "mimg.lock 2", 1));
damage!(no_lock_at_all, |_| "[fleet]\nname = \"home\"\n".to_owned());
damage!(an_empty_file, |_| String::new());
damage!(a_file_cut_off_in_a_line, |text| text[..text.find("node/eccles has libc").unwrap_or_default() + 9].to_owned());
damage!(a_file_cut_off_between_lines, |text| text[..text.find("node/eccles has libc").unwrap_or_default()].to_owned());
damage!(several_things_at_once, |text| text
    .replacen("package htop", "packge htop", 1)
    .replacen("bash 1 all", "bash 1 arm64", 1)
    .replacen("node/barn has", "node/barn hsa", 1));

#[test]
fn a_lock_cut_off_anywhere_is_refused() {
    let text = sound();
    for length in 0..text.len() - 1 {
        assert!(Lock::parse(&text[..length]).is_err(), "cut off after {length} of {} bytes", text.len());
    }
}

/// Where a changed byte is not noticed, it is one that the archive or the fleet is asked about: a digest of a .deb, which no
/// .deb then has; a size, likewise; a day; a comment; or what a Spec asks for, and then the lock covers it no more.
#[test]
fn a_changed_byte_is_noticed_or_changes_nothing_that_is_trusted() {
    let text = sound();
    let lock = Lock::parse(&text).unwrap();
    for (place, _) in text.char_indices() {
        let mut bytes = text.clone().into_bytes();
        bytes[place] ^= 1;
        let Ok(Ok(other)) = String::from_utf8(bytes).map(|text| Lock::parse(&text)) else { continue };
        let names = |lock: &Lock| -> Vec<(String, String, String)> {
            lock.packages
                .values()
                .map(|entry| (entry.name.clone(), entry.version.clone(), entry.architecture.clone()))
                .collect()
        };
        assert_eq!(names(&other), names(&lock), "byte {place} of {}", &text[place.saturating_sub(40)..place + 1]);
        for share in lock.shares.values() {
            let found = other.share(&share.request()).map(|(_, other)| &other.has);
            assert!(
                found.is_none_or(|has| *has == share.has),
                "byte {place} of {}",
                &text[place.saturating_sub(40)..=place]
            );
        }
    }
}

#[test]
fn a_line_that_stands_twice_says_nothing_new() {
    let text = sound();
    let twice: String = text.lines().filter(|line| *line != "end").flat_map(|line| [line, "\n", line, "\n"]).collect();
    let twice = twice.replacen("mimg.lock 1\n", "", 1) + "end\n";
    assert_eq!(Lock::parse(&twice).unwrap_or_else(|problems| panic!("{problems}")).text(), text);
}

#[test]
fn the_lock_of_another_fleet_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mimg.lock"), sound()).unwrap();
    let other = "0c408ce7-6caf-4733-b000-ec65756e8f3d".parse().unwrap();
    insta::assert_snapshot!(command::read(folder.path(), other).unwrap_err());
}

#[test]
fn what_does_not_hold_together_is_mended_by_locking_again() {
    let desk = Desk::new();
    let asks = asking(&[("barn", "bash"), ("eccles", "htop")]);
    let market = desk.serve(&[Suite { age: 3, ..TRIXIE }]);
    let lock = desk.locks(&market, &asks, None);
    for part in ["node/eccles has curses", "package curses", "release ", "node/eccles asks", "node/barn"] {
        let salvaged = Lock::salvage(&without(lock.text(), part)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(desk.locks(&market, &asks, Some(&salvaged.lock)), lock, "without {part:?}");
    }
}
