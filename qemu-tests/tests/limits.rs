//! Builds where there is too little room, and builds that are in each other's way.

use anyhow::{Result, ensure};
use builder::vm::wait_until;
use fs_err as fs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use qemu_tests::fleet::{build, build_to, cache, nothing_is_left, runs, said, started, with_node};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Runs a script in a mount namespace and in the fleet's folder, with a build as "$@".
fn in_namespace(fleet: &Path, build: Command, script: &str) -> Result<Output> {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command.args(["--mount", "--", "sh", "-euc", script, "sh"]).arg(build.get_program()).args(build.get_args());
    Ok(command.current_dir(fleet).output()?)
}

/// A cache that is too small for what comes next, each time a little larger: the bytes are said, nothing is left, and the
/// next run goes on from there.
#[test]
fn a_full_disk_is_told_in_bytes_and_nothing_is_left_on_it() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\n")?;
    let small = fleet.path().join("small");
    fs::create_dir(&small)?;
    let script = "mount -t tmpfs -o size=4m tmpfs small
        \"$@\" && exit 99; ls small/work small/debs/part
        mount -o remount,size=30m small
        \"$@\" && exit 99; ls small/work small/debs/part
        mount -o remount,size=150m small
        \"$@\" && exit 99; ls small/work small/debs/part";
    let output = in_namespace(fleet.path(), build(fleet.path(), &small)?, script)?;
    let said = said(&output);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    ensure!(errors.len() == 3, "{said}");
    for error in &errors {
        // Suites are opened side by side: where each would have fitted alone, the disk runs full under way.
        let beforehand = error.contains(" bytes free, and ") && error.contains(" needed");
        ensure!(beforehand || error.contains("ran full, and ") && error.contains(" bytes"), "{error}");
    }
    ensure!(errors[2].contains(" to download, ") && errors[2].contains("--cache"), "{said}");
    let left = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(left == "small/debs/part:\n\nsmall/work:\n".repeat(3), "this is left: {left}");
    ensure!(!fleet.path().join("eccles.img").exists());
    Ok(())
}

#[test]
fn an_image_that_will_not_fit_is_told_before_anything_is_fetched() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\n")?;
    fs::create_dir(fleet.path().join("small"))?;
    let script = "mount -t tmpfs -o size=9m tmpfs small; \"$@\" || echo $?; ls -A small";
    let build = build_to(fleet.path(), &cache()?, Path::new("small/eccles.img"))?;
    let output = in_namespace(fleet.path(), build, script)?;
    let said = said(&output);
    ensure!(said.contains("small has ") && said.contains("(the image)") && said.contains("--out"), "{said}");
    ensure!(!said.contains("fetching"), "{said}");
    ensure!(output.stdout == b"1\n", "this is left: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// The later one says for whom it waits, and ^C ends it without a trace; what a killed one had claimed is free again.
#[test]
fn of_two_builds_of_one_image_the_later_waits_and_says_for_whom() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\n")?;
    let cache = fleet.path().join("cache");
    let (_, mut first) = started(build(fleet.path(), &cache)?, "archive")?;
    let (line, mut second) = started(build(fleet.path(), &cache)?, "waiting")?;
    let pid = first.id();
    ensure!(line.starts_with(&format!("waiting for process {pid} (mimg build --node eccles ")), "{line}");
    ensure!(line.contains("which writes ") && line.ends_with("eccles.img"), "{line}");
    kill(Pid::from_raw(second.id().try_into()?), Signal::SIGINT)?;
    ensure!(second.wait()?.signal() == Some(2));
    ensure!(runs(&cache)?.len() <= 1, "the one that waited left its work: {:?}", runs(&cache)?);
    first.kill()?;
    first.wait()?;
    nothing_is_left(&cache)?;

    let (_, mut third) = started(build(fleet.path(), &cache)?, "archive")?;
    third.kill()?;
    third.wait()?;
    nothing_is_left(&cache)?;
    wait_until("the last claim", Duration::from_secs(5), || {
        let names: Vec<_> = fs::read_dir(cache.join("work"))?.flatten().map(|entry| entry.file_name()).collect();
        Ok(if names.len() <= 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(format!("{names:?}")) })
    })
}
