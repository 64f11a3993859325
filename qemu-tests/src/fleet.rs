//! Fleets made for a test, and builds of them by `mimg` as a user starts it.

use crate::images;
use anyhow::{Context, Result, ensure};
use builder::vm::wait_until;
use fs_err as fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A fleet whose node "eccles" has these settings.
pub fn with_node(settings: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(images::mimg()?).arg("init").arg(folder.path()).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    fs::write(folder.path().join("nodes/eccles.toml"), settings)?;
    Ok(folder)
}

/// Builds that node to eccles.img in the fleet's folder.
pub fn build(fleet: &Path, cache: &Path) -> Result<Command> {
    build_to(fleet, cache, &fleet.join("eccles.img"))
}

/// Builds that node to another file.
pub fn build_to(fleet: &Path, cache: &Path, out: &Path) -> Result<Command> {
    let mut command = Command::new(images::mimg()?);
    command.args(["build", "--node", "eccles", "--fleet"]).arg(fleet).arg("--cache").arg(cache).arg("--out").arg(out);
    Ok(command)
}

/// Packages are downloaded once for all tests.
pub fn cache() -> Result<PathBuf> {
    Ok(images::target()?.join("tmp/building"))
}

/// What a program wrote to stderr.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a program, and reads on until a line of its stderr holds `word`. That line, and the program, which goes on and
/// whose further lines nobody reads.
pub fn started(mut command: Command, word: &str) -> Result<(String, Child)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("its standard error")?).lines();
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains(word) {
            // It may write on, to nobody, without being ended by SIGPIPE.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((line, child));
        }
        seen.push(line);
    }
    anyhow::bail!("it ended with {} and never said {word:?}:\n{}", child.wait()?, seen.join("\n"))
}

/// No mount, and no work of a run that is no more: what waits for the run's end removes it.
pub fn nothing_is_left(cache: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&*cache.to_string_lossy()), "a mount is left: {mounts}");
    wait_until("the end of the killed run's work", Duration::from_secs(30), || {
        let left = runs(cache)?;
        Ok(if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(left.join(", ")) })
    })
}

/// Names of the folders of runs in a cache.
pub fn runs(cache: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(cache.join("work"))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with("run-")).collect())
}
