//! Builds of real packages that go wrong, or are cut off, as a user meets them.

use anyhow::{Context, Result, ensure};
use builder::vm::wait_until;
use fs_err as fs;
use qemu_tests::images;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A fleet whose node "eccles" has these settings.
fn fleet(settings: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    ensure!(Command::new(images::mimg()?).arg("init").arg(folder.path()).output()?.status.success());
    fs::write(folder.path().join("nodes/eccles.toml"), settings)?;
    Ok(folder)
}

fn build(fleet: &Path, cache: &Path) -> Result<Command> {
    let mut command = Command::new(images::mimg()?);
    command.args(["build", "--node", "eccles", "--fleet"]).arg(fleet).arg("--cache").arg(cache);
    command.arg("--out").arg(fleet.join("eccles.img"));
    Ok(command)
}

/// Packages are downloaded once for all these tests.
fn cache() -> Result<std::path::PathBuf> {
    Ok(images::target()?.join("tmp/building"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_package_that_does_not_exist_is_named_with_who_asks_and_the_nearest() -> Result<()> {
    let fleet = fleet("profiles = [\"base\"]\npackages = [\"htopp\"]\n")?;
    let output = build(fleet.path(), &cache()?)?.output()?;
    let said = said(&output);
    ensure!(output.status.code() == Some(2), "{said}");
    ensure!(
        said.contains("node eccles asks for the package \"htopp\", which does not exist: did you mean htop"),
        "{said}"
    );
    ensure!(!fleet.path().join("eccles.img").exists());
    Ok(())
}

#[test]
fn packages_that_cannot_be_together_are_told_as_a_chain() -> Result<()> {
    let fleet = fleet("profiles = [\"base\"]\npackages = [\"sysvinit-core\"]\n")?;
    let output = build(fleet.path(), &cache()?)?.output()?;
    let said = said(&output);
    ensure!(output.status.code() == Some(2), "{said}");
    for part in ["cannot be installed together", "sysvinit-core", "(asked for by node eccles)", "Conflicts: "] {
        ensure!(said.contains(part), "{part:?} is missing: {said}");
    }
    Ok(())
}

#[test]
fn a_mirror_that_is_no_address_is_refused_by_name() -> Result<()> {
    let fleet = fleet("profiles = [\"base\"]\n")?;
    let text = fs::read_to_string(fleet.path().join("fleet.toml"))?;
    fs::write(fleet.path().join("fleet.toml"), text + "\n[archive]\nsecurity-mirror = \"nowhere\"\n")?;
    let output = build(fleet.path(), &cache()?)?.output()?;
    ensure!(output.status.code() == Some(1), "{}", said(&output));
    ensure!(said(&output).contains("nowhere"), "{}", said(&output));
    Ok(())
}

/// Killed with -9 when it reaches each of these stages, a build leaves nothing that counts, and the next one gives the same
/// bits as one that was never cut off.
#[test]
fn a_killed_build_leaves_nothing_and_the_next_one_gives_the_same_bits() -> Result<()> {
    let fleet = fleet("profiles = [\"base\"]\n")?;
    let (cache, image) = (cache()?, fleet.path().join("eccles.img"));
    let whole = build(fleet.path(), &cache)?.output()?;
    ensure!(whole.status.success(), "{}", said(&whole));
    let first = fleet.path().join("first.img");
    fs::rename(&image, &first)?;

    for stage in ["fetching", "configuring", "initramfs"] {
        kill_after(stage, build(fleet.path(), &cache)?)?;
        ensure!(!image.exists(), "there is an image after a kill behind {stage}");
        nothing_is_left(&cache).with_context(|| format!("after a kill behind {stage}"))?;
    }
    let again = build(fleet.path(), &cache)?.output()?;
    ensure!(again.status.success(), "{}", said(&again));
    let same = Command::new("cmp").arg(&first).arg(&image).output()?;
    ensure!(same.status.success(), "two builds differ: {}", String::from_utf8_lossy(&same.stdout));
    Ok(())
}

/// Starts a build, and kills it when it says that `stage` is over.
fn kill_after(stage: &str, mut command: Command) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stderr.take().context("its standard error")?).lines();
    let mut seen = Vec::new();
    for line in lines {
        seen.push(line?);
        if seen.last().is_some_and(|line| line.trim_start().starts_with(stage)) {
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    ensure!(status.signal() == Some(9), "the build ended by itself: {status}\n{}", seen.join("\n"));
    Ok(())
}

/// No mount, and no work of a run that is no more: what waits for the run's end removes it.
fn nothing_is_left(cache: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&*cache.to_string_lossy()), "a mount is left: {mounts}");
    wait_until("the end of the killed run's work", Duration::from_secs(30), || {
        let left: Vec<String> = fs::read_dir(cache.join("work"))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("run-"))
            .collect();
        Ok(if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(left.join(", ")) })
    })
}
