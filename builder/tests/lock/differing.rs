//! What differs between two locks, or two manifests.

use crate::desk::{Desk, Suite, asking};
use anyhow::{Result, bail};
use builder::diff;
use builder::diff::packages::Listing;
use std::path::{Path, PathBuf};

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn between(old: &Path, new: &Path) -> Result<diff::Difference> {
    diff::diff(old, new, &|| bail!("nothing has to be unpacked"))
}

#[test]
fn two_locks_differ_in_packages_and_suites() {
    let desk = Desk::new();
    let old = Suite { name: "trixie", age: 9, packages: &["same", "other", "gone"] };
    let new = Suite { name: "trixie", age: 1, packages: &["same", "other 2; Depends: come", "come"] };
    let old = desk.locks(&desk.serve(&[old]), &asking(&[("barn", "same other gone")]), None);
    let new = desk.locks(&desk.serve(&[new]), &asking(&[("barn", "same other")]), None);
    let (old, new) = (Listing::of_lock(&old), Listing::of_lock(&new));
    insta::assert_snapshot!(diff::packages::diff(&old, &new));
    assert_eq!(diff::packages::diff(&new, &new).to_string(), "0 added, 0 removed, 0 changed, +0.0 MB of packages\n");
}

#[test]
fn two_manifests_differ_in_packages_and_suites() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = |date: &str, version: &str, size: u64| {
        let package = format!(
            "{{\"name\":\"htop\",\"version\":\"{version}\",\"architecture\":\"amd64\",\"suite\":\"trixie\",\"size\":{size},\"sha256\":\"{}\"}}",
            version.repeat(32)
        );
        format!("{{\"format\":1,\"suites\":[{{\"suite\":\"trixie\",\"date\":\"{date}\"}}],\"packages\":[{package}]}}")
    };
    let old = written(folder.path(), "old.manifest.json", &manifest("2026-09-12T07:55:41Z", "31", 170_000));
    let new = written(folder.path(), "new.manifest.json", &manifest("2026-11-12T07:55:41Z", "32", 1_700_000));
    insta::assert_snapshot!(between(&old, &new).unwrap());
}

#[test]
fn what_is_neither_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = written(folder.path(), "fleet.toml", "[fleet]\n");
    let error = between(&fleet, &fleet).unwrap_err().to_string();
    assert!(error.contains("fleet.toml is neither a lock nor a manifest nor an image"), "{error}");
    let list = written(folder.path(), "list.json", "{\"packages\": 3}");
    assert!(format!("{:#}", between(&list, &list).unwrap_err()).contains("list.json"));
}
