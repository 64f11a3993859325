//! An emulated machine that is not running: what it is made of.

use super::agent::Agent;
use super::process::Process;
use super::qmp::Qmp;
use super::{Accelerator, Disk, Firmware, Link, Missing, Running, arguments, console};
use anyhow::{Context, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A machine as a value. `Vm::new(image)` boots that image under SeaBIOS with 1 GiB and two processors; all else is said
/// by its methods. It has no network unless `link` plugs one in.
#[derive(Clone, Debug)]
pub struct Vm {
    pub(super) name: String,
    pub(super) firmware: Firmware,
    pub(super) memory: u32,
    pub(super) cpus: u32,
    pub(super) disks: Vec<Disk>,
    pub(super) links: Vec<Link>,
    pub(super) clock: Option<String>,
    pub(super) kernel: Option<Kernel>,
    pub(super) extra: Vec<String>,
}

/// A kernel that QEMU loads itself, without firmware's help and GRUB.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub image: PathBuf,
    pub initrd: PathBuf,
    pub command_line: String,
}

impl Vm {
    /// A machine whose first disk is a snapshot of the raw `image`, which is never written to.
    pub fn new(image: &Path) -> Vm {
        Vm::without_disks().disk(Disk::snapshot(image))
    }

    /// A machine that boots nothing until it gets a disk or a kernel.
    pub fn without_disks() -> Vm {
        Vm {
            name: "machine".to_owned(),
            firmware: Firmware::Bios,
            memory: 1024,
            cpus: 2,
            disks: Vec::new(),
            links: Vec::new(),
            clock: None,
            kernel: None,
            extra: Vec::new(),
        }
    }

    /// What it is called in messages; its network addresses (MAC) follow from it, so machines on a segment need
    /// different names.
    pub fn name(self, name: impl Into<String>) -> Vm {
        Vm { name: name.into(), ..self }
    }

    pub fn firmware(self, firmware: Firmware) -> Vm {
        Vm { firmware, ..self }
    }

    /// Memory in MiB.
    pub fn memory(self, memory: u32) -> Vm {
        Vm { memory, ..self }
    }

    pub fn cpus(self, cpus: u32) -> Vm {
        Vm { cpus, ..self }
    }

    /// One more disk. Firmware tries them in the order of their adding; the first is `disk0` to `unplug`.
    pub fn disk(mut self, disk: Disk) -> Vm {
        self.disks.push(disk);
        self
    }

    /// One more network card; the first is card 0 to `set_link`.
    pub fn link(mut self, link: Link) -> Vm {
        self.links.push(link);
        self
    }

    /// The time its clock shows at the start, in UTC, such as "2031-01-01T00:00:00"; otherwise the host's.
    pub fn clock(self, base: impl Into<String>) -> Vm {
        Vm { clock: Some(base.into()), ..self }
    }

    pub fn kernel(self, kernel: Kernel) -> Vm {
        Vm { kernel: Some(kernel), ..self }
    }

    /// Further arguments of QEMU, as they stand.
    pub fn extra(mut self, arguments: &[&str]) -> Vm {
        self.extra.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it. The error says which package the host lacks (`Missing`), or why QEMU refused.
    pub fn start(&self) -> Result<Running> {
        self.launch(None).with_context(|| format!("starting the machine {}", self.name))
    }

    /// Starts it new, or from a saved `state`.
    pub(super) fn launch(&self, state: Option<&Path>) -> Result<Running> {
        Missing::check_program(arguments::QEMU, arguments::PACKAGE)?;
        self.disks.iter().try_for_each(Disk::check)?;
        let console = tempfile::tempfile().context("making the console's log")?;
        let (qmp, qemu_qmp) = UnixStream::pair().context("making a control channel")?;
        let (control, qemu_control) = UnixStream::pair().context("making a control channel")?;
        let qemu_console = OwnedFd::from(console.try_clone().context("making the console's log")?);
        let wires = arguments::Wires {
            qmp: qemu_qmp.as_raw_fd(),
            control: qemu_control.as_raw_fd(),
            console: qemu_console.as_raw_fd(),
        };
        let command = arguments::command(self, Accelerator::of_host()?, wires, state)?;
        let inherited = vec![qemu_qmp.into(), qemu_control.into(), qemu_console];
        let process = Process::start(command, inherited)?;
        let qmp = Qmp::greet(qmp).map_err(|error| match process.errors() {
            said if said.is_empty() => error,
            said => anyhow::anyhow!("QEMU said: {}", console::tail(&said, 5)),
        })?;
        Ok(Running::new(self.clone(), process, qmp, Agent::new(control), console))
    }
}
