//! The image for QEMU and for clouds that take its format.

use crate::image::draft::Draft;
use crate::vm::Missing;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Checks that the tool is there.
pub fn check() -> Result<(), Missing> {
    Missing::check_program("qemu-img", "qemu-utils")
}

/// Converts the raw image at `raw` into `draft`.
///
/// One write after the other (`-m 1`), and zeros told from data by their bytes (`-S`), not by holes: so the same image
/// becomes the same file.
pub fn convert(raw: &Path, draft: &Draft) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-m", "1", "-S", "4k", "-f", "raw", "-O", "qcow2"]);
    command.args(["-o", "compat=1.1,cluster_size=65536,lazy_refcounts=off,preallocation=off", "--"]);
    command.arg(raw).arg(draft.path());
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().context("running qemu-img")?;
    if !output.status.success() {
        bail!("qemu-img convert: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
