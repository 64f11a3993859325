//! mimg as a person runs it, in a folder of its own; and fleets with something wrong in them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

pub const MIMG: &str = env!("CARGO_BIN_EXE_mimg");

/// Runs it to its end, with a cache in that folder.
pub fn mimg(folder: &Path, arguments: &[&str]) -> Output {
    mimg_with(&folder.join("cache"), folder, arguments)
}

pub fn mimg_with(cache: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let run = Command::new(MIMG).args(arguments).current_dir(folder).env("MIMG_CACHE", cache).output();
    run.expect("running mimg")
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a file, and makes the folders that lead to it.
pub fn put(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("making folders");
    fs::write(path, content).expect("writing a file");
}

/// A fleet with one node, "eccles", that has the profile "mine".
pub fn fleet(profile: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(mimg(folder.path(), &["init", "."]).status.success());
    put(folder.path(), "nodes/eccles.toml", "profiles = [\"mine\"]\n");
    put(folder.path(), "profiles/mine.toml", &format!("profiles = [\"base\"]\n{profile}"));
    folder
}

/// `check` and `build` both say all of `parts`, and end with 2.
pub fn is_bad_input(fleet: &TempDir, parts: &[&str]) {
    for arguments in [&["check"][..], &["build", "--node", "eccles"], &["build", "--all"]] {
        let output = mimg(fleet.path(), arguments);
        let said = err(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {part:?} is missing in:\n{said}");
        }
    }
}
