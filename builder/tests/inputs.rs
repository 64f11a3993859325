//! Bad inputs and hosts that lack something, as a person meets them: the program itself, its words, its exit code. Nothing
//! here gets as far as the network.

mod person;

use person::{MIMG, err, fleet, is_bad_input, mimg, out, put};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::{Command, Output};
use tempfile::TempDir;

#[test]
fn a_permission_that_no_overlay_uses_is_a_mistake_with_the_nearest_path() {
    let fleet = fleet("replaces = [\"/etc/isue\"]\n");
    put(fleet.path(), "overlays/mine/etc/issue", "hello\n");
    is_bad_input(
        &fleet,
        &[
            "replaces: no overlay of this machine has /etc/isue",
            "--> profiles/mine.toml:2:13",
            "did you mean \"/etc/issue\"? Else put the file into overlays/NAME/etc/isue, or take this out",
            "\n1 problem\n",
        ],
    );
}

#[test]
fn an_overlay_with_a_link_out_of_the_image_is_told_before_anything_is_built() {
    let fleet = fleet("");
    fs::create_dir_all(fleet.path().join("overlays/mine/etc")).expect("making folders");
    symlink("../../../etc/shadow", fleet.path().join("overlays/mine/etc/x")).expect("making a link");
    is_bad_input(&fleet, &["the overlay mine holds the link etc/x", "leads out of the image"]);
}

