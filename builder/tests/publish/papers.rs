//! The papers of an image: manifest, bill of materials, digests, signature.

use crate::disk;
use crate::tools::{find, run, said};
use builder::image::manifest::Manifest;
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::signature::SigningKey;
use builder::publish::{Format, Publication};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn publish(raw: &Path, manifest: &Manifest, key: Option<&SigningKey>) -> Manifest {
    let place = Place::new(raw);
    let publication = Publication { place: &place, formats: &[Format::Raw], key, workers: 1 };
    publication.write(raw, manifest.clone(), &Progress::quiet()).expect("publishing")
}

#[test]
fn the_manifest_beside_any_form_of_an_image_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let Some(manifest) = disk::make(&raw, 24) else { return };
    let written = publish(&raw, &manifest, None);
    for name in ["small.img", "small.img.zst", "small.qcow2"] {
        assert_eq!(Manifest::beside(&folder.path().join(name)).expect("a manifest"), written);
    }
    assert_eq!(written.files.len(), 2);
    assert_eq!((written.files[0].format.as_str(), &written.files[0].sha256), ("raw", &written.disk_sha256));
    let older = fs::read_to_string(folder.path().join("small.manifest.json")).expect("it").replacen(
        &format!("\"format\": {}", Manifest::FORMAT),
        "\"format\": 1",
        1,
    );
    fs::write(folder.path().join("small.manifest.json"), older).expect("it");
    let said = format!("{:#}", Manifest::beside(&raw).expect_err("another format"));
    assert!(said.contains("small.manifest.json") && said.contains("it has format 1"), "{said}");
}

#[test]
fn the_bill_of_materials_names_everything_once_and_an_outside_validator_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let Some(manifest) = disk::make(&raw, 24) else { return };
    let written = publish(&raw, &manifest, None);
    let text = fs::read_to_string(folder.path().join("small.spdx.json")).expect("the document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let packages = document["packages"].as_array().expect("packages");
    let purl = |name: &str| {
        let package = packages.iter().find(|package| package["name"] == name).expect("the package");
        package["externalRefs"][0]["referenceLocator"].as_str().expect("an address").to_owned()
    };
    assert_eq!(purl("libstdc++6"), "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=trixie");
    assert_eq!(purl("vim-tiny"), "pkg:deb/debian/vim-tiny@2:9.1.1230-2~deb13u1%2Bb1?arch=amd64&distro=trixie");
    assert_eq!(purl("tool"), "pkg:deb/their%20own/tool@1?arch=amd64&distro=trixie");
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(names[..4], ["small", "firstboot", "grub-boot-code", "grub-core-image"]);
    assert_eq!(names.len(), 4 + manifest.packages.len());
    assert_eq!(packages[0]["checksums"][0]["checksumValue"], written.disk_sha256.as_str());
    assert_eq!(packages[1]["checksums"][0]["checksumValue"], manifest.firstboot.sha256.as_str());
    let relations = document["relationships"].as_array().expect("relationships");
    let count = |kind: &str| relations.iter().filter(|relation| relation["relationshipType"] == kind).count();
    assert_eq!((count("DESCRIBES"), count("CONTAINS"), count("GENERATED_FROM")), (1, names.len() - 1, 2));
    assert_eq!(document["creationInfo"]["created"], "2026-09-21T14:13:20Z");

    let Some(validator) = find("pyspdxtools", "nothing: pip install spdx-tools, as qemu-tests/run does") else {
        return;
    };
    said(&validator, &["--infile", "small.spdx.json"], folder.path());
    // It does look: an id that is not one, and a relationship to nothing.
    let related = |id: &str| format!("\"relatedSpdxElement\": \"SPDXRef-{id}\"");
    let bad = [("SPDXRef-firstboot".into(), "firstboot".into()), (related("deb-tool-amd64"), related("nothing"))];
    for (from, to) in bad {
        assert!(text.contains(&from), "{from} is not in the document");
        fs::write(folder.path().join("bad.spdx.json"), text.replace(&from, &to)).expect("it");
        let bad = run(&validator, &["--infile", "bad.spdx.json"], folder.path());
        assert!(!bad.status.success(), "{from} became {to}, and nobody minded");
    }
}

#[test]
fn another_disk_has_another_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let Some(manifest) = disk::make(&raw, 24) else { return };
    let namespace = |byte: u8| {
        let disk = fs::File::options().write(true).open(&raw).expect("the disk");
        disk.write_all_at(&[byte], 500).expect("writing");
        publish(&raw, &manifest, None);
        let document = fs::read(folder.path().join("small.spdx.json")).expect("the document");
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        document["documentNamespace"].clone()
    };
    let one = namespace(1);
    assert_ne!(one, namespace(2));
    assert_eq!(one, namespace(1));
}

#[test]
fn sha256sum_and_minisign_accept_the_papers_and_minisign_signs_the_same_with_our_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let (Some(minisign), Some(sha256sum)) = (find("minisign", "minisign"), find("sha256sum", "coreutils")) else {
        return;
    };
    let Some(manifest) = disk::make(&raw, 24) else { return };
    let key = SigningKey::generate().expect("a key");
    publish(&raw, &manifest, Some(&key));
    let here = folder.path();
    let checked = said(&sha256sum, &["-c", "--strict", "small.SHA256SUMS"], here);
    assert_eq!(checked.lines().count(), 3, "{checked}");
    fs::write(here.join("key.pub"), key.public().render()).expect("a key");
    said(&minisign, &["-V", "-m", "small.SHA256SUMS", "-p", "key.pub"], here);
    let other = SigningKey::generate().expect("a key");
    fs::write(here.join("other.pub"), other.public().render()).expect("a key");
    assert!(!run(&minisign, &["-V", "-m", "small.SHA256SUMS", "-p", "other.pub"], here).status.success());
    let ours = fs::read_to_string(here.join("small.SHA256SUMS.minisig")).expect("a signature");
    fs::write(here.join("key"), &*key.render()).expect("a key");
    said(&minisign, &["-S", "-s", "key", "-m", "small.SHA256SUMS", "-x", "theirs"], here);
    let theirs = fs::read_to_string(here.join("theirs")).expect("a signature");
    assert_eq!(ours.lines().nth(1), theirs.lines().nth(1), "Ed25519 signs the same way each time");
}

#[test]
fn a_build_touches_nothing_of_another_image_and_an_unsigned_one_leaves_no_old_signature() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one.img", "two.img"].map(|name| folder.path().join(name));
    let Some(manifest) = disk::make(&one, 24) else { return };
    fs::copy(&one, &two).expect("a copy");
    let key = SigningKey::generate().expect("a key");
    publish(&one, &manifest, Some(&key));
    let before =
        ["one.SHA256SUMS", "one.SHA256SUMS.minisig"].map(|name| fs::read(folder.path().join(name)).expect("it"));
    publish(&two, &manifest, Some(&key));
    let after =
        ["one.SHA256SUMS", "one.SHA256SUMS.minisig"].map(|name| fs::read(folder.path().join(name)).expect("it"));
    assert_eq!(before, after);
    publish(&two, &manifest, None);
    assert!(!folder.path().join("two.SHA256SUMS.minisig").exists());
    assert!(folder.path().join("one.SHA256SUMS.minisig").exists());
}
