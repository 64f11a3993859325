//! The machines themselves, tried with a real system: several from one saved state on one network, and what a disk that
//! lost its cache still holds.

use crate::machine::{Bench, DISK, said};
use anyhow::{Context, Result, ensure};
use builder::vm::{Link, Running, Segment, Vm};
use qemu_tests::case::case;
use qemu_tests::writelog::{Crash, Unflushed, WriteLog};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(180);

/// Gives the only network card another MAC address (both machines have the saved one's) and the address 10.9.8.`host`.
fn join(vm: &mut Running, host: u8) -> Result<()> {
    let card = said(vm, "basename /sys/class/net/e*")?;
    said(
        vm,
        &format!("ip link set {card} address 52:54:00:00:00:0{host} up && ip addr add 10.9.8.{host}/24 dev {card}"),
    )?;
    Ok(())
}

#[test]
fn two_machines_go_on_from_one_saved_state_and_reach_each_other() {
    case(2, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let vm = Vm::without_disks().disk(bench.disk()).link(Link::Segment(Segment::new()));
        let mut vm = vm.start()?;
        vm.wait_for_boot(LONG)?;
        // networkd would take the address away that it does not know.
        said(&mut vm, "systemctl stop systemd-networkd.socket systemd-networkd.service 2>/dev/null || true")?;
        let booted = said(&mut vm, "cat /proc/sys/kernel/random/boot_id")?;
        let saved = vm.save(bench.path("state"))?;

        let (mut one, mut two) = (saved.start()?, saved.start()?);
        ensure!(said(&mut one, "cat /proc/sys/kernel/random/boot_id")? == booted);
        join(&mut one, 1)?;
        join(&mut two, 2)?;
        one.wait_for("an answer from the other machine", LONG, |vm| {
            let ping = vm.shell("ping -c 1 -W 2 10.9.8.2")?;
            Ok(if ping.rc == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(ping.out) })
        })?;
        two.set_link(0, false)?;
        ensure!(one.shell("ping -c 1 -W 2 10.9.8.2")?.rc != 0, "it answers through a cable that was pulled");
        Ok(())
    });
}

#[test]
fn a_disk_that_loses_its_cache_has_kept_what_was_synced() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let (log, out) = (bench.path("log"), bench.path("out"));
        let mut vm = Vm::without_disks().disk(bench.disk().write_log(&log)).start()?;
        vm.wait_for_boot(LONG)?;
        said(&mut vm, "sync; echo synced >/root/kept && sync /root/kept")?;
        // What is dirty stays in memory from here on, however slow the machine is.
        said(&mut vm, "echo 0 >/proc/sys/vm/dirty_writeback_centisecs")?;
        said(&mut vm, "dd if=/dev/zero of=/root/lost bs=1M count=8 conv=notrunc status=none")?;
        vm.cut()?;

        let log = WriteLog::open(&log)?;
        ensure!(!log.flushes().is_empty(), "Linux flushed nothing: the log says little");
        let crash = Crash { entries: log.entries().len(), unflushed: Unflushed::Lost };
        log.disk(&bench.image, DISK, crash, &out)?;
        let root = root(&out)?;
        ensure!(debugfs(&root, "cat /root/kept")? == "synced\n");
        ensure!(!debugfs(&root, "cat /root/lost")?.contains('\0'), "what was never written out is there");
        Ok(())
    });
}

/// The root file system in the `disk`, in a file of its own (e2fsck replays no journal at an offset) and mended as at boot.
fn root(disk: &Path) -> Result<PathBuf> {
    let table = Command::new("sfdisk").arg("--json").arg(disk).output().context("starting sfdisk")?;
    let table: serde_json::Value = serde_json::from_slice(&table.stdout).context("reading the partition table")?;
    let partition = &table["partitiontable"]["partitions"][2];
    let bytes = |key: &str| partition[key].as_u64().map(|sectors| sectors * 512).context("finding the root partition");
    let root = disk.with_extension("root");
    let mut dd = Command::new("dd");
    dd.args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"]);
    dd.args([format!("skip={}", bytes("start")?), format!("count={}", bytes("size")?)]);
    dd.arg(format!("if={}", disk.display())).arg(format!("of={}", root.display()));
    ensure!(dd.status().context("starting dd")?.success(), "dd copied no root file system");
    let check = Command::new("e2fsck").arg("-p").arg(&root).output().context("starting e2fsck")?;
    let mended = check.status.code().is_some_and(|code| code <= 1);
    ensure!(mended, "e2fsck: {}", String::from_utf8_lossy(&check.stdout));
    Ok(root)
}

fn debugfs(root: &Path, command: &str) -> Result<String> {
    let output = Command::new("debugfs").args(["-R", command]).arg(root).output().context("starting debugfs")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
