//! `firstboot plan` and `facts` with another Spec than the machine's own: the program itself, on this machine. It only looks.

use nix::unistd::geteuid;
use profiles::fleet::Fleet;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What it answers with `spec` on stdin.
fn firstboot(arguments: &[&str], spec: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstboot"));
    command.args(arguments).args(["--spec", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("firstboot");
    child.stdin.take().expect("a pipe").write_all(spec.as_bytes()).expect("a Spec that is read");
    child.wait_with_output().expect("an end")
}

fn eccles() -> String {
    let root = "[fleet]\nid = \"5b6a9c0e-2d5b-4a6e-9a57-0d7a2f1c9e11\"\nname = \"home\"\n";
    let node = "profiles = [\"base\"]\n[[disk]]\nname = \"none\"\nselect = { serial = \"THERE-IS-NO-SUCH-DISK\" }\n\
        partition = [{ name = \"data\", type = \"linux\", size = \"rest\" }]\n";
    let files =
        BTreeMap::from([("fleet.toml".to_owned(), root.to_owned()), ("nodes/eccles.toml".to_owned(), node.to_owned())]);
    Fleet::load(&files).expect("a fleet").node("eccles").expect("a node").json()
}

#[test]
fn a_machine_is_planned_as_another_node_whose_spec_is_handed_to_it() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: firstboot looks at a machine as root only");
        return;
    }
    let planned = firstboot(&["plan"], &eccles());
    let told = String::from_utf8_lossy(&planned.stdout);
    assert!(told.starts_with("eccles (profile base): "), "{told}{}", String::from_utf8_lossy(&planned.stderr));
    assert!(told.contains("disk none"), "{told}");

    let facts = firstboot(&["facts", "--json"], &eccles());
    let facts: profiles::facts::Facts = serde_json::from_slice(&facts.stdout).expect("a recording");
    assert!(facts.knows(&profiles::ask::Ask::File("/etc/hostname".to_owned())), "no question of the node's own");
}

#[test]
fn what_is_no_spec_is_told_with_the_command_that_prints_one() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: firstboot looks at a machine as root only");
        return;
    }
    let output = firstboot(&["plan"], "profiles = []\n");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("- cannot be used: it is not a Spec") && told.contains("`mimg spec --node NODE`"), "{told}");
}
