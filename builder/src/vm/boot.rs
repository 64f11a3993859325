//! One boot of an image, from power on to firstboot's first report: what `mimg test` runs.

use super::{Disk, Firmware, Format, Running, Vm};
use crate::progress::Progress;
use anyhow::{Context, Result};
use profiles::report::Report;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where firstboot puts its report; written whole or not at all.
const REPORT: &str = "/run/mimg/report.json";

/// How long a machine that waits is watched for something to change.
const SETTLING: Duration = Duration::from_secs(5);

/// What a boot showed.
#[derive(Clone, Debug)]
pub struct Boot {
    pub firmware: Firmware,
    pub report: Report,
    /// From power on to the report, in wall-clock seconds.
    pub seconds: f64,
}

/// The disk that the image finds itself on: larger than the image, as every real one is, and than what a profile asks of one.
const DISK: u64 = 64 << 30;

impl Boot {
    /// Boots `image`, which is not changed, on a disk of 64 GiB, until the boot is over and firstboot has reported. The
    /// error shows the console's last lines.
    pub fn of(image: &Path, firmware: Firmware, progress: &Progress) -> Result<Boot> {
        let stage = progress.stage("booting");
        stage.now(firmware.name());
        let folder = tempfile::tempdir()?;
        let disk = Disk::overlay(image, Format::Raw, folder.path().join("disk"), Some(DISK))?;
        let started = Instant::now();
        let mut vm = Vm::without_disks().disk(disk).name(firmware.name()).firmware(firmware).start()?;
        vm.wait_for_shell(Duration::from_secs(180))?;
        stage.now("waiting for firstboot's report");
        let report = Self::report(&mut vm)?;
        let seconds = started.elapsed().as_secs_f64();
        stage.done(firmware.name());
        vm.power_off()?;
        Ok(Boot { firmware, report, seconds })
    }

    /// The report once systemd's first jobs are done: before that, units may still be on their way. A machine that
    /// waits for something is given a little time, no more: it may wait for ever, as one without a node does for its seed.
    fn report(vm: &mut Running) -> Result<Report> {
        vm.wait_for_boot(Duration::from_secs(180))?;
        let settling = Instant::now();
        vm.wait_for("firstboot's report", Duration::from_secs(120), |vm| {
            let read = vm.shell(&format!("cat {REPORT}"))?;
            if read.rc != 0 {
                return Ok(ControlFlow::Continue(read.err.trim().to_owned()));
            }
            let report: Report =
                serde_json::from_str(&read.out).with_context(|| format!("reading {REPORT}: {:?}", read.out))?;
            let settled =
                report.code() != 4 || report.node.is_none() || settling.elapsed() > SETTLING.mul_f64(super::patience());
            Ok(if settled { ControlFlow::Break(report) } else { ControlFlow::Continue(report.headline()) })
        })
    }
}
