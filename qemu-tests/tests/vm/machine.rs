//! What the cases share: a machine with an image of the catalog, seeds for it, and its own report.

use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Firmware, Format, Running, Vm};
use fs_err as fs;
use profiles::plan::Verdict;
use profiles::report::Report;
use qemu_tests::images;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Larger than every image, so that the root file system has a slot to grow to, and a second one comes behind it.
pub const DISK: u64 = 32 << 30;

/// A test's folder with the disk of one machine, and a fleet for its seeds.
pub struct Bench {
    folder: TempDir,
    /// The image that the disk began as.
    pub image: PathBuf,
}

impl Bench {
    pub fn new(profile: &str) -> Result<Bench> {
        let bench = Bench { folder: tempfile::tempdir()?, image: images::image(profile)? };
        Disk::overlay(&bench.image, Format::Raw, bench.path("disk"), Some(DISK))?;
        Ok(bench)
    }

    /// With the image of a node of this name, and files of its own: paths relative to the root, and contents.
    pub fn of_node(name: &str, settings: &str, files: &[(&str, &str)]) -> Result<Bench> {
        let folder = tempfile::tempdir()?;
        let (fleet, image) = (folder.path().join("fleet"), folder.path().join(format!("{name}.img")));
        let mimg = images::mimg()?;
        run(Command::new(&mimg).arg("init").arg(&fleet))?;
        fs::write(fleet.join(format!("nodes/{name}.toml")), settings)?;
        for (path, content) in files {
            let path = fleet.join("overlays/base").join(path);
            fs::create_dir_all(path.parent().context("a file in a folder")?)?;
            fs::write(path, content)?;
        }
        run(Command::new(&mimg).args(["build", "--node", name, "--fleet"]).arg(&fleet).arg("--out").arg(&image))?;
        let bench = Bench { folder, image };
        Disk::overlay(&bench.image, Format::Raw, bench.path("disk"), Some(DISK))?;
        Ok(bench)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The machine's disk as it is now; it keeps what is written to it.
    pub fn disk(&self) -> Disk {
        Disk::file(self.path("disk")).format(Format::Qcow2)
    }

    /// A seed that makes the machine the node "eccles" with these settings, made as a user makes it.
    pub fn seed(&self, settings: &str) -> Result<Disk> {
        let fleet = self.path("fleet");
        let mimg = images::mimg()?;
        if !fleet.exists() {
            run(Command::new(&mimg).arg("init").arg(&fleet))?;
        }
        fs::write(fleet.join("nodes/eccles.toml"), settings)?;
        let seed = self.path("eccles.seed");
        run(Command::new(&mimg).args(["seed", "eccles", "--fleet"]).arg(&fleet).arg("--out").arg(&seed))?;
        Ok(Disk::snapshot(seed))
    }

    /// Starts the machine with its disk, and what else is plugged in.
    pub fn start(&self, firmware: Firmware, others: Vec<Disk>) -> Result<Running> {
        let vm = Vm::without_disks().name(firmware.name()).firmware(firmware).disk(self.disk());
        others.into_iter().fold(vm, Vm::disk).start()
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// firstboot's report, once `enough` says that it is the one that was waited for.
pub fn wait_for_report(vm: &mut Running, what: &str, enough: impl Fn(&Report) -> bool) -> Result<Report> {
    vm.wait_for(what, Duration::from_secs(120), |vm| {
        let read = vm.shell("cat /run/mimg/report.json")?;
        if read.rc != 0 {
            return Ok(ControlFlow::Continue(read.err.trim().to_owned()));
        }
        let report: Report = serde_json::from_str(&read.out).with_context(|| format!("reading {:?}", read.out))?;
        Ok(if enough(&report) { ControlFlow::Break(report) } else { ControlFlow::Continue(report.to_string()) })
    })
}

/// Waits until every verdict is Done, as the machine itself says, and its target is reached.
pub fn wait_for_ready(vm: &mut Running) -> Result<Report> {
    let report = wait_for_report(vm, "a machine that is ready", |report| report.ready || report.plan.refused())?;
    ensure!(report.ready, "{report}");
    vm.wait_for("mimg-ready.target", Duration::from_secs(30), |vm| {
        let state = vm.shell("systemctl is-active mimg-ready.target")?.out;
        Ok(if state.trim() == "active" { ControlFlow::Break(()) } else { ControlFlow::Continue(state) })
    })?;
    Ok(report)
}

/// What a command of the guest printed; a failure is an error with what it said.
pub fn said(vm: &mut Running, command: &str) -> Result<String> {
    Ok(vm.shell_within(command, Duration::from_secs(120))?.success()?.trim().to_owned())
}

/// The Parts that are not Done, with their lines.
pub fn open(report: &Report) -> Vec<String> {
    let open = report.plan.0.iter().filter(|line| line.verdict != Verdict::Done);
    open.map(ToString::to_string).collect()
}

/// Bytes of the root file system's partition.
pub fn root_size(vm: &mut Running) -> Result<u64> {
    let sectors: u64 = said(vm, "cat /sys/class/block/vda3/size")?.parse().context("the size of vda3")?;
    Ok(sectors * 512)
}
