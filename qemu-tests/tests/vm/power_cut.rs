//! The power goes in the middle of firstboot; the next boot makes the machine ready all the same.

use crate::machine::{Bench, DISK, root_size, said, wait_for_ready};
use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Firmware, Vm};
use fs_err as fs;
use qemu_tests::case::case;
use qemu_tests::writelog::{Crash, Unflushed, WriteLog};
use std::process::Command;

const ECCLES: &str = "profiles = [\"nuc\"]\ntimezone = \"Europe/Berlin\"\n[swap]\nsize = \"256M\"\n";

/// The machine's disk is made from the log of its writes: what was flushed is there, of the rest some sectors are,
/// torn and out of order. A killed QEMU alone would lose nothing and prove nothing.
#[test]
fn a_power_cut_in_the_middle_of_firstboot_is_survived() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let seed = bench.seed(ECCLES)?;
        let (log, crashed) = (bench.path("log"), bench.path("crashed"));
        let mut vm = Vm::without_disks().disk(bench.disk().write_log(&log)).disk(seed.clone()).start()?;
        wait_for_ready(&mut vm)?;
        vm.cut()?;

        // firstboot flushes after every act, the boot before it hardly ever: most flushes are firstboot's.
        let log = WriteLog::open(&log)?;
        let flushes = log.flushes();
        let middle = *flushes.get(flushes.len() * 2 / 3).context("a log without flushes")?;
        println!("cut behind {middle} of {} entries, {} of them flushes", log.entries().len(), flushes.len());
        let crash = Crash { entries: middle + 1, unflushed: Unflushed::Torn(20_25) };
        let base = bench.path("base");
        let made = Command::new("cp").args(["--sparse=always"]).arg(&bench.image).arg(&base).status();
        ensure!(made.context("copying the image")?.success());
        fs::OpenOptions::new().write(true).open(&base)?.set_len(DISK)?;
        log.disk(&base, DISK, crash, &crashed)?;

        let mut vm = Vm::without_disks().firmware(Firmware::Bios).disk(Disk::file(&crashed)).disk(seed).start()?;
        let report = wait_for_ready(&mut vm)?;
        ensure!(report.node.as_deref() == Some("eccles"));
        ensure!(!report.done.is_empty(), "everything was done before the cut: it proves nothing");
        ensure!(root_size(&mut vm)? == 8 << 30);
        ensure!(said(&mut vm, "swapon --show=NAME --noheadings --raw")? == "/swapfile");
        said(&mut vm, "ssh-keygen -y -P '' -f /etc/ssh/ssh_host_ed25519_key")?;
        vm.power_off()
    });
}
