//! The line that dependencies run in: profiles <- firstboot <- builder <- qemu-tests.

use std::collections::BTreeSet;
use std::process::Command;

/// Names of the workspace's own packages that each of them depends on, tests included.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .expect("running cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the answer of cargo metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let entry =
        packages.iter().find(|entry| entry["name"] == package).unwrap_or_else(|| panic!("no package {package}"));
    let all = entry["dependencies"].as_array().expect("dependencies");
    all.iter()
        .filter(|dependency| dependency["path"].is_string())
        .filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn dependencies_run_in_one_line() {
    let line = ["profiles", "firstboot", "builder", "qemu-tests"];
    for (place, package) in line.iter().enumerate() {
        let before: BTreeSet<String> = line[..place].iter().map(|name| name.to_string()).collect();
        let found = dependencies(package);
        assert!(found.is_subset(&before), "{package} depends on {found:?}, but may depend on {before:?} only");
    }
    assert!(dependencies("profiles").is_empty());
}
