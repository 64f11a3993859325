//! Builds of real packages that go wrong, or are cut off, as a user meets them.

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qemu_tests::fleet::{build, build_to, cache, nothing_is_left, said, started, with_node};
use qemu_tests::images;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_package_that_does_not_exist_is_named_with_who_asks_and_the_nearest() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\npackages = [\"htopp\"]\n")?;
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
    let fleet = with_node("profiles = [\"base\"]\npackages = [\"sysvinit-core\"]\n")?;
    let output = build(fleet.path(), &cache()?)?.output()?;
    let said = said(&output);
    ensure!(output.status.code() == Some(2), "{said}");
    for part in ["cannot be installed together", "sysvinit-core", "(asked for by node eccles)", "Conflicts: "] {
        ensure!(said.contains(part), "{part:?} is missing: {said}");
    }
    Ok(())
}

#[test]
fn of_a_whole_fleet_each_is_tried_whatever_becomes_of_the_others() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\npackages = [\"htopp\"]\n")?;
    fs::write(fleet.path().join("nodes/other.toml"), "profiles = [\"base\"]\npackages = [\"sysvinit-core\"]\n")?;
    fs::create_dir_all(fleet.path().join("profiles"))?;
    fs::write(fleet.path().join("profiles/part.toml"), "packages = [\"less\"]\n")?;
    let mut command = Command::new(images::mimg()?);
    command.args(["build", "--all", "--json", "--cache"]).arg(cache()?).current_dir(fleet.path());
    let output = command.output()?;
    let said = said(&output);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(said.contains("did you mean htop") && said.contains("cannot be installed together"), "{said}");
    let outcomes: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let seen: Vec<(&str, &str)> = outcomes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|outcome| Some((outcome["name"].as_str()?, outcome["result"].as_str()?)))
        .collect();
    ensure!(seen == [("node eccles", "failed"), ("node other", "failed"), ("profile part", "left-out")], "{outcomes}");
    ensure!(outcomes[0]["file"] == "eccles.img" && outcomes[0]["seconds"].is_f64(), "{outcomes}");
    Ok(())
}

#[test]
fn a_mirror_that_is_no_address_is_refused_by_name() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\n")?;
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
    let fleet = with_node("profiles = [\"base\"]\n")?;
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
    let other = fleet.path().join("other");
    fs::create_dir(&other)?;
    two_at_once_give(&first, fleet.path(), &cache, [&image, &other.join("eccles.img")])
}

/// Two builds with one cache, and a `mimg clean` beside them that may keep nothing: both give the bits of `first`.
fn two_at_once_give(first: &Path, fleet: &Path, cache: &Path, images: [&Path; 2]) -> Result<()> {
    let mut builds = Vec::new();
    for image in images {
        builds.push(started(build_to(fleet, cache, image)?, "fetching")?.1);
    }
    let cleaned = Command::new(images::mimg()?).args(["clean", "--keep", "0", "--cache"]).arg(cache).output()?;
    ensure!(cleaned.status.code() == Some(4), "{}", said(&cleaned));
    ensure!(said(&cleaned).contains("may be in use by builds at work"), "{}", said(&cleaned));
    for (mut build, image) in builds.into_iter().zip(images) {
        ensure!(build.wait()?.success(), "one of two builds failed: {}", image.display());
        let same = Command::new("cmp").arg(first).arg(image).output()?;
        ensure!(same.status.success(), "two builds differ: {}", String::from_utf8_lossy(&same.stdout));
    }
    nothing_is_left(cache)
}

/// Starts a build, and kills it when it says that `stage` is over.
fn kill_after(stage: &str, command: Command) -> Result<()> {
    let (_, mut child) = started(command, stage)?;
    child.kill()?;
    let status = child.wait()?;
    ensure!(status.signal() == Some(9), "the build ended by itself: {status}");
    Ok(())
}
