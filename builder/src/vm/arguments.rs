//! A machine as QEMU's command line.

use super::{Accelerator, Disk, Firmware, Interface, Vm, agent, network};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::os::fd::RawFd;
use std::path::Path;
use std::process::Command;

pub(super) const QEMU: &str = "qemu-system-x86_64";
/// Debian's package of `QEMU`.
pub(super) const PACKAGE: &str = "qemu-system-x86";

/// File descriptors that QEMU inherits: sockets for QMP and the control port, a file for the console.
#[derive(Clone, Copy)]
pub(super) struct Wires {
    pub qmp: RawFd,
    pub control: RawFd,
    pub console: RawFd,
}

/// The command that starts `vm`, from a saved `state` if there is one.
pub(super) fn command(vm: &Vm, accelerator: Accelerator, wires: Wires, state: Option<&Path>) -> Result<Command> {
    let mut command = Command::new(QEMU);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-name", &vm.name.replace(',', ",,")]);
    command.args(["-accel", accelerator.argument(), "-cpu", accelerator.cpu()]);
    command.args(["-smp", &vm.cpus.to_string(), "-m", &vm.memory.to_string()]);
    command.args(["-device", "VGA", "-device", "virtio-rng-pci"]);
    if let Some(base) = &vm.clock {
        command.arg("-rtc").arg(format!("base={base}"));
    }
    firmware(&mut command, vm.firmware)?;
    channels(&mut command, wires);
    disks(&mut command, &vm.disks)?;
    for (index, link) in vm.links.iter().enumerate() {
        command.arg("-netdev").arg(format!("{},id=net{index}", link.netdev()));
        let mac = network::mac(&vm.name, index);
        device(
            &mut command,
            json!({"driver": "virtio-net-pci", "id": format!("card{index}"), "netdev": format!("net{index}"), "mac": mac}),
        );
    }
    if let Some(kernel) = &vm.kernel {
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&kernel.initrd);
        command.arg("-append").arg(&kernel.command_line);
    }
    if let Some(state) = state {
        command.arg("-incoming").arg(format!("exec:cat {}", quoted(state)?));
    }
    command.args(&vm.extra);
    Ok(command)
}

/// `path` for QEMU's `exec:`, which is a shell's command line.
pub(super) fn quoted(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(format!("'{}'", text.replace('\'', r"'\''"))),
        None => bail!("the path {} is not UTF-8, which a saved state needs", path.display()),
    }
}

