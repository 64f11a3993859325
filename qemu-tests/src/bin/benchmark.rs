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
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use qemu_tests::images;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A server of every kind: database, web, storage, containers, firmware. Beside them what an image needs to boot.
const PACKAGES: &str = "systemd systemd-sysv systemd-resolved dbus udev openssh-server lvm2 mdadm drbd-utils wireguard-tools \
    postgresql-17 nginx-light nftables chrony parted gdisk e2fsprogs xfsprogs dosfstools ca-certificates curl jq rsync less \
    vim-tiny ethtool pciutils usbutils smartmontools prometheus-node-exporter firmware-misc-nonfree intel-microcode docker.io \
    linux-image-amd64 initramfs-tools zstd grub-pc-bin grub-efi-amd64-bin apt \
    grub-efi-amd64-signed shim-signed libarchive13t64 debian-archive-keyring";

/// Two more servers of the same fleet, which share most of what is above.
const MORE: [(&str, &str); 2] = [
    (
        "web",
        "systemd systemd-sysv systemd-resolved dbus udev openssh-server wireguard-tools nginx-light nftables chrony e2fsprogs \
        dosfstools ca-certificates curl jq rsync less vim-tiny prometheus-node-exporter redis-server nodejs linux-image-amd64 \
        initramfs-tools zstd grub-pc-bin grub-efi-amd64-bin apt grub-efi-amd64-signed shim-signed libarchive13t64 \
        debian-archive-keyring",
    ),
    (
        "db",
        "systemd systemd-sysv systemd-resolved dbus udev openssh-server lvm2 drbd-utils wireguard-tools postgresql-17 \
        pgbouncer nftables chrony e2fsprogs dosfstools ca-certificates curl rsync less vim-tiny smartmontools \
        prometheus-node-exporter linux-image-amd64 initramfs-tools zstd grub-pc-bin grub-efi-amd64-bin apt \
        grub-efi-amd64-signed shim-signed libarchive13t64 debian-archive-keyring",
    ),
];

fn main() -> Result<()> {
    let runs = std::env::args().nth(1).map_or(Ok(3), |text| text.parse()).context("reading the number of runs")?;
    let bench = Bench::new()?;
    bench.beside_peers(runs)?;
    bench.with_what_is_kept()
}

/// A fleet, and where its images come from and go to.
struct Bench {
    folder: tempfile::TempDir,
    cache: PathBuf,
    mimg: PathBuf,
}

/// What a process and all its children took.
struct Cost {
    /// Seconds.
    wall: f64,
    cpu: f64,
    /// MiB that the largest of them held.
    memory: f64,
}

impl Bench {
    /// A fleet of three profiles, locked, its packages downloaded, one image built.
    fn new() -> Result<Bench> {
        let folder = tempfile::tempdir()?;
        let bench = Bench { folder, cache: images::target()?.join("tmp/benchmark"), mimg: images::mimg()? };
        run(Command::new(&bench.mimg).arg("init").arg(bench.fleet()))?;
        fs::create_dir_all(bench.fleet().join("profiles"))?;
        for (name, packages) in MORE {
            bench.profile(name, packages)?;
        }
        bench.lock(PACKAGES)?;
        Ok(bench)
    }

    fn fleet(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image.img")
    }

    fn profile(&self, name: &str, packages: &str) -> Result<()> {
        let names: Vec<String> = packages.split_whitespace().map(|name| format!("{name:?}")).collect();
        let text =
            format!("components = [\"main\", \"contrib\", \"non-free-firmware\"]\npackages = [{}]\n", names.join(", "));
        Ok(fs::write(self.fleet().join(format!("profiles/{name}.toml")), text)?)
    }

    fn lock(&self, packages: &str) -> Result<()> {
        self.profile("peers", packages)?;
        ["lock", "fetch"].iter().try_for_each(|verb| run(&mut self.command(verb)))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.mimg);
        command.arg(verb).arg("--fleet").arg(self.fleet()).arg("--cache").arg(&self.cache);
        command
    }

    fn build(&self, profile: &str, more: &[&str]) -> Result<Cost> {
        let mut command = self.command("build");
        measured(|| run(command.args(["--profile", profile, "--out"]).arg(self.image()).args(more)))
    }

    /// All made anew, of the same packages as the peers' way, in turn.
    fn beside_peers(&self, runs: usize) -> Result<()> {
        self.build("peers", &[])?;
        let debs = self.folder.path().join("debs");
        gather(&self.image().with_extension("manifest.json"), &self.cache, &debs)?;
        println!("{:>4} {:>12} {:>12} {:>12} {:>12} {:>8}", "run", "mimg wall", "cpu", "peer wall", "cpu", "ratio");
        let mut ratios = Vec::new();
        for number in 1..=runs {
            let ours = self.build("peers", &["--no-cache"])?;
            let peer = measured(|| peer(self.folder.path(), &debs))?;
            let ratio = ours.wall / peer.wall;
            println!(
                "{number:>4} {:>10.1} s {:>10.1} s {:>10.1} s {:>10.1} s {ratio:>8.2}",
                ours.wall, ours.cpu, peer.wall, peer.cpu
            );
            ratios.push(ratio);
        }
        ratios.sort_by(f64::total_cmp);
        println!("median ratio of wall times, mimg to mmdebstrap + mke2fs: {:.2}", ratios[ratios.len() / 2]);
        Ok(())
    }

    /// The same again and again, with ever other changes.
    fn with_what_is_kept(&self) -> Result<()> {
        println!("\n{:<34} {:>8} {:>8} {:>12}", "with what was kept", "wall", "cpu", "memory");
        show("nothing changed", &self.build("peers", &[])?);
        fs::create_dir_all(self.fleet().join("overlays/peers/etc"))?;
        for text in ["one file\n", "another\n"] {
            fs::write(self.fleet().join("overlays/peers/etc/motd.mimg"), text)?;
            show("one overlay file changed", &self.build("peers", &[])?);
        }
        self.lock(&format!("{PACKAGES} tree"))?;
        show("one small package added", &self.build("peers", &[])?);
        for (name, _) in MORE {
            show(&format!("profile {name} of the same fleet"), &self.build(name, &[])?);
            show(&format!("profile {name}, all made anew"), &self.build(name, &["--no-cache"])?);
        }
        Ok(())
    }
}

fn show(what: &str, cost: &Cost) {
    println!("{what:<34} {:>6.1} s {:>6.1} s {:>8.0} MiB", cost.wall, cost.cpu, cost.memory);
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

/// What the children that `work` starts and waits for take. Of memory it is the most that one process held since this one
/// began: the figure of the first work, then a bound for all that comes later.
fn measured(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let usage = || getrusage(UsageWho::RUSAGE_CHILDREN);
    let cpu = |usage: &Usage| (usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()) as f64;
    let (started, before) = (Instant::now(), usage()?);
    work()?;
    let (wall, after) = (started.elapsed().as_secs_f64(), usage()?);
    Ok(Cost { wall, cpu: (cpu(&after) - cpu(&before)) / 1000.0, memory: after.max_rss() as f64 / 1024.0 })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
