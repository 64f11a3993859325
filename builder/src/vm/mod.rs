//! Emulated machines as values.
//!
//! ```text
//! Vm --start--> Running --shell, wait_for, screen, qmp ...--> power_off | cut | save
//!   what it is    a QEMU in its own process group             Saved --start--> Running
//! ```
//! A `Vm` is data: it can be cloned, changed, and started as often as one likes. The image under test is not changed for
//! a test, neither on the disk (writes go to a snapshot) nor in what it holds (the agent that runs commands in it comes
//! by systemd credentials in SMBIOS, see `agent`).

mod accelerator;
mod agent;
mod arguments;
pub mod boot;
mod console;
mod disk;
mod firmware;
mod machine;
mod missing;
mod network;
mod panel;
mod process;
mod qmp;
mod running;
mod saved;
pub mod trial;
mod wait;

/// What this host lacks for machines with a disk image and these firmwares; nothing is the wanted answer.
fn missing(firmwares: &[Firmware]) -> Vec<Missing> {
    let programs = [(arguments::QEMU, arguments::PACKAGE), disk::QEMU_IMG];
    let mut missing: Vec<Missing> =
        programs.into_iter().filter_map(|(program, package)| Missing::check_program(program, package).err()).collect();
    missing.extend(firmwares.iter().filter_map(|firmware| firmware.check().err()));
    missing
}

pub use accelerator::Accelerator;
pub use agent::Output;
pub use boot::Boot;
pub use disk::{Disk, Format, Interface};
pub use firmware::Firmware;
pub use machine::{Kernel, Vm};
pub use missing::Missing;
pub use network::{Link, Segment};
pub use running::Running;
pub use saved::Saved;
pub use wait::{patience, wait_until};
