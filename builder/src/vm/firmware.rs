//! The firmware a machine starts from, and where Debian keeps its files.

use super::Missing;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings itself.
    Bios,
    /// OVMF without Secure Boot.
    Uefi,
    /// OVMF that runs only what Microsoft's keys have signed: Debian's shim.
    SecureBoot,
}

/// OVMF's two flash chips: its code, and the variables it starts with.
pub(super) struct Flash {
    pub code: PathBuf,
    pub variables: PathBuf,
}

impl Firmware {
    pub const ALL: [Firmware; 3] = [Firmware::Bios, Firmware::Uefi, Firmware::SecureBoot];

    /// Its name in messages and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
            Firmware::SecureBoot => "UEFI with Secure Boot",
        }
    }

    /// Are its files on this host?
    pub(super) fn check(self) -> Result<(), Missing> {
        self.flash().map(drop)
    }

    /// OVMF's files; None for SeaBIOS. Debian 12 has both flash sizes, 13 only the 4 MiB one.
    pub(super) fn flash(self) -> Result<Option<Flash>, Missing> {
        let (code, variables): (&[&'static str], &[&'static str]) = match self {
            Firmware::Bios => return Ok(None),
            Firmware::Uefi => (
                &["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"],
                &["/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
            ),
            Firmware::SecureBoot => (
                &["/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_CODE.secboot.fd"],
                &["/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"],
            ),
        };
        let find = |files| Missing::check_files(files, "ovmf").map(Path::to_path_buf);
        Ok(Some(Flash { code: find(code)?, variables: find(variables)? }))
    }
}
