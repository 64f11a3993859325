//! What a BIOS starts: GRUB's boot.img in the MBR, which loads core.img from the BIOS boot partition.
//!
//! `grub-bios-setup` needs a block device and GRUB's own tools on the host; all that it writes is a handful of numbers:
//!
//! | where | offset | what | wanted | becomes |
//! |---|---|---|---|---|
//! | boot.img | 0x5a | u16 address that core.img is loaded to | 0x8000 | as it is |
//! | boot.img | 0x5c | u64 sector of core.img | 1 | S |
//! | boot.img | 0x64 | u8 drive, 0xff for the one booted from | 0xff | as it is |
//! | boot.img | 0x66 | jump over the cure for BIOSes that give a wrong drive | eb 05 | 90 90 |
//! | core.img | 0x1e8 | 12 bytes: a second list of sectors | zeros | as they are |
//! | core.img | 0x1f4 | u64 sector of the rest of core.img | 2 | S + 1 |
//! | core.img | 0x1fc | u16 how many | sectors - 1 | as it is |
//! | core.img | 0x1fe | u16 segment that they are loaded to | 0x820 | as it is |
//!
//! Numbers are little-endian, S is the first sector of the BIOS boot partition.

use crate::image::table::SECTOR;
use anyhow::{Result, ensure};

/// The patched boot loader: `boot_code` for bytes 0..440 of the disk, `core` for the start of the BIOS boot partition.
#[derive(Debug)]
pub struct Bios {
    pub boot_code: [u8; 440],
    pub core: Vec<u8>,
}

impl Bios {
    /// Patches `boot` (boot.img) and `core` (what grub-mkimage made) for a partition of `room` bytes that begins at
    /// sector `first_lba`. Refuses what does not look like the GRUB that the numbers above were found in.
    pub fn new(boot: &[u8], mut core: Vec<u8>, first_lba: u64, room: u64) -> Result<Bios> {
        ensure!(boot.len() == 512, "boot.img has {} bytes, and 512 were wanted: {CURE}", boot.len());
        expect("boot.img", boot, 0x5a, &0x8000_u16.to_le_bytes())?;
        expect("boot.img", boot, 0x5c, &1_u64.to_le_bytes())?;
        expect("boot.img", boot, 0x64, &[0xff])?;
        expect("boot.img", boot, 0x66, &[0xeb, 0x05])?;
        check_core(&core, room)?;
        let mut boot_code = [0; 440];
        boot_code.copy_from_slice(&boot[..440]);
        boot_code[0x5c..0x64].copy_from_slice(&first_lba.to_le_bytes());
        boot_code[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
        core[0x1f4..0x1fc].copy_from_slice(&(first_lba + 1).to_le_bytes());
        Ok(Bios { boot_code, core })
    }
}

const CURE: &str = "this grub-pc-bin is not one that mimg knows";

fn check_core(core: &[u8], room: u64) -> Result<()> {
    let len = core.len() as u64;
    ensure!(len >= 2 * SECTOR, "core.img has {len} bytes, and more than 1024 were wanted: {CURE}");
    ensure!(len <= room, "core.img has {len} bytes, and the BIOS boot partition has room for {room}");
    let rest = u16::try_from(len.div_ceil(SECTOR) - 1).unwrap_or(u16::MAX);
    expect("core.img", core, 0x1e8, &[0; 12])?;
    expect("core.img", core, 0x1f4, &2_u64.to_le_bytes())?;
    expect("core.img", core, 0x1fc, &rest.to_le_bytes())?;
    expect("core.img", core, 0x1fe, &0x820_u16.to_le_bytes())
}

fn expect(name: &str, image: &[u8], at: usize, wanted: &[u8]) -> Result<()> {
    let seen = &image[at..at + wanted.len()];
    ensure!(seen == wanted, "{name} has {seen:02x?} at {at:#x}, and {wanted:02x?} was wanted: {CURE}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of GRUB 2.12's files, all else zeros.
    fn grub() -> (Vec<u8>, Vec<u8>) {
        let mut boot = vec![0; 512];
        boot[0x5a..0x5c].copy_from_slice(&[0x00, 0x80]);
        boot[0x5c] = 1;
        boot[0x64] = 0xff;
        boot[0x66..0x68].copy_from_slice(&[0xeb, 0x05]);
        let mut core = vec![0; 3 * 512];
        core[0x1f4] = 2;
        core[0x1fc] = 2;
        core[0x1fe..0x200].copy_from_slice(&[0x20, 0x08]);
        (boot, core)
    }

    #[test]
    fn the_loader_is_pointed_at_the_partition_and_left_alone_elsewhere() {
        let (boot, core) = grub();
        let bios = Bios::new(&boot, core.clone(), 0x0102_0304_0506, 1 << 20).expect("a known GRUB");
        assert_eq!(bios.boot_code[0x5c..0x64], [6, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!(bios.boot_code[0x66..0x68], [0x90, 0x90]);
        assert_eq!(bios.core[0x1f4..0x1fc], [7, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!(bios.boot_code[..0x5c], boot[..0x5c]);
        assert_eq!((&bios.core[..0x1f4], &bios.core[0x1fc..]), (&core[..0x1f4], &core[0x1fc..]));
    }

    #[test]
    fn each_field_that_is_not_as_expected_is_refused_with_its_place() {
        for (at, name) in [(0x5a, "boot.img"), (0x5c, "boot.img"), (0x64, "boot.img"), (0x66, "boot.img")] {
            let (mut boot, core) = grub();
            boot[at] ^= 0x40;
            let said = Bios::new(&boot, core, 2048, 1 << 20).expect_err("an unknown boot.img").to_string();
            assert!(said.contains(name) && said.contains(&format!("{at:#x}")), "{said}");
        }
        for at in [0x1e8, 0x1f3, 0x1f4, 0x1fc, 0x1fe] {
            let (boot, mut core) = grub();
            core[at] ^= 0x40;
            assert!(Bios::new(&boot, core, 2048, 1 << 20).is_err(), "core.img changed at {at:#x} was taken");
        }
    }

    #[test]
    fn files_of_a_wrong_length_are_refused() {
        let (boot, core) = grub();
        assert!(Bios::new(&boot[..511], core.clone(), 2048, 1 << 20).is_err());
        assert!(Bios::new(&boot, core[..600].to_vec(), 2048, 1 << 20).is_err());
        let said = Bios::new(&boot, core, 2048, 1024).expect_err("no room").to_string();
        assert!(said.contains("1536") && said.contains("1024"), "{said}");
    }
}
