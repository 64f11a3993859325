//! The command line as a person meets it: what is said, where, and with which exit code. No network, no build.

use std::path::Path;
use std::process::{Command, Output};

fn mimg(folder: &Path, arguments: &[&str]) -> Output {
    let cache = folder.join("cache");
    Command::new(env!("CARGO_BIN_EXE_mimg"))
        .args(arguments)
        .current_dir(folder)
        .env("MIMG_CACHE", &cache)
        .output()
        .expect("running mimg")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_fleet_is_started_checked_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = mimg(folder.path(), &["init", "home"]);
    assert!(started.status.success(), "{}", err(&started));
    assert_eq!(out(&started), "home/fleet.toml\nhome/nodes/eccles.toml\nhome/.gitignore\nhome/.gitattributes\n");
    let checked = mimg(folder.path(), &["check", "--fleet", "home"]);
    assert_eq!(
        (checked.status.code(), out(&checked).as_str()),
        (Some(0), "fleet home: no problems; nodes: 1, profiles: 4\n")
    );
    let here = mimg(&folder.path().join("home"), &["spec", "--node", "eccles"]);
    assert!(out(&here).contains("\"node\": \"eccles\""), "the fleet of this folder is found: {}", err(&here));
    let again = mimg(folder.path(), &["init", "home"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("mimg init replaces nothing"), "{}", err(&again));
}

#[test]
fn two_fleets_have_two_ids() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = |name: &str| {
        assert!(mimg(folder.path(), &["init", name]).status.success());
        let text = std::fs::read_to_string(folder.path().join(name).join("fleet.toml")).expect("fleet.toml");
        text.lines().find(|line| line.starts_with("id = ")).expect("an id").to_owned()
    };
    assert_ne!(id("a"), id("b"));
}

#[test]
fn an_unknown_profile_is_bad_input_and_the_nearest_is_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = mimg(folder.path(), &["build", "--profile", "nucc"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(out(&output), "");
    assert!(err(&output).contains("there is no profile \"nucc\""), "{}", err(&output));
    assert!(err(&output).contains("did you mean \"nuc\"?"), "{}", err(&output));
}

#[test]
fn a_node_without_a_fleet_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = mimg(folder.path(), &["build", "--node", "eccles"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("there is no node \"eccles\""), "{}", err(&output));
}

#[test]
fn problems_are_data_too() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "."]).status.success());
    std::fs::write(folder.path().join("nodes/eccles.toml"), "profiles = [\"nuc\"]\npackges = []\ntimezon = \"x\"\n")
        .expect("a node");
    let output = mimg(folder.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let problems: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert_eq!(problems.as_array().map(Vec::len), Some(2), "{problems}");
    assert_eq!(problems[0]["file"], "nodes/eccles.toml");
    assert_eq!((&problems[0]["line"], &problems[1]["line"]), (&2.into(), &3.into()));
    assert_eq!(problems[1]["cure"], "did you mean `timezone`?");
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["build"][..],
        &["build", "--profile", "nuc", "--node", "eccles"],
        &["bild"],
        &["check", "--fleet", "nowhere"],
    ] {
        let output = mimg(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).is_empty());
    }
}

#[test]
fn a_seed_is_a_fat_medium_with_the_nodes_spec() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "."]).status.success());
    let output = mimg(folder.path(), &["seed", "eccles", "--out", "eccles.seed"]);
    assert!(output.status.success(), "{}", err(&output));
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("running {program}: {error}"));
        assert!(output.status.success(), "{program}: {}{}", out(&output), err(&output));
        out(&output)
    };
    said("/usr/sbin/fsck.fat", &["-n", "eccles.seed"]);
    assert_eq!(said("/usr/sbin/blkid", &["-p", "-o", "value", "-s", "LABEL", "eccles.seed"]).trim(), "MIMG-SEED");
    assert_eq!(
        said("mtype", &["-i", "eccles.seed", "::spec.json"]),
        out(&mimg(folder.path(), &["spec", "--node", "eccles"]))
    );
}
