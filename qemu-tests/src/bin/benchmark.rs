//! How long an image takes, beside mmdebstrap and mke2fs on the same packages, in turn on the same machine.
//!
//! `cargo run --release --package qemu-tests --bin benchmark [RUNS]`, as root. Every .deb is downloaded before, and given
//! to both. The peer's way ends with a file system in a disk file: it makes no boot loader, so the comparison is in its
//! favour. Then again with what that build kept: nothing changed, one overlay file, one package more (locked and downloaded
//! before). Whole-process figures: wall clock, and processor seconds of all children.

use anyhow::{Context, Result, ensure};
use builder::archive::cache::{Cache, Content};
use builder::archive::mirror::Mirror;
use fs_err as fs;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use qemu_tests::images;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A server of every kind: database, web, storage, containers, firmware. Beside them what an image needs to boot.
const PACKAGES: &str = "systemd systemd-sysv systemd-resolved dbus udev openssh-server lvm2 mdadm drbd-utils wireguard-tools \
    postgresql-17 nginx-light nftables chrony parted gdisk e2fsprogs xfsprogs dosfstools ca-certificates curl jq rsync less \
    vim-tiny ethtool pciutils usbutils smartmontools prometheus-node-exporter firmware-misc-nonfree intel-microcode docker.io \
    linux-image-amd64 initramfs-tools zstd grub-pc-bin grub-efi-amd64-bin apt \
    grub-efi-amd64-signed shim-signed libarchive13t64 debian-archive-keyring";

fn main() -> Result<()> {
    let runs: usize =
        std::env::args().nth(1).map_or(Ok(3), |text| text.parse()).context("reading the number of runs")?;
    let folder = tempfile::tempdir()?;
    let (fleet, cache) = (folder.path().join("fleet"), images::target()?.join("tmp/benchmark"));
    let (mimg, image) = (images::mimg()?, folder.path().join("peers.img"));
    run(Command::new(&mimg).arg("init").arg(&fleet))?;
    let names: Vec<String> = PACKAGES.split_whitespace().map(|name| format!("{name:?}")).collect();
    let components = "components = [\"main\", \"contrib\", \"non-free-firmware\"]";
    fs::create_dir_all(fleet.join("profiles"))?;
    fs::write(fleet.join("profiles/peers.toml"), format!("{components}\npackages = [{}]\n", names.join(", ")))?;
    let ours = || {
        let mut command = Command::new(&mimg);
        command
            .args(["build", "--profile", "peers", "--fleet"])
            .arg(&fleet)
            .arg("--cache")
            .arg(&cache)
            .arg("--out")
            .arg(&image);
        command
    };
    let lock = |with: &str| {
        fs::write(
            fleet.join("profiles/peers.toml"),
            format!("{components}\npackages = [{}{with}]\n", names.join(", ")),
        )?;
        for command in ["lock", "fetch"] {
            run(Command::new(&mimg).arg(command).arg("--fleet").arg(&fleet).arg("--cache").arg(&cache))?;
        }
        anyhow::Ok(())
    };
    lock("")?;
    run(&mut ours())?;
    let debs = folder.path().join("debs");
    gather(&image.with_extension("manifest.json"), &cache, &debs)?;

    println!("{:>4} {:>12} {:>12} {:>12} {:>12} {:>8}", "run", "mimg wall", "cpu", "peer wall", "cpu", "ratio");
    let mut ratios = Vec::new();
    for number in 1..=runs {
        let (wall, cpu) = measured(|| run(ours().arg("--no-cache")))?;
        let (peer_wall, peer_cpu) = measured(|| peer(folder.path(), &debs))?;
        let ratio = wall / peer_wall;
        println!("{number:>4} {wall:>10.1} s {cpu:>10.1} s {peer_wall:>10.1} s {peer_cpu:>10.1} s {ratio:>8.2}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of wall times, mimg to mmdebstrap + mke2fs: {:.2}", ratios[ratios.len() / 2]);
    println!("what was kept used:");
    let show = |what: &str| -> Result<()> {
        let (wall, cpu) = measured(|| run(&mut ours()))?;
        println!("{what:<28} {wall:>6.1} s {cpu:>6.1} s");
        Ok(())
    };
    show("nothing changed")?;
    fs::create_dir_all(fleet.join("overlays/peers/etc"))?;
    fs::write(fleet.join("overlays/peers/etc/motd.mimg"), "one file\n")?;
    show("one overlay file changed")?;
    lock(", \"tree\"")?;
    show("one small package added")?;
    Ok(())
}

/// Copies the image's packages to names that apt knows them by.
fn gather(manifest: &Path, cache: &Path, debs: &Path) -> Result<()> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest)?)?;
    let cache = Cache::open(&cache.join("debs"))?;
    fs::create_dir_all(debs)?;
    for package in manifest["packages"].as_array().context("the manifest's packages")? {
        let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let content = Content { sha256: word("sha256"), size: package["size"].as_u64().unwrap_or_default() };
        let path = cache
            .get(&content, &word("name"), &builder::progress::Progress::quiet())?
            .context("a package is not cached")?;
        let version = word("version").replace(':', "%3a");
        fs::copy(path, debs.join(format!("{}_{version}_{}.deb", word("name"), word("architecture"))))?;
    }
    Ok(())
}

/// mmdebstrap into a folder, then a file system of it.
fn peer(folder: &Path, debs: &Path) -> Result<()> {
    let (tree, disk) = (folder.join("tree"), folder.join("peer.img"));
    let mirror = Mirror::of_host()?;
    let suites =
        [("trixie", &mirror.archive), ("trixie-updates", &mirror.archive), ("trixie-security", &mirror.security)];
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=essential", "--architectures=amd64", "--skip=check/empty"])
        .arg(format!("--include={}", PACKAGES.split_whitespace().collect::<Vec<_>>().join(",")))
        .arg(format!(
            "--setup-hook=mkdir -p \"$1/var/cache/apt/archives\" && cp {}/*.deb \"$1/var/cache/apt/archives/\"",
            debs.display()
        ))
        .arg("trixie")
        .arg(&tree);
    for (suite, uris) in suites {
        let uri = uris.first().context("a mirror")?;
        command.arg(format!("deb {uri} {suite} main contrib non-free-firmware"));
    }
    run(&mut command)?;
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&disk).arg("4G"))?;
    fs::remove_dir_all(&tree)?;
    fs::remove_file(&disk)?;
    Ok(())
}

/// Wall clock and processor seconds of all children of `work`.
fn measured(work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let cpu = || -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok((usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()) as f64 / 1000.0)
    };
    let (started, before) = (Instant::now(), cpu()?);
    work()?;
    Ok((started.elapsed().as_secs_f64(), cpu()? - before))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
