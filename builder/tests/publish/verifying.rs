//! `mimg verify` on sets that were changed.

use crate::disk;
use crate::person::{err, mimg, out};
use builder::image::manifest::Manifest;
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::signature::SigningKey;
use builder::publish::{Format, Publication};
use builder::verify::{Verification, verify};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A signed set of a small image.
struct Set {
    folder: TempDir,
    key: SigningKey,
    manifest: Manifest,
}

impl Set {
    fn make(key: Option<&SigningKey>) -> Option<Set> {
        let folder = tempfile::tempdir().expect("a folder");
        let raw = folder.path().join("small.img");
        let manifest = disk::make(&raw, 24)?;
        let spare = SigningKey::generate().expect("a key");
        let place = Place::new(&raw);
        let formats = [Format::Raw, Format::Zst];
        let publication =
            Publication { place: &place, formats: &formats, key: Some(key.unwrap_or(&spare)), workers: 1 };
        let manifest = publication.write(&raw, manifest, &Progress::quiet()).expect("publishing");
        fs::write(folder.path().join("signing.pub"), spare.public().render()).expect("a key");
        Some(Set { folder, key: spare, manifest })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verify(&self) -> Verification {
        verify(&self.path("small.img"), Some(&self.key.public())).expect("verifying")
    }

    /// What is wrong with one file, all others being as built.
    fn wrong(&self, name: &str) -> String {
        let found = self.verify();
        let wrong: Vec<_> = found.files.iter().filter(|finding| finding.wrong.is_some()).collect();
        assert_eq!(wrong.len(), 1, "{found:?}");
        assert_eq!(wrong[0].file, name, "{found:?}");
        wrong[0].wrong.clone().expect("a word")
    }
}

const FILES: [&str; 7] = [
    "small.img",
    "small.img.zst",
    "small.img.bmap",
    "small.manifest.json",
    "small.spdx.json",
    "small.SHA256SUMS",
    "small.SHA256SUMS.minisig",
];

#[test]
fn one_bit_flipped_in_any_of_a_hundred_places_is_found_and_its_file_is_named() {
    let Some(set) = Set::make(None) else { return };
    assert!(set.verify().holds(), "{:?}", set.verify());
    let mut random = fastrand::Rng::with_seed(22);
    for round in 0..100 {
        // Each file gets its share, however small it is.
        let name = FILES[round % FILES.len()];
        let path = set.path(name);
        let whole = fs::read(&path).expect("the file");
        let (at, bit) = (random.usize(..whole.len()), random.u8(..8));
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&path, flipped).expect("the file");
        let found = set.verify();
        let wrong: Vec<&str> =
            found.files.iter().filter(|finding| finding.wrong.is_some()).map(|finding| finding.file.as_str()).collect();
        // A list and its signature are wrong together: which of the two was changed cannot be told.
        let named =
            if name.ends_with(".minisig") { wrong == [name] || wrong == ["small.SHA256SUMS"] } else { wrong == [name] };
        assert!(named, "bit {bit} of byte {at} of {name} was flipped, and found were {found:?}");
        fs::write(&path, whole).expect("the file");
    }
    assert!(set.verify().holds());
}

#[test]
fn every_bit_of_the_signature_counts() {
    let Some(set) = Set::make(None) else { return };
    let path = set.path("small.SHA256SUMS.minisig");
    let whole = fs::read(&path).expect("the file");
    for at in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        fs::write(&path, flipped).expect("the file");
        assert!(!set.verify().holds(), "bit {at} is nobody's");
    }
}

#[test]
fn what_is_truncated_grown_missing_or_not_a_file_is_said() {
    let Some(set) = Set::make(None) else { return };
    let raw = fs::read(set.path("small.img")).expect("it");
    fs::write(set.path("small.img"), &raw[..raw.len() - 1]).expect("it");
    let said = set.wrong("small.img");
    assert_eq!(said, format!("truncated: it has {} bytes of {}", raw.len() - 1, raw.len()));
    fs::write(set.path("small.img"), [raw.as_slice(), b"x"].concat()).expect("it");
    assert!(set.wrong("small.img").starts_with("longer than it was"), "{}", set.wrong("small.img"));
    fs::remove_file(set.path("small.img")).expect("it");
    assert_eq!(set.wrong("small.img"), "missing");
    fs::create_dir(set.path("small.img")).expect("it");
    assert_eq!(set.wrong("small.img"), "not a file");
    fs::remove_dir(set.path("small.img")).expect("it");
    fs::write(set.path("small.img"), &raw).expect("it");
    // Another form of the image may stay elsewhere, a paper may not.
    fs::remove_file(set.path("small.img.zst")).expect("it");
    let found = set.verify();
    assert!(found.holds() && found.absent == ["small.img.zst"], "{found:?}");
    fs::remove_file(set.path("small.spdx.json")).expect("it");
    assert_eq!(set.wrong("small.spdx.json"), "missing");
}

