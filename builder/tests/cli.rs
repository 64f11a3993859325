//! The command line as a person meets it: what is said, where, and with which exit code. No network, no build.

#[expect(dead_code, reason = "these fleets are made by hand")]
mod person;

use person::{err, mimg, out};
use std::path::Path;
use std::process::Command;

#[test]
fn a_new_fleet_is_started_checked_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = mimg(folder.path(), &["init", "home"]);
    assert!(started.status.success(), "{}", err(&started));
    assert_eq!(
        out(&started),
        "home/fleet.toml\nhome/nodes/eccles.toml\nhome/.gitignore\nhome/.gitattributes\nhome/schemas/fleet.json\nhome/schemas/node.json\n\
         home/schemas/profile.json\nhome/.tombi.toml\n"
    );
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

/// A fleet with one node that asks for one package, and its lock.
fn locked_fleet() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("fleet.toml", "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n");
    write("profiles/plain.toml", "components = [\"main\"]\npackages = [\"htop\"]\n");
    write("nodes/eccles.toml", "profiles = [\"plain\"]\n");
    write("mimg.lock", &lock("3.4.1-5", "trixie"));
    folder
}

fn lock(version: &str, origin: &str) -> String {
    let (release, deb) = ("5".repeat(64), "6".repeat(64));
    format!(
        "mimg.lock 1\n# Written by `mimg lock`. Keep it in git, and do not edit it.\n\
         fleet 6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\nrelease {origin} 20260912T075541Z {release}\n\
         package htop {version} amd64 {origin} 20260912T075541Z 171000 {deb} pool/main/h/htop/htop_{version}_amd64.deb\n\
         node/eccles from main\nnode/eccles asks htop\nnode/eccles has htop\nprofile/plain as node/eccles\nend\n"
    )
}

