//! One boot of an image, from power on to firstboot's first report: what `mimg test` runs.

use super::{Firmware, Vm};
use crate::progress::Progress;
use anyhow::{Context, Result};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where firstboot puts its report; written whole or not at all.
const REPORT: &str = "/run/mimg/report.json";

/// What a boot showed.
#[derive(Clone, Debug)]
pub struct Boot {
    pub firmware: Firmware,
    /// firstboot's report as it wrote it.
    pub report: Value,
    /// From power on to the report, in wall-clock seconds.
    pub seconds: f64,
}

impl Boot {
    /// Boots a snapshot of `image` and waits for firstboot's report. The error shows the console's last lines.
    pub fn of(image: &Path, firmware: Firmware, progress: &Progress) -> Result<Boot> {
        let stage = progress.stage("booting");
        stage.now(firmware.name());
        let started = Instant::now();
        let mut vm = Vm::new(image).name(firmware.name()).firmware(firmware).start()?;
        vm.wait_for_shell(Duration::from_secs(180))?;
        stage.now("waiting for firstboot's report");
        let text = vm.wait_for("firstboot's report", Duration::from_secs(120), |vm| {
            let read = vm.shell(&format!("cat {REPORT}"))?;
            Ok(if read.rc == 0 {
                ControlFlow::Break(read.out)
            } else {
                ControlFlow::Continue(read.err.trim().to_owned())
            })
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let report = serde_json::from_str(&text).with_context(|| format!("reading {REPORT}: {text:?}"))?;
        stage.done(firmware.name());
        vm.power_off()?;
        Ok(Boot { firmware, report, seconds })
    }
}