#[test]
fn a_signature_by_another_key_or_none_or_another_images_is_refused() {
    let theirs = SigningKey::generate().expect("a key");
    let Some(set) = Set::make(Some(&theirs)) else { return };
    let said = set.wrong("small.SHA256SUMS.minisig");
    let (seen, wanted) = (theirs.public().id(), set.key.public().id());
    assert_eq!(said, format!("signed by another key: {seen}, and {wanted} was wanted"));
    fs::remove_file(set.path("small.SHA256SUMS.minisig")).expect("it");
    assert!(set.wrong("small.SHA256SUMS.minisig").starts_with("missing: the fleet's images are signed by key"));
    let Some(set) = Set::make(None) else { return };
    // Signed by the right key, and yet for another image.
    for end in ["SHA256SUMS", "SHA256SUMS.minisig", "manifest.json", "spdx.json"] {
        fs::copy(set.path(&format!("small.{end}")), set.path(&format!("other.{end}"))).expect("it");
    }
    fs::copy(set.path("small.img"), set.path("other.img")).expect("it");
    let found = verify(&set.path("other.img"), Some(&set.key.public())).expect("verifying");
    let wrong = found.files.iter().find(|finding| finding.file == "other.img").expect("it").wrong.as_deref();
    assert_eq!(wrong, Some("not of this build: other.SHA256SUMS does not name it"));
}

#[test]
fn the_size_of_every_file_is_in_the_manifest() {
    let Some(set) = Set::make(None) else { return };
    let listed: Vec<(&str, u64)> = set.manifest.files.iter().map(|file| (file.name.as_str(), file.size)).collect();
    let size = |name| (name, fs::metadata(set.path(name)).expect("it").len());
    assert_eq!(listed, ["small.img", "small.img.zst", "small.img.bmap", "small.spdx.json"].map(size));
}

#[test]
fn a_person_is_told_by_words_and_by_the_exit_code() {
    let Some(set) = Set::make(None) else { return };
    let here = set.folder.path();
    let told = |arguments: &[&str]| {
        let output = mimg(here, arguments);
        (output.status.code(), out(&output) + &err(&output))
    };
    let good = told(&["verify", "small.img.zst", "--key", "signing.pub"]);
    assert!(good.0 == Some(0) && good.1.contains("small.img.zst                    as built"), "{good:?}");
    let no_key = told(&["verify", "small.img"]);
    assert!(no_key.0 == Some(2) && no_key.1.contains("there is no key to check that with"), "{no_key:?}");
    let no_file = told(&["verify", "small.img", "--key", "nowhere.pub"]);
    assert!(no_file.0 == Some(2) && no_file.1.contains("there is no nowhere.pub"), "{no_file:?}");
    // The fleet's own key is another than the one that was named.
    assert!(mimg(here, &["init", "home"]).status.success());
    fs::create_dir(here.join("home/secrets")).expect("a folder");
    fs::write(here.join("home/secrets/signing.pub"), SigningKey::generate().expect("a key").public().render())
        .expect("it");
    let foreign = told(&["verify", "small.img", "--key", "signing.pub", "--fleet", "home"]);
    assert!(foreign.0 == Some(2) && foreign.1.contains("not of this fleet"), "{foreign:?}");
    let by_fleet = told(&["verify", "small.img", "--fleet", "home"]);
    assert!(by_fleet.0 == Some(3) && by_fleet.1.contains("signed by another key"), "{by_fleet:?}");
    fs::write(here.join("small.spdx.json"), "{}").expect("it");
    let changed = told(&["verify", "small.img", "--key", "signing.pub"]);
    assert!(changed.0 == Some(3) && changed.1.contains("small.spdx.json                  truncated"), "{changed:?}");
    let json = mimg(here, &["verify", "small.img", "--key", "signing.pub", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["signed-by"], set.key.public().id().to_string());
}