fn firmware(command: &mut Command, firmware: Firmware) -> Result<()> {
    let secure = firmware == Firmware::SecureBoot;
    command.arg("-machine").arg(if secure { "q35,smm=on" } else { "q35" });
    if secure {
        // The variables are written from System Management Mode only, so that the guest cannot change keys behind
        // OVMF's back; OVMF with SMM does not resume from S3.
        command.args(["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]);
    }
    if let Some(flash) = firmware.flash()? {
        for (unit, path, how) in [(0, &flash.code, "readonly=on"), (1, &flash.variables, "snapshot=on")] {
            command.arg("-drive").arg(format!("if=pflash,unit={unit},format=raw,{how},file={}", escaped(path)?));
        }
    }
    Ok(())
}

fn channels(command: &mut Command, wires: Wires) {
    let Wires { qmp, control, console } = wires;
    command.arg("-chardev").arg(format!("socket,id=qmp,fd={qmp}")).args(["-mon", "chardev=qmp,mode=control"]);
    command.arg("-chardev").arg(format!("file,id=console,append=on,path=/proc/self/fd/{console}"));
    command.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
    command.arg("-chardev").arg(format!("socket,id=control,fd={control}"));
    command.args(["-device", "virtserialport,chardev=control,name=org.mimg.control"]);
    command.args(agent::credentials());
}

fn disks(command: &mut Command, disks: &[Disk]) -> Result<()> {
    let has = |interface| disks.iter().any(|disk| disk.interface == interface);
    if has(Interface::VirtioScsi) {
        device(command, json!({"driver": "virtio-scsi-pci", "id": "scsi"}));
    }
    if has(Interface::UsbStick) {
        device(command, json!({"driver": "qemu-xhci", "id": "usb"}));
    }
    let mut sata = 0..6;
    for (index, disk) in disks.iter().enumerate() {
        drive(command, disk, index)?;
        let port = if disk.interface == Interface::Sata { sata.next() } else { Some(index) };
        let Some(port) = port else { bail!("there are more than 6 SATA disks, which is all the ports there are") };
        plug(command, disk, index, port);
    }
    Ok(())
}

/// What holds the bytes, as `drive{index}`.
fn drive(command: &mut Command, disk: &Disk, index: usize) -> Result<()> {
    let format = disk.format.name();
    if disk.forgets {
        let file = escaped(&disk.path)?;
        command.arg("-drive").arg(format!("if=none,id=drive{index},format={format},snapshot=on,file={file}"));
        return Ok(());
    }
    // The host's disk need not be flushed: what a test asks for after a power cut is made from a write log.
    let cache = json!({"direct": false, "no-flush": true});
    let file = json!({"driver": "file", "filename": disk.path, "cache": cache});
    let bytes = json!({"driver": format, "file": file, "discard": "unmap", "cache": cache});
    let mut node = match &disk.log {
        None => bytes,
        Some(log) => {
            // Truncated here: QEMU writes over an older log and leaves its tail.
            fs_err::File::create(log)?;
            let log = json!({"driver": "file", "filename": log, "cache": cache});
            json!({"driver": "blklogwrites", "file": bytes, "log": log, "log-sector-size": 512})
        }
    };
    node["node-name"] = format!("drive{index}").into();
    command.arg("-blockdev").arg(node.to_string());
    Ok(())
}

/// The device that the guest sees, as `disk{index}`. virtio-blk and NVMe sit in a slot, so that they can be pulled out.
fn plug(command: &mut Command, disk: &Disk, index: usize, port: usize) {
    let slot = format!("slot{index}");
    if matches!(disk.interface, Interface::VirtioBlk | Interface::Nvme) {
        device(command, json!({"driver": "pcie-root-port", "id": slot, "chassis": index + 1}));
    }
    let serial = disk.serial.clone();
    let mut plug = match disk.interface {
        Interface::VirtioBlk => json!({"driver": "virtio-blk-pci", "bus": slot}),
        Interface::VirtioScsi => json!({"driver": "scsi-hd", "bus": "scsi.0", "scsi-id": index}),
        Interface::Sata => json!({"driver": "ide-hd", "bus": format!("ide.{port}")}),
        Interface::UsbStick => json!({"driver": "usb-storage", "bus": "usb.0", "removable": true}),
        Interface::Nvme => {
            let serial = serial.clone().unwrap_or_else(|| format!("nvme{index}"));
            device(command, json!({"driver": "nvme", "id": format!("nvme{index}"), "bus": slot, "serial": serial}));
            json!({"driver": "nvme-ns", "bus": format!("nvme{index}")})
        }
    };
    plug["id"] = format!("disk{index}").into();
    plug["drive"] = format!("drive{index}").into();
    plug["bootindex"] = index.into();
    if let Some(serial) = serial.filter(|_| disk.interface != Interface::Nvme) {
        plug["serial"] = serial.into();
    }
    if let Some(wwn) = disk.wwn {
        plug[if disk.interface == Interface::Nvme { "eui64" } else { "wwn" }] = wwn.into();
    }
    if let Some(sector) = disk.sector {
        plug["logical_block_size"] = sector.into();
        plug["physical_block_size"] = sector.into();
    }
    device(command, plug);
}

fn device(command: &mut Command, device: Value) {
    command.arg("-device").arg(device.to_string());
}

/// `path` as a value in QEMU's `key=value,...` lists.
fn escaped(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.replace(',', ",,")),
        None => bail!("the path {} is not UTF-8, which QEMU's options need", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::{Link, Segment};

    fn line(vm: &Vm) -> Vec<String> {
        let wires = Wires { qmp: 3, control: 4, console: 5 };
        let command = command(vm, Accelerator::Tcg, wires, None).unwrap();
        command.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_image_under_test_is_never_written_to() {
        let line = line(&Vm::new(Path::new("/images/a,b.img")));
        let drive = line.iter().find(|argument| argument.contains("a,,b.img")).unwrap();
        assert_eq!(drive, "if=none,id=drive0,format=raw,snapshot=on,file=/images/a,,b.img");
    }

    #[test]
    fn nothing_reaches_out_without_a_link() {
        let alone = Vm::new(Path::new("a.img"));
        assert!(!line(&alone).contains(&"-netdev".to_owned()));
        let linked = line(&alone.link(Link::Host { ports: vec![22] }).link(Link::Segment(Segment::new())));
        assert!(linked.contains(&"user,restrict=on,hostfwd=tcp:127.0.0.1:0-:22,id=net0".to_owned()), "{linked:?}");
    }

    #[test]
    fn each_interface_carries_its_serial() {
        for interface in
            [Interface::VirtioBlk, Interface::VirtioScsi, Interface::Sata, Interface::Nvme, Interface::UsbStick]
        {
            let line = line(&Vm::without_disks().disk(Disk::snapshot("a.img").interface(interface).serial("S1")));
            assert!(line.iter().any(|argument| argument.contains(r#""serial":"S1""#)), "{line:?}");
        }
    }

    #[test]
    fn a_seventh_sata_disk_is_refused() {
        let vm = (0..7).fold(Vm::without_disks(), |vm, _| vm.disk(Disk::snapshot("a.img").interface(Interface::Sata)));
        let wires = Wires { qmp: 3, control: 4, console: 5 };
        assert!(command(&vm, Accelerator::Tcg, wires, None).unwrap_err().to_string().contains("6 SATA"));
    }

    #[test]
    fn a_quote_in_a_path_stays_in_the_path() {
        assert_eq!(quoted(Path::new("/a'b")).unwrap(), r"'/a'\''b'");
    }
}
