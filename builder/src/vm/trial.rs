//! `mimg test`: an image booted under each firmware, and the machine's own report.

use crate::progress::Progress;
use crate::vm::Firmware;
use crate::vm::boot::Boot;
use anyhow::Result;
use profiles::report::Report;
use serde::Serialize;
use std::path::Path;

/// How an image came up under one firmware.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    pub firmware: &'static str,
    /// From power on to the report, in seconds of this machine's clock.
    pub seconds: f64,
    pub report: Report,
}

impl Trial {
    /// A node's image is to be ready; a bare profile's has nothing to do but wait for its seed.
    pub fn passed(&self) -> bool {
        match self.report.code() {
            0 => true,
            4 => self.report.node.is_none(),
            _ => false,
        }
    }
}

/// Boots `image`, which is not changed, under BIOS and under UEFI.
pub fn run(image: &Path, progress: &Progress) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let boot = Boot::of(image, firmware, progress)?;
        trials.push(Trial { firmware: firmware.name(), seconds: boot.seconds, report: boot.report });
    }
    Ok(trials)
}
