//! Builds killed at random times: whether anything is left, and whether the next one gives the same bits.
//!
//! `cargo run --release --package qemu-tests --bin kills [COUNT] [SEED]`. Each round takes a few packages out of the cache,
//! so that some are fetched again, and kills the build with SIGKILL; every fifth round lets one go on to its end. What it
//! looks for after each: mounts, loop devices and processes that know the folder in which all of it happens, and files
//! outside of what the cache keeps (downloads, payload, layers, initramfs, bases). A part of a download is the cache's own as well: the
//! next build goes on with it.

use anyhow::{Context, Result, bail, ensure};
use builder::vm::wait_until;
use fs_err as fs;
use qemu_tests::fleet::{build, said, with_node};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Bytes that may be left after a run.
const LEAST: u64 = 1 << 20;

/// One build in so many goes on to its end.
const WHOLE: usize = 5;

/// What the cache keeps for later builds.
const KEPT: [&str; 9] = [
    "cache/debs/sha256",
    "cache/debs/kept",
    "cache/debs/part",
    "cache/payload",
    "cache/layers",
    "cache/initramfs",
    "cache/bases",
    "cache/receipts",
    "cache/quarantine",
];

fn main() -> Result<()> {
    let number = |place: usize| std::env::args().nth(place).map(|word| word.parse::<u64>()).transpose();
    let count = number(1).context("reading the number of kills")?.unwrap_or(20) as usize;
    let seed = number(2).context("reading the seed")?.unwrap_or_else(|| fastrand::u64(..));
    println!("{count} kills, seed {seed}");
    let mut yard = Yard::new(fastrand::Rng::with_seed(seed))?;
    let (first, _) = yard.whole()?;
    // The first one downloaded all packages: the second one's time is what the others take.
    let (second, mut usual) = yard.whole()?;
    ensure!(second == first, "two builds that nothing disturbed differ: {first}, {second}");
    println!("     a build takes {:.1} s and gives {first}", usual.as_secs_f64());
    let (mut kills, mut completed) = (0, 2);
    while kills < count {
        yard.forget_some()?;
        let after = usual.mul_f64(yard.rng.f64());
        let killed = yard.kill(after)?;
        kills += usize::from(killed);
        let left = yard.leftovers().with_context(|| format!("after kill {kills} (seed {seed})"))?;
        if killed {
            println!("{kills:>4} killed after {:>6.2} s: {left} bytes left", after.as_secs_f64());
        } else {
            // Faster than those before.
            println!("     done within {:>6.2} s", after.as_secs_f64());
            usual = usual.min(after);
        }
        if killed && (kills.is_multiple_of(WHOLE) || kills == count) {
            let (digest, took) = yard.whole()?;
            ensure!(digest == first, "kill {kills}, seed {seed}: the next build gave {digest}, the first one {first}");
            let left = yard.leftovers()?;
            println!("     next build: {:.1} s, the same bits, {left} bytes left", took.as_secs_f64());
            completed += 1;
            usual = usual.min(took);
        }
    }
    println!("{count} kills, {completed} whole builds: all the same bits, nothing left");
    Ok(())
}

/// The folder in which all of it happens.
struct Yard {
    fleet: TempDir,
    rng: fastrand::Rng,
}

impl Yard {
    fn new(rng: fastrand::Rng) -> Result<Yard> {
        let fleet = with_node("profiles = [\"base\"]\n")?;
        fs::create_dir(fleet.path().join("tmp"))?;
        Ok(Yard { fleet, rng })
    }

    fn path(&self) -> &Path {
        self.fleet.path()
    }

    /// The build, whose temporary files are where they can be seen.
    fn build(&self) -> Result<Command> {
        let mut command = build(self.path(), &self.path().join("cache"))?;
        command.env("TMPDIR", self.path().join("tmp"));
        Ok(command)
    }

    /// Builds to the end: the image's SHA-256, and how long it took.
    fn whole(&self) -> Result<(String, Duration)> {
        let started = Instant::now();
        let output = self.build()?.output()?;
        ensure!(output.status.success(), "{}", said(&output));
        let image = self.path().join("eccles.img");
        let took = started.elapsed();
        let sum = Command::new("sha256sum").arg(&image).output().context("running sha256sum")?;
        let digest = String::from_utf8(sum.stdout)?.split(' ').next().unwrap_or_default().to_owned();
        ensure!(digest.len() == 64, "sha256sum: {}", String::from_utf8_lossy(&sum.stderr));
        fs::remove_file(image)?;
        Ok((digest, took))
    }

