//! The power goes while volumes are made; the next boot makes them all the same.

use crate::machine::{Bench, DISK, said, wait_for_ready};
use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Vm};
use fs_err as fs;
use qemu_tests::case::case;
use qemu_tests::writelog::{Crash, Unflushed, WriteLog};
use std::path::Path;
use std::process::Command;

/// All on the disk that the machine runs from, so that one log of writes tells the moment of all.
const CUT: &str = r#"
profiles = ["base"]

[[disk]]
name = "system"
select = { bus = ["virtio"], size-min = "10G" }
partition = [{ name = "data", type = "lvm", size = "rest" }]

[[vg]]
name = "main"
devices = ["disk:system/data"]

[[lv]]
name = "data"
vg = "main"
size = "128M"

[[lv]]
name = "db"
vg = "main"
size = "320M"

[[lv]]
name = "old"
vg = "main"
size = "64M"

[[filesystem]]
name = "data"
device = "lv:main/data"
type = "ext4"
mount = "/srv"

[[filesystem]]
name = "db"
device = "lv:main/db"
type = "xfs"
mount = "/srv/db"

[[filesystem]]
name = "old"
device = "lv:main/old"
type = "vfat"
mount = "/srv/old"
"#;

const MOUNTS: &str = "findmnt --raw --noheadings --output=TARGET,FSTYPE | grep ^/srv | sort";

#[test]
fn a_power_cut_while_volumes_are_made_is_survived() {
    survives(&[75]);
}

#[test]
#[ignore = "three more boots: `./qemu-tests/run --test vm -- --ignored`"]
fn a_power_cut_at_other_moments_while_volumes_are_made_is_survived() {
    survives(&[55, 65, 90]);
}

/// Cut at each of these percents of all flushes of a first boot.
fn survives(moments: &[usize]) {
    case(1, || -> Result<()> {
        let bench = Bench::of_node("cut", CUT, &[])?;
        let log = bench.path("log");
        let mut vm = Vm::without_disks().disk(bench.disk().write_log(&log)).start()?;
        wait_for_ready(&mut vm)?;
        vm.cut()?;

        let log = WriteLog::open(&log)?;
        let base = bench.path("base");
        let made = Command::new("cp").arg("--sparse=always").arg(&bench.image).arg(&base).status();
        ensure!(made.context("copying the image")?.success());
        fs::OpenOptions::new().write(true).open(&base)?.set_len(DISK)?;
        moments.iter().try_for_each(|percent| boots_again(&log, &base, &bench.path("crashed"), *percent))
    });
}

/// The power went when so many of the flushes were done.
fn boots_again(log: &WriteLog, base: &Path, crashed: &Path, percent: usize) -> Result<()> {
    let flushes = log.flushes();
    let flush = *flushes.get(flushes.len() * percent / 100).context("a log without flushes")?;
    let crash = Crash { entries: flush + 1, unflushed: Unflushed::Torn(percent as u64) };
    log.disk(base, DISK, crash, crashed)?;

    let mut vm = Vm::without_disks().disk(Disk::file(crashed)).start()?;
    wait_for_ready(&mut vm).with_context(|| format!("cut at {percent} %"))?;
    let steps = said(&mut vm, "journalctl --boot --unit=firstboot --output=cat | grep -A1 ^doing")
        .context("all was made before the cut, which proves nothing")?;
    println!("cut at {percent} %; afterwards it did\n{steps}");
    let mounts = said(&mut vm, MOUNTS)?;
    ensure!(mounts == "/srv ext4\n/srv/db xfs\n/srv/old vfat", "{mounts}");
    for path in ["/srv", "/srv/db", "/srv/old"] {
        said(&mut vm, &format!("echo here >{path}/here && sync {path}/here"))?;
    }
    let failed = said(&mut vm, "systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    vm.power_off()
}