#[test]
fn a_lock_that_fits_stays_as_it_is_without_a_network() {
    let folder = locked_fleet();
    let output = mimg(folder.path(), &["lock", "--offline"]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(out(&output), "");
    assert!(err(&output).contains("mimg.lock stays as it is: 1 packages for 2 nodes and profiles"), "{}", err(&output));
    assert_eq!(std::fs::read_to_string(folder.path().join("mimg.lock")).expect("a lock"), lock("3.4.1-5", "trixie"));
}

#[test]
fn what_is_new_to_the_lock_needs_a_network_and_says_so() {
    let folder = locked_fleet();
    std::fs::write(folder.path().join("nodes/eccles.toml"), "profiles = [\"plain\"]\npackages = [\"jq\"]\n")
        .expect("a node");
    for arguments in
        [&["lock", "--offline"][..], &["lock", "--offline", "--upgrade"], &["lock", "--offline", "--dry-run"]]
    {
        let output = mimg(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains("--offline allows no connection"), "{}", err(&output));
    }
    let fetch = mimg(folder.path(), &["fetch", "--offline"]);
    assert_eq!(fetch.status.code(), Some(2));
    assert!(
        err(&fetch).contains("node eccles asks for something else than when mimg.lock was made: jq is new"),
        "{}",
        err(&fetch)
    );
}

#[test]
fn a_fetch_without_a_network_lists_what_the_cache_lacks() {
    let folder = locked_fleet();
    for arguments in
        [&["fetch", "--offline"][..], &["fetch", "--offline", "--all"], &["fetch", "--offline", "--node", "eccles"]]
    {
        let output = mimg(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        let said = err(&output);
        assert!(said.contains("the cache lacks 1 package (0.2 MB):\n  htop 3.4.1-5, 171 kB\n"), "{said}");
        assert!(said.contains("cure: `mimg fetch`"), "{said}");
    }
}

#[test]
fn the_lock_tells_who_asks_for_a_package() {
    let folder = locked_fleet();
    let why = mimg(folder.path(), &["lock", "--why", "htop"]);
    assert_eq!(
        out(&why),
        "htop 3.4.1-5, of node eccles, profile plain\n  node eccles, profile plain ask for htop\n",
        "{}",
        err(&why)
    );
    let json = mimg(folder.path(), &["lock", "--why", "htop", "--json"]);
    let accounts: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(accounts[0]["ways"][0]["packages"][0], "htop");
    let near = mimg(folder.path(), &["lock", "--why", "htoop"]);
    assert_eq!(near.status.code(), Some(2));
    assert!(err(&near).contains("did you mean htop?"), "{}", err(&near));
}

#[test]
fn a_damaged_lock_is_told_by_every_command_that_reads_it() {
    let folder = locked_fleet();
    let text = lock("3.4.1-5", "trixie")
        .replace("node/eccles has htop\n", "<<<<<<< HEAD\nnode/eccles has htop\n=======\n>>>>>>> two\n");
    std::fs::write(folder.path().join("mimg.lock"), text).expect("a lock");
    for arguments in [&["lock"][..], &["lock", "--why", "htop"], &["fetch"], &["diff", "mimg.lock", "mimg.lock"]] {
        let output = mimg(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains("git left a conflict here\n --> mimg.lock:8:1"), "{}", err(&output));
    }
}

#[test]
fn two_locks_are_compared() {
    let folder = locked_fleet();
    std::fs::write(folder.path().join("new.lock"), lock("3.5.0-1", "trixie-security")).expect("a lock");
    let output = mimg(folder.path(), &["diff", "mimg.lock", "new.lock"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("changed  htop 3.4.1-5 -> 3.5.0-1  171 kB -> 171 kB\n"), "{}", out(&output));
    let json = mimg(folder.path(), &["diff", "mimg.lock", "new.lock", "--json"]);
    let difference: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(difference["changed"][0]["new"]["version"], "3.5.0-1");
}

#[test]
fn a_lock_without_a_fleet_or_a_fleet_without_a_lock_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = mimg(folder.path(), &["lock"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(err(&nowhere).contains("there is no fleet here"), "{}", err(&nowhere));
    assert!(mimg(folder.path(), &["init", "."]).status.success());
    let fetch = mimg(folder.path(), &["fetch"]);
    assert_eq!(fetch.status.code(), Some(2));
    assert!(err(&fetch).contains("there is no mimg.lock") && err(&fetch).contains("`mimg lock`"), "{}", err(&fetch));
}

#[test]
fn an_archive_of_snapshots_that_is_no_address_is_refused() {
    let folder = locked_fleet();
    let path = folder.path().join("fleet.toml");
    let text = std::fs::read_to_string(&path).expect("fleet.toml");
    std::fs::write(&path, text + "[archive]\nsnapshot = \"nowhere\"\n").expect("fleet.toml");
    let output = mimg(folder.path(), &["fetch", "--offline"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("the snapshot \"nowhere\" under [archive]"), "{}", err(&output));
}

#[test]
fn a_node_is_planned_from_what_a_machine_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "home"]).status.success());
    let home = folder.path().join("home");
    let node = "profiles = [\"base\"]\n[[disk]]\nname = \"system\"\nselect = { bus = [\"nvme\"] }\n[[disk.partition]]\n\
        name = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";
    std::fs::write(home.join("nodes/eccles.toml"), node).expect("a node");
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/nuc.json");
    let planned = mimg(&home, &["plan", "eccles", "--facts", recording.to_str().expect("a path")]);
    assert_eq!(planned.status.code(), Some(4), "{}", err(&planned));
    assert!(
        out(&planned).contains("create  /dev/nvme0n1 WD_BLACK SN770 500GB (serial 22315E803457)"),
        "{}",
        out(&planned)
    );
    let hash = out(&planned).split("This is plan ").nth(1).expect("a hash")[..16].to_owned();
    assert!(err(&planned).contains("| ssh MACHINE firstboot facts --json --spec -"), "{}", err(&planned));
    let json = mimg(&home, &["plan", "eccles", "--json", "--facts", recording.to_str().expect("a path")]);
    let json: serde_json::Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(json["hash"], hash.as_str());
    let wrong = mimg(&home, &["plan", "eccles", "--facts", "fleet.toml"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(err(&wrong).contains("firstboot facts --json"), "{}", err(&wrong));
}

/// What a picture shows where the pointer is: every box with its name, a detail, and what becomes of it.
fn boxes(svg: &str) -> Vec<String> {
    let titles = svg.split("<title>").skip(2).filter_map(|rest| rest.split("</title>").next());
    titles.map(|title| title.trim().lines().map(str::trim).collect::<Vec<_>>().join(", ")).collect()
}

#[test]
fn a_plan_is_drawn_with_all_that_stands_on_the_disks() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "home"]).status.success());
    let home = folder.path().join("home");
    let node = r#"
        profiles = ["base"]
        disk = [{name = "system", select = {bus = ["nvme"], size-min = "200G"}, partition = [
            {name = "esp", type = "esp", size = "64M"}, {name = "data", type = "lvm", size = "rest"}]}]
        vg = [{name = "main", devices = ["disk:system/data"]}]
        lv = [{name = "srv", vg = "main", size = "100G"}, {name = "secret", vg = "main", size = "1G"}]
        luks = [{name = "secret", device = "lv:main/secret", key = "/etc/secret.key"}]
        filesystem = [{name = "srv", device = "lv:main/srv", type = "xfs", mount = "/srv"},
            {name = "secret", device = "luks:secret", type = "ext4", mount = "/srv/secret"}]
    "#;
    std::fs::write(home.join("nodes/eccles.toml"), node).expect("a node");
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/nuc.json");
    let recording = recording.to_str().expect("a path");
    let planned = mimg(&home, &["plan", "eccles", "--facts", recording, "--svg", "plan.svg"]);
    assert_eq!(planned.status.code(), Some(4), "{}", err(&planned));
    let svg = std::fs::read_to_string(home.join("plan.svg")).expect("a picture");
    insta::assert_snapshot!(boxes(&svg).join("\n"), @r#"
    bios, 1M, keep
    esp, 64M, keep
    root, 8G, keep
    free, 20.6G, keep
    blank, 465.8G, keep
    bios, 1M, keep
    esp, 64M, keep
    root, 8G, keep
    esp, 64M, create
    data, 465.7G, create
    vg main, LVM, waits
    lv main/srv, 100G, waits
    lv main/secret, 1G, waits
    filesystem srv, xfs on /srv, waits
    luks secret, LUKS2, waits
    filesystem secret, ext4 on /srv/secret, waits
    "#);
}
