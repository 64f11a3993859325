//! A disk of an emulated machine: a file, what becomes of the writes to it, and the plug it sits in.

use super::Missing;
use anyhow::{Context, Result, bail};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes overlays, and the package that brings it.
pub(super) const QEMU_IMG: (&str, &str) = ("qemu-img", "qemu-utils");

/// How the file holds the disk's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Qcow2,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// What the disk is plugged into; it decides the name that Linux gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    VirtioBlk,
    VirtioScsi,
    Sata,
    Nvme,
    UsbStick,
}

/// One disk. `Disk::snapshot` is the one for an image under test.
#[derive(Clone, Debug)]
pub struct Disk {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) interface: Interface,
    pub(super) forgets: bool,
    pub(super) serial: Option<String>,
    pub(super) wwn: Option<u64>,
    pub(super) sector: Option<u32>,
    pub(super) log: Option<PathBuf>,
}

impl Disk {
    /// The raw file `path`; what the machine writes is forgotten when it stops, the file is never changed.
    pub fn snapshot(path: impl Into<PathBuf>) -> Disk {
        Disk { forgets: true, ..Disk::file(path) }
    }

    /// The raw file `path`, written to.
    pub fn file(path: impl Into<PathBuf>) -> Disk {
        Disk {
            path: path.into(),
            format: Format::Raw,
            interface: Interface::VirtioBlk,
            forgets: false,
            serial: None,
            wwn: None,
            sector: None,
            log: None,
        }
    }

    /// A new, empty disk: makes the sparse raw file `path` of `size` bytes; fails if it exists.
    pub fn blank(path: impl Into<PathBuf>, size: u64) -> Result<Disk> {
        let disk = Disk::file(path);
        let file = fs::File::create_new(&disk.path).context("making a blank disk")?;
        file.set_len(size).context("making a blank disk")?;
        Ok(disk)
    }

    /// Makes the qcow2 file `path` that holds only the differences to `base` (of `base_format`), which is not changed,
    /// at least `size` bytes large if that is more than the base.
    pub fn overlay(base: &Path, base_format: Format, path: impl Into<PathBuf>, size: Option<u64>) -> Result<Disk> {
        Missing::check_program(QEMU_IMG.0, QEMU_IMG.1)?;
        let path = path.into();
        let base = fs::canonicalize(base).context("making an overlay")?;
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", base_format.name(), "-b"]).arg(&base).arg(&path);
        if let Some(size) = size {
            command.arg(size.to_string());
        }
        let output = command.output().context("running qemu-img")?;
        if !output.status.success() {
            bail!(
                "qemu-img made no overlay {} over {}: {}",
                path.display(),
                base.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(Disk { format: Format::Qcow2, ..Disk::file(path) })
    }

    pub fn format(self, format: Format) -> Disk {
        Disk { format, ..self }
    }

    pub fn interface(self, interface: Interface) -> Disk {
        Disk { interface, ..self }
    }

    /// Its serial number: at most 20 characters for virtio-blk, SATA and NVMe.
    pub fn serial(self, serial: impl Into<String>) -> Disk {
        Disk { serial: Some(serial.into()), ..self }
    }

    /// Its World Wide Name: virtio-scsi and SATA have one, as NVMe has an EUI-64.
    pub fn wwn(self, wwn: u64) -> Disk {
        Disk { wwn: Some(wwn), ..self }
    }

    /// Bytes in a logical and physical sector: 512 (the default) or 4096.
    pub fn sector_size(self, sector: u32) -> Disk {
        Disk { sector: Some(sector), ..self }
    }

    /// Records each write and flush in `log` (the format of Linux' dm-log-writes), from which the disk's state after a
    /// power cut at any moment can be made. `log` is made anew at each start.
    pub fn write_log(self, log: impl Into<PathBuf>) -> Disk {
        Disk { log: Some(log.into()), ..self }
    }

    /// Refuses what QEMU would ignore or cut short without a word.
    pub(super) fn check(&self) -> Result<()> {
        let shown = self.path.display();
        if self.wwn.is_some() && matches!(self.interface, Interface::VirtioBlk | Interface::UsbStick) {
            bail!(
                "the disk {shown} has a WWN, which {:?} cannot carry: virtio-scsi, SATA and NVMe can",
                self.interface
            );
        }
        let short = matches!(self.interface, Interface::VirtioBlk | Interface::Sata | Interface::Nvme);
        if let Some(serial) = self.serial.as_deref().filter(|serial| short && serial.len() > 20) {
            bail!("the disk {shown} has the serial {serial:?}: {:?} carries at most 20 characters", self.interface);
        }
        if self.forgets && self.log.is_some() {
            bail!(
                "the disk {shown} forgets its writes and logs them: a log needs a disk that keeps them, as an overlay does"
            );
        }
        if self.sector.is_some_and(|sector| sector != 512 && sector != 4096) {
            bail!(
                "the disk {shown} has sectors of {} bytes: 512 or 4096 was expected",
                self.sector.unwrap_or_default()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wwn_that_the_interface_cannot_carry_is_refused() {
        let said = Disk::file("a.img").wwn(0x5000).check().unwrap_err().to_string();
        assert!(said.contains("VirtioBlk cannot carry"), "{said}");
        Disk::file("a.img").interface(Interface::Sata).wwn(0x5000).check().unwrap();
    }

    #[test]
    fn a_serial_that_would_be_cut_short_is_refused() {
        let said = Disk::file("a.img").serial("123456789012345678901").check().unwrap_err().to_string();
        assert!(said.contains("at most 20"), "{said}");
    }

    #[test]
    fn a_blank_disk_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        Disk::blank(&path, 1 << 20).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 1 << 20);
        assert!(Disk::blank(&path, 1).is_err());
    }
}
