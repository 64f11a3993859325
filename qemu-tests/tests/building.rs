//! Builds of real packages that go wrong, or are cut off, as a user meets them.

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qemu_tests::fleet::{build, build_to, cache, nothing_is_left, said, started, with_node};
use qemu_tests::images;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One of these makes kept things go while the other would use them.
static TURN: Mutex<()> = Mutex::new(());

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
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
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
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let fleet = with_node("profiles = [\"base\"]\n")?;
    let (cache, image) = (cache()?, fleet.path().join("eccles.img"));
    let whole = build(fleet.path(), &cache)?.output()?;
    ensure!(whole.status.success(), "{}", said(&whole));
    let first = fleet.path().join("first.img");
    fs::rename(&image, &first)?;

    for stage in ["fetching", "unpacking", "configuring", "packing"] {
        for kept in KEPT {
            fs::remove_dir_all(cache.join(kept))?;
            fs::create_dir(cache.join(kept))?;
        }
        kill_after(stage, build(fleet.path(), &cache)?)?;
        ensure!(!image.exists(), "there is an image after a kill behind {stage}");
        nothing_is_left(&cache).with_context(|| format!("after a kill behind {stage}"))?;
    }
    let other = fleet.path().join("other");
    fs::create_dir(&other)?;
    two_at_once_give(&first, fleet.path(), &cache, [&image, &other.join("eccles.img")])
}

/// What builds keep for others, but for downloads.
const KEPT: [&str; 4] = ["payload", "layers", "initramfs", "bases"];

/// Made anew with one processor, on a Debian 13, from what was kept, in part, or damaged: the same bits.
#[test]
fn the_bits_depend_on_the_lock_and_the_fleet_alone() -> Result<()> {
    let fleet = with_node("profiles = [\"base\"]\n")?;
    let (cache, image) = (fleet.path().join("cache"), fleet.path().join("eccles.img"));
    fs::create_dir_all(&cache)?;
    fs::create_dir_all(self::cache()?.join("debs"))?;
    symlink(self::cache()?.join("debs"), cache.join("debs"))?;
    let lock = Command::new(images::mimg()?).args(["lock", "--fleet"]).arg(fleet.path()).output()?;
    ensure!(lock.status.success(), "{}", said(&lock));
    let first = fleet.path().join("first.img");
    let builds = |command: &mut Command, words: &str| -> Result<()> {
        let output = command.output()?;
        ensure!(output.status.success() && said(&output).contains(words), "{words:?} is not in {}", said(&output));
        if first.exists() {
            let same = Command::new("cmp").arg(&first).arg(&image).output()?;
            ensure!(same.status.success(), "another image by {command:?}: {}", String::from_utf8_lossy(&same.stdout));
        }
        Ok(())
    };
    builds(&mut build(fleet.path(), &cache)?, "writing")?;
    builds(&mut build(fleet.path(), &cache)?, "Nothing has changed")?;
    fs::rename(&image, &first)?;
    builds(build(fleet.path(), &cache)?.arg("--offline"), "restoring")?;

    // A layer that is gone, below others that were made on it, is made again, and theirs with it.
    for layer in fs::read_dir(cache.join("layers"))? {
        fs::remove_dir_all(layer?.path())?;
        for kind in ["initramfs", "bases"] {
            fs::remove_dir_all(cache.join(kind))?;
        }
        fs::remove_file(&image)?;
        builds(build(fleet.path(), &cache)?.arg("--offline"), "configuring")?;
    }
    for kind in KEPT {
        damage(&cache.join(kind))?;
        fs::remove_file(&image)?;
        if kind != "bases" {
            // Else only what belongs to the machine is looked at.
            fs::remove_dir_all(cache.join("bases"))?;
        }
        builds(build(fleet.path(), &cache)?.arg("--offline"), "is damaged")?;
    }
    let mut alone = Command::new("taskset");
    alone.args(["-c", "0"]).arg(images::mimg()?).args([
        "build",
        "--node",
        "eccles",
        "--offline",
        "--no-cache",
        "--fleet",
    ]);
    alone.arg(fleet.path()).arg("--cache").arg(&cache).arg("--out").arg(&image).env("RAYON_NUM_THREADS", "1");
    builds(&mut alone, "writing")?;
    builds(&mut on_debian_13(fleet.path(), &cache)?, "writing")
}

/// Changes one byte of the largest file of each entry of this kind.
fn damage(kind: &Path) -> Result<()> {
    for entry in fs::read_dir(kind)? {
        let files = fs::read_dir(entry?.path())?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
        let Some(file) = files.iter().filter(|path| !path.ends_with("index.json")).max_by_key(|path| size(path)) else {
            continue;
        };
        let place = if kind.ends_with("bases") { 5 << 20 } else { size(file) / 2 };
        let file = fs::File::options().read(true).write(true).open(file)?;
        let mut byte = [0];
        file.file().read_exact_at(&mut byte, place).unwrap_or_default();
        file.file().write_all_at(&[!byte[0]], place)?;
    }
    Ok(())
}

/// The same build in a root directory of Debian 13, with all that is its own there.
fn on_debian_13(fleet: &Path, cache: &Path) -> Result<Command> {
    let root = fleet.join("trixie");
    let mirror = builder::archive::mirror::Mirror::of_host()?;
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=essential", "trixie"]).arg(&root).args(&mirror.archive);
    let made = make.output()?;
    ensure!(made.status.success(), "{}", said(&made));
    fs::copy(images::mimg()?, root.join("usr/bin/mimg"))?;
    for folder in ["fleet", "cache"] {
        fs::create_dir(root.join(folder))?;
    }
    let debs = fs::canonicalize(cache.join("debs"))?;
    fs::remove_file(cache.join("debs"))?;
    fs::create_dir(cache.join("debs"))?;
    // A chroot into a mount: only a mount can be made private.
    let script = "mount --bind \"$3\" \"$3\" && mount --bind \"$1\" \"$3/fleet\" && mount --bind \"$2\" \"$3/cache\" && mount --bind \"$4\" \"$3/cache/debs\" && mount -t proc proc \"$3/proc\" &&
        exec chroot \"$3\" mimg build --node eccles --offline --no-cache --fleet /fleet --cache /cache --out /fleet/eccles.img";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "sh", "-c", script, "sh"]).arg(fleet).arg(cache).arg(root).arg(debs);
    Ok(command)
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
