//! Guests of one boot sector: enough to try a machine out within a fraction of a second.

use anyhow::{Result, bail};
use fs_err as fs;
use std::path::Path;

/// Where SeaBIOS leaves room: the boot drive's number, a disk address packet, and a sector's worth of buffer.
const DRIVE: u16 = 0x0600;
const PACKET: u16 = 0x0610;
const BUFFER: u16 = 0x1000;

/// Real-mode code, one call after the other.
#[derive(Clone, Debug)]
pub struct Sector {
    code: Vec<u8>,
}

impl Sector {
    #[expect(clippy::new_without_default, reason = "an empty guest runs into nothing: it is only a beginning")]
    pub fn new() -> Sector {
        let mut code = vec![0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]; // ax, ds, es, ss = 0
        code.extend([0xbc, 0x00, 0x7c]); // mov sp, 0x7c00
        code.extend([0x88, 0x16]); // mov [DRIVE], dl
        code.extend(DRIVE.to_le_bytes());
        Sector { code }
    }

    /// Writes `text` to the serial console.
    pub fn print(mut self, text: &str) -> Sector {
        self.code.extend([0xba, 0xf8, 0x03]); // mov dx, COM1
        for byte in text.bytes() {
            self.code.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
        }
        self
    }

    /// Waits for a key.
    pub fn wait_for_key(mut self) -> Sector {
        self.code.extend([0x30, 0xe4, 0xcd, 0x16]); // xor ah, ah; int 0x16
        self
    }

    /// Fills the sector at `lba` of the disk it was booted from with `byte`; the BIOS returns when the disk has it.
    pub fn write(mut self, lba: u16, byte: u8) -> Sector {
        self.code.push(0xbf); // mov di, BUFFER
        self.code.extend(BUFFER.to_le_bytes());
        self.code.extend([0xb0, byte, 0xb9, 0x00, 0x02, 0xfc, 0xf3, 0xaa]); // al = byte; cx = 512; cld; rep stosb
        for (place, word) in [0x10, 1, BUFFER, 0, lba, 0, 0, 0].into_iter().enumerate() {
            self.code.extend([0xc7, 0x06]); // mov word [PACKET + 2 * place], word
            self.code.extend((PACKET + 2 * place as u16).to_le_bytes());
            self.code.extend(word.to_le_bytes());
        }
        self.code.extend([0x8a, 0x16]); // mov dl, [DRIVE]
        self.code.extend(DRIVE.to_le_bytes());
        self.code.push(0xbe); // mov si, PACKET
        self.code.extend(PACKET.to_le_bytes());
        self.code.extend([0xb8, 0x00, 0x43, 0xcd, 0x13]); // mov ax, 0x4300 (extended write); int 0x13
        self
    }

    /// Switches the machine off: sleep state S5 by q35's PM1a control port.
    pub fn power_off(mut self) -> Sector {
        self.code.extend([0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]); // mov dx, 0x604; mov ax, 0x2000; out dx, ax
        self
    }

    /// Makes the new raw disk `path` of 1 MiB (SeaBIOS reads none smaller than a cylinder) that boots this guest.
    pub fn disk(&self, path: &Path) -> Result<()> {
        let mut sector = self.code.clone();
        sector.extend([0xfa, 0xf4, 0xeb, 0xfc]); // cli; hlt; and again after a non-maskable interrupt
        if sector.len() > 510 {
            bail!("the guest has {} bytes of code: a boot sector has room for 510", sector.len());
        }
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        sector.resize(1 << 20, 0);
        fs::write(path, sector)?;
        Ok(())
    }
}
