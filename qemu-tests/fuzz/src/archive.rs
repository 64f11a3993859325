//! What an archive serves, and what apt's own files say of archives.

use crate::with_text;
use builder::archive::index::{Index, Names};
use builder::archive::mirror::Entry;
use builder::archive::relation::{Provided, Relation, parse_version};
use builder::archive::release::Release;
use builder::archive::signature::Keyring;
use builder::archive::solve::{Wanted, solve};
use builder::archive::universe::Universe;
use jiff::Timestamp;

/// A key that was made for the corpus, and what it signed on that day.
const KEY: &[u8] = include_bytes!("../corpus/certificate/sound.asc");
const PIN: &str = include_str!("../corpus/sound.fingerprint");
const NOW: i64 = 1_748_736_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap_or_default()
}

/// An OpenPGP certificate, and whether what the corpus' key signed is believed by it.
pub fn certificate(bytes: &[u8]) {
    let signed = include_str!("../corpus/signature/sound");
    if let Ok(keyring) = Keyring::pinned(&[bytes], &[PIN.trim()]) {
        let _ = keyring.verify(signed, now());
    }
}

/// A clear-signed text. What is believed has to be what was signed.
pub fn signature(bytes: &[u8]) {
    with_text(bytes, |text| {
        let Ok(keyring) = Keyring::pinned(&[KEY], &[PIN.trim()]) else { return };
        if let Ok(believed) = keyring.verify(text, now()) {
            assert_eq!(believed.trim_end(), include_str!("../corpus/sound.text").trim_end(), "it was never signed");
        }
    });
}

/// The text of a Release.
pub fn release(bytes: &[u8]) {
    with_text(bytes, |text| {
        if let Ok(release) = Release::parse(text) {
            let _ = release.check("trixie", true, now());
            let folders: Vec<&str> = release.package_indexes().collect();
            assert!(folders.iter().all(|folder| !folder.is_empty() || text.contains("/Packages")));
        }
    });
}

/// An index, and the solution of what its first package needs.
pub fn index(bytes: &[u8]) {
    with_text(bytes, |text| {
        let (index, mut names) = (Index { text: text.to_owned(), suite: 0 }, Names::default());
        let Ok(entries) = index.entries(&mut names) else { return };
        let first = entries.first().map(|entry| entry.name.to_owned());
        let (Ok(universe), Some(name)) = (Universe::new(entries, &[500]), first) else { return };
        if let Ok(chosen) = solve(&universe, &[Wanted { name: name.clone(), by: "fuzz".to_owned() }]) {
            assert!(chosen.iter().any(|chosen| universe.entry(chosen.place).name == name), "{name} is not chosen");
        }
    });
}

/// A field of relations, once as what a package needs and once as what it provides.
pub fn relation(bytes: &[u8]) {
    with_text(bytes, |text| {
        let versions = ["0", "1:2.3~rc1-4+b1"].map(parse_version);
        for relation in Relation::groups(text).into_iter().flatten().flatten() {
            let _ = versions.iter().flatten().filter(|version| relation.admits(version)).count();
            assert!(Relation::parse(&relation.to_string()).is_ok(), "{relation} does not read as itself");
        }
        let _ = Provided::list(text);
    });
}

/// A file of apt's: the first line says of which kind.
pub fn sources(bytes: &[u8]) {
    with_text(bytes, |text| {
        let (kind, text) = text.split_once('\n').unwrap_or(("list", text));
        for entry in Entry::parse(kind, text).into_iter().flatten() {
            assert!(entry.uris.iter().all(|uri| !uri.contains(char::is_whitespace)), "{entry:?}");
        }
    });
}
