//! `mimg test`: an image booted under each firmware, and the machine's own report.

use crate::progress::Progress;
use crate::vm::Firmware;
use crate::vm::boot::Boot;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;
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

/// What a machine may write while it boots, at most: its disk's changes lie in the host's temporary folder.
const ROOM: u64 = 512 << 20;

/// Says at once all that this host lacks for booting an image, before one is built.
pub fn check_host() -> Result<()> {
    let missing = super::missing(&[Firmware::Bios, Firmware::Uefi]);
    if !missing.is_empty() {
        let mut packages: Vec<&str> = missing.iter().map(|missing| missing.package).collect();
        packages.dedup();
        let what: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
        bail!("booting an image needs on this host {}: apt install {}", what.join(", "), packages.join(" "));
    }
    let folder = std::env::temp_dir();
    tempfile::tempfile_in(&folder).with_context(|| format!("writing into {} (cure: set TMPDIR)", folder.display()))?;
    let stat = statvfs(&folder).with_context(|| format!("asking for the free space of {}", folder.display()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    ensure!(
        free >= ROOM,
        "{} has {free} bytes free, and a machine that boots may write {ROOM}: free some, or set TMPDIR to another folder",
        folder.display()
    );
    Ok(())
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
