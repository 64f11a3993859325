//! Tools of others, which judge what we wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where a tool is, or a word that the test is skipped without it. With CI=true that is a failure.
pub fn find(tool: &str, package: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/spdx/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin"), own]);
    let found = folders.map(|folder| folder.join(tool)).find(|path| path.is_file());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{tool} is not here: apt install {package}");
        eprintln!("skipped: {tool} is not on this host: apt install {package}");
    }
    found
}

/// Runs a tool to its end.
pub fn run(tool: &Path, arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(tool).args(arguments).current_dir(folder).env("LC_ALL", "C").output();
    output.unwrap_or_else(|error| panic!("running {}: {error}", tool.display()))
}

/// Runs a tool that has to succeed, and gives what it said.
pub fn said(tool: &Path, arguments: &[&str], folder: &Path) -> String {
    let output = run(tool, arguments, folder);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {}: {text}", tool.display(), output.status);
    text
}
