//! What runs the guest's instructions: the processor itself (KVM), or QEMU's translation (TCG).
//!
//! That /dev/kvm exists says little: within other virtual machines it may refuse, hang, or be far slower than TCG. So a
//! tiny guest is really started, and KVM is taken where that guest ends in time.

use super::process::Process;
use super::{Missing, console};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Port of the probe's isa-debug-exit device, and the byte its guest writes there; QEMU then exits with 2 * byte + 1.
const EXIT_PORT: u8 = 0xf4;
const EXIT_BYTE: u8 = 0x10;

/// Starts to the boot sector and its exit take about 0.1 s; a host so busy that it takes this long is of no use.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// What this host can do, found once for this process by starting a guest.
    pub fn of_host() -> Result<Accelerator> {
        static FOUND: OnceLock<Accelerator> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(*found);
        }
        let found = Self::probe().context("finding out what runs guests on this host")?;
        Ok(*FOUND.get_or_init(|| found))
    }

    /// Its -accel.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg,thread=multi",
        }
    }

    /// Its -cpu. Under TCG a processor with fewer extensions is a quarter cheaper than `max`.
    pub(super) fn cpu(self) -> &'static str {
        match self {
            Accelerator::Kvm => "host",
            Accelerator::Tcg => "Nehalem,+rdrand",
        }
    }

    fn probe() -> Result<Accelerator> {
        let Some(tcg) = Accelerator::Tcg.time_guest(LONGEST)? else {
            bail!("a guest of one boot sector did not end within {} s under TCG", LONGEST.as_secs());
        };
        // A working KVM is as quick as TCG here, give or take the host's load. One that is emulated itself takes seconds
        // for this guest, and for ever for a kernel.
        let kvm = Accelerator::Kvm.time_guest(Duration::from_secs(1) + 4 * tcg).unwrap_or(None);
        Ok(if kvm.is_some() { Accelerator::Kvm } else { Accelerator::Tcg })
    }

    /// How long the guest needs from start to exit; None if it did not do so in time.
    fn time_guest(self, limit: Duration) -> Result<Option<Duration>> {
        Missing::check_program(super::arguments::QEMU, super::arguments::PACKAGE)?;
        let disk = boot_disk()?;
        let started = Instant::now();
        let mut qemu = Process::start(self.guest_command(&disk), vec![disk])?;
        while started.elapsed() < limit {
            match qemu.ended()? {
                Some(status) if status.code() == Some(i32::from(EXIT_BYTE) * 2 + 1) => {
                    return Ok(Some(started.elapsed()));
                }
                Some(status) => bail!("QEMU with {self:?} ended with {status}: {}", console::tail(&qemu.errors(), 3)),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Ok(None)
    }

    fn guest_command(self, disk: &OwnedFd) -> Command {
        let mut command = Command::new(super::arguments::QEMU);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "64"]);
        command.args(["-accel", self.argument(), "-cpu", self.cpu()]);
        command.arg("-device").arg(format!("isa-debug-exit,iobase={EXIT_PORT},iosize=1"));
        let file = format!("/proc/self/fd/{}", disk.as_raw_fd());
        command.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={file}"));
        command.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
        command
    }
}

/// An unlinked disk whose boot sector ends the machine. SeaBIOS reads no disk smaller than a cylinder, so it has 1 MiB.
fn boot_disk() -> Result<OwnedFd> {
    let mut sector = [0; 512];
    let code = [
        0xba, EXIT_PORT, 0x00, // mov dx, EXIT_PORT
        0xb0, EXIT_BYTE, // mov al, EXIT_BYTE
        0xee,      // out dx, al
        0xfa, 0xf4, // cli; hlt
    ];
    sector[..code.len()].copy_from_slice(&code);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut file = tempfile::tempfile().context("making a boot disk")?;
    file.write_all(&sector).context("writing a boot disk")?;
    file.set_len(1 << 20).context("writing a boot disk")?;
    Ok(file.into())
}