    /// Takes three packages out of the cache.
    fn forget_some(&mut self) -> Result<()> {
        let mut files = Vec::new();
        gather(&self.path().join("cache/debs/sha256"), &mut |path, size| {
            // Indexes are much larger than most packages: fetching those each time would only be slow.
            if size < 4 << 20 {
                files.push(path.to_owned());
            }
        })?;
        files.sort();
        // Of what was unpacked and configured too, so that each stage is met.
        for kind in ["payload", "layers", "initramfs", "bases"] {
            let folder = self.path().join("cache").join(kind);
            let mut entries = Vec::new();
            if folder.exists() {
                entries.extend(fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
            }
            entries.sort();
            if !entries.is_empty() && self.rng.bool() {
                fs::remove_dir_all(entries.swap_remove(self.rng.usize(..entries.len())))?;
            }
        }
        for _ in 0..3 {
            if !files.is_empty() {
                fs::remove_file(files.swap_remove(self.rng.usize(..files.len())))?;
            }
        }
        Ok(())
    }

    /// Starts a build and kills it after that time; false if it was done before.
    fn kill(&self, after: Duration) -> Result<bool> {
        let mut child = self.build()?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let end = Instant::now() + after;
        while Instant::now() < end {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the build failed by itself: {status}");
                fs::remove_file(self.path().join("eccles.img"))?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2).min(end - Instant::now().min(end)));
        }
        child.kill()?;
        child.wait()?;
        Ok(true)
    }

    /// Bytes that are left once all processes are gone; an error names what may not be there.
    fn leftovers(&self) -> Result<u64> {
        wait_until("the end of all processes of the build", Duration::from_secs(60), || {
            let there = self.processes()?;
            Ok(if there.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(there.join("; ")) })
        })?;
        let folder = self.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&folder)).collect();
        ensure!(mounts.is_empty(), "mounts are left: {}", mounts.join("\n"));
        for device in fs::read_dir("/sys/block")?.flatten() {
            let backing = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            ensure!(!backing.contains(&folder), "a loop device is left: {}", device.path().display());
        }
        let (mut bytes, mut names) = (0, Vec::new());
        gather(self.path(), &mut |path, size| {
            let name = path.strip_prefix(self.path()).unwrap_or(path);
            let ours = KEPT.iter().any(|kept| name.starts_with(kept)) || is_the_fleets(name);
            if !ours {
                bytes += size;
                names.push(name.display().to_string());
            }
        })?;
        if bytes > LEAST {
            bail!("{bytes} bytes are left: {}", names.join(", "));
        }
        Ok(bytes)
    }

    /// Command lines of processes that have the folder as their root, work in it, or name it.
    fn processes(&self) -> Result<Vec<String>> {
        let folder = self.path().to_string_lossy().into_owned();
        let mut there = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let path = entry.path();
            let number = entry.file_name().to_string_lossy().parse::<u32>();
            if number.is_err() || number == Ok(std::process::id()) {
                continue;
            }
            // A process that ended meanwhile has no files to read.
            let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let places = ["root", "cwd", "exe"].map(|name| std::fs::read_link(path.join(name)).unwrap_or_default());
            if command.contains(&folder) || places.iter().any(|place| place.starts_with(self.path())) {
                there.push(format!("{} {command}", entry.file_name().display()));
            }
        }
        Ok(there)
    }
}

/// What stands in the folder besides the cache: the fleet itself, and manifests of whole builds.
fn is_the_fleets(name: &Path) -> bool {
    let plain: Option<PathBuf> = name.components().next().map(|first| first.as_os_str().into());
    plain.is_some_and(|first| {
        ["fleet.toml", "nodes", "schemas", ".gitignore", "eccles.manifest.json"]
            .iter()
            .any(|own| first == Path::new(own))
    })
}

/// Each file below a folder with the bytes that it takes on the disk.
fn gather(folder: &Path, each: &mut dyn FnMut(&Path, u64)) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let there = fs::symlink_metadata(&path)?;
        if there.is_dir() {
            gather(&path, each)?;
        } else {
            each(&path, there.blocks() * 512);
        }
    }
    Ok(())
}