#[test]
fn two_that_would_be_one_image_are_refused_before_any_is_built() {
    let fleet = fleet("");
    put(fleet.path(), "nodes/mine.toml", "profiles = [\"nuc\"]\n");
    let output = mimg(fleet.path(), &["build", "--all"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("node mine and profile mine would both be mine.img"), "{}", err(&output));
}

#[test]
fn words_that_do_not_go_together_are_usage_errors() {
    let fleet = fleet("");
    for arguments in [
        &["build", "--all", "--out", "x.img"][..],
        &["build", "--all", "--node", "eccles"],
        &["build", "--node", "eccles", "--out", "x.img", "--out-dir", "."],
        &["clean", "--keep", "10GB"],
        &["clean", "--keep", "-1"],
    ] {
        let output = mimg(fleet.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
    }
    assert!(err(&mimg(fleet.path(), &["clean", "--keep", "10GB"])).contains("write one as \"512M\" or \"8G\""));
}

#[test]
fn a_place_for_the_image_that_is_none_is_told_at_once() {
    let fleet = fleet("");
    for (arguments, part) in [
        (["build", "--node", "eccles", "--out", "none/x.img"], "there is no folder none: make it"),
        (["build", "--node", "eccles", "--out", "nodes"], "nodes is a folder"),
        (["build", "--node", "eccles", "--out-dir", "none"], "there is no folder none: make it"),
    ] {
        let output = mimg(fleet.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(part), "{arguments:?}: {}", err(&output));
    }
    let all = mimg(fleet.path(), &["build", "--all", "--out-dir", "none"]);
    assert!(err(&all).contains("name another one with --out-dir"), "{}", err(&all));
}

#[test]
fn a_cache_is_emptied_and_what_was_freed_is_told() {
    let fleet = fleet("");
    put(fleet.path(), "cache/debs/sha256/aa/x", &"x".repeat(8192));
    put(fleet.path(), "cache/layers/one/etc/file", &"x".repeat(8192));
    let told = |arguments: &[&str]| {
        let output = mimg(fleet.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let dry = told(&["clean", "--dry-run"]);
    assert!(dry.contains("layers/one\n") && dry.contains(" would be freed, 0.0 MiB kept in "), "{dry}");
    assert!(told(&["clean", "--keep", "10G"]).starts_with("0.0 MiB freed"));
    let freed: serde_json::Value = serde_json::from_str(&told(&["clean", "--json"])).expect("JSON on stdout");
    assert_eq!(freed["removed"].as_array().map(Vec::len), Some(2), "{freed}");
    assert_eq!((&freed["kept"], &freed["reached"]), (&0.into(), &true.into()), "{freed}");
    assert!(freed["freed"].as_u64() >= Some(16384), "{freed}");
    assert!(!fleet.path().join("cache/layers/one").exists());
}

/// Runs a script as root of a user namespace, with mimg and its arguments as "$@".
fn in_namespace(fleet: &TempDir, before: &str, arguments: &[&str]) -> Option<Output> {
    let script = format!("{before}\nexec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--", "sh", "-ec", &script, "sh", MIMG]).args(arguments);
    let output = command.current_dir(fleet.path()).output().expect("running unshare, of util-linux");
    if err(&output).contains("unshare failed") {
        eprintln!("NOT RUN: this host gives no user namespaces: {}", err(&output));
        return None;
    }
    Some(output)
}

/// In such a namespace a build of the node ends with 1, and says the words, soon: before it looks for a mirror.
fn is_told(before: &str, arguments: &[&str], parts: &[&str]) {
    let fleet = fleet("");
    let Some(output) = in_namespace(&fleet, before, arguments) else { return };
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{before}: {said}");
    for part in parts {
        assert!(said.contains(part), "{before}: {part:?} is missing in: {said}");
    }
    assert!(!said.contains("archive"), "it went to work before it looked: {said}");
}

const BUILD: [&str; 5] = ["build", "--node", "eccles", "--cache", "cache"];

#[test]
fn a_cache_in_which_no_tree_can_be_made_is_told_with_the_option_that_names_another() {
    is_told("mkdir cache && mount -t tmpfs -o noexec tmpfs cache", &BUILD, &["noexec", "--cache DIR"]);
    is_told("mkdir cache && mount -t tmpfs -o ro tmpfs cache", &BUILD, &["Read-only file system", "--cache DIR"]);
    is_told("true", &["build", "--node", "eccles", "--cache", "/proc/nowhere"], &["making the cache", "--cache DIR"]);
}

#[test]
fn a_cache_of_somebody_elses_is_told() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: only root can give a folder away");
        return;
    }
    let fleet = fleet("");
    let theirs = fleet.path().join("cache");
    fs::create_dir(&theirs).expect("a folder");
    fs::set_permissions(&theirs, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("setting a mode");
    chown(&theirs, Some(12345), Some(12345)).expect("giving it away");
    // Root of the namespace has no power over a user who is not in it.
    let Some(output) = in_namespace(&fleet, "true", &BUILD) else { return };
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("Permission denied") && err(&output).contains("--cache DIR"), "{}", err(&output));
    assert_eq!(fs::metadata(&theirs).expect("the folder").uid(), 12345);
}

#[test]
fn a_host_that_gives_no_namespaces_or_hides_proc_is_told_before_any_work() {
    let none = "echo 0 >/proc/sys/user/max_mnt_namespaces";
    is_told(none, &BUILD, &["does not let mimg make namespaces", "--privileged"]);
    let hidden = "mount -t tmpfs tmpfs /proc/sys; set -- unshare --map-root-user --mount \"$@\"";
    is_told(hidden, &BUILD, &["does not let mimg mount a /proc of its own", "--privileged"]);
}

#[test]
fn an_ordinary_user_without_ids_is_told_what_to_install_and_to_run() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: only root can become a user without ids");
        return;
    }
    let fleet = fleet("");
    fs::set_permissions(fleet.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("setting a mode");
    let program = fleet.path().join("mimg");
    fs::copy(MIMG, &program).expect("copying mimg to where everybody may run it");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "--", "env", "PATH=/nowhere"]);
    let output = command.arg(program).args(BUILD).current_dir(fleet.path()).output();
    let said = err(&output.expect("running setpriv, of util-linux"));
    for part in ["apt install uidmap", "/etc/subuid: `usermod --add-subuids", "/etc/subgid: `usermod --add-subgids"] {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

#[test]
fn what_booting_needs_is_told_before_an_image_is_built() {
    let fleet = fleet("");
    let output = Command::new(MIMG)
        .args(["test", "--node", "eccles", "--cache", "cache"])
        .current_dir(fleet.path())
        .env("PATH", "/nowhere")
        .output()
        .expect("running mimg");
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["the program qemu-system-x86_64, the program qemu-img", "apt install qemu-system-x86 qemu-utils"] {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!fleet.path().join("cache").exists(), "it went to work before it looked");
}
