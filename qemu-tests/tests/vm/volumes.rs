//! Two disks of which an array, a group, volumes and file systems are made; a third that nobody named stays as it is. Then
//! another boot, a new system, larger volumes, and a new disk.

use crate::machine::{Bench, DISK, said, wait_for_ready, wait_for_report};
use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Format, Running, Vm};
use profiles::report::Report;
use qemu_tests::case::case;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

const STORE: &str = r#"
profiles = ["base"]

[[disk]]
name = "pair"
count = 2
select = { bus = ["virtio"], size-min = "1G", size-max = "1G" }
partition = [{ name = "raid", type = "raid", size = "rest" }]

[[md]]
name = "data"
level = "1"
devices = ["disk:pair/raid"]

[[vg]]
name = "main"
devices = ["md:data"]

[[lv]]
name = "data"
vg = "main"
size = "256M"

[[lv]]
name = "db"
vg = "main"
size = "320M"

[[lv]]
name = "swap"
vg = "main"
size = "64M"

[[lv]]
name = "crypt"
vg = "main"
size = "64M"

[[lv]]
name = "old"
vg = "main"
size = "48M"

[[luks]]
name = "secret"
device = "lv:main/crypt"
key = "/etc/mimg/keys/secret"

[[filesystem]]
name = "data"
device = "lv:main/data"
type = "ext4"
mount = "/srv"

[[filesystem]]
name = "db"
device = "lv:main/db"
type = "xfs"
mount = "/srv/my-db"
options = ["noatime"]

[[filesystem]]
name = "secret"
device = "luks:secret"
type = "ext4"
mount = "/srv/secret"

[[filesystem]]
name = "swap"
device = "lv:main/swap"
type = "swap"

[[filesystem]]
name = "old"
device = "lv:main/old"
type = "vfat"
mount = "/srv/old"
"#;

/// What is mounted, and with what.
const MOUNTS: &str = "findmnt --raw --noheadings --output=TARGET,FSTYPE | grep ^/srv | sort";
const MOUNTED: &str = "/srv ext4\n/srv/my-db xfs\n/srv/old vfat\n/srv/secret ext4";
const RECORD: &str = "/var/lib/mimg/record.jsonl";

#[test]
fn volumes_are_made_once_adopted_by_a_new_system_grown_in_use_and_given_a_new_disk() {
    case(1, || -> Result<()> {
        let bench = Bench::of_node("store", STORE, &[("etc/mimg/keys/secret", "not so secret\n")])?;
        let disk = |name: &str| Disk::blank(bench.path(name), 1 << 30).map(|disk| disk.serial(name.to_uppercase()));
        let (one, two) = (disk("one")?, disk("two")?);
        let other = somebody_elses(&bench)?;
        let boot = |disks: [&Disk; 4]| disks.into_iter().cloned().fold(Vm::without_disks(), Vm::disk).start();

        let before = hash(&bench, "other")?;
        let mut vm = boot([&bench.disk(), &one, &other, &two])?;
        are_made(&mut vm)?;
        ensure!(hash(&bench, "other")? == before, "a disk that nobody named was written to");
        // Now it holds what LVM and mdadm would take in by themselves: a group of our group's name, and half an array.
        said(&mut vm, OTHER)?;
        let record = said(&mut vm, &format!("wc -l <{RECORD}"))?;
        vm.power_off()?;
        let before = hash(&bench, "other")?;

        // The disks stand elsewhere now.
        let mut vm = boot([&bench.disk(), &other, &two, &one])?;
        let report = wait_for_ready(&mut vm)?;
        let again = said(&mut vm, &format!("wc -l <{RECORD}"))?;
        ensure!(again == record, "a second boot did {:?}", report.done);
        are_kept(&mut vm)?;
        vm.power_off()?;

        let fresh = Disk::overlay(&bench.image, Format::Raw, bench.path("fresh"), Some(DISK))?;
        let mut vm = boot([&fresh, &one, &two, &other])?;
        are_adopted(&mut vm)?;
        grow_while_mounted(&mut vm)?;
        vm.power_off()?;

        // One of the pair is gone for good.
        fs_err::remove_file(bench.path("two"))?;
        let mut vm = boot([&fresh, &one, &other, &disk("new")?])?;
        take_a_new_disk(&mut vm)?;
        vm.power_off()?;
        ensure!(hash(&bench, "other")? == before, "a disk that nobody named was written to");
        Ok(())
    });
}

/// A disk that the settings do not mean, with a file system on the first of its two partitions.
fn somebody_elses(bench: &Bench) -> Result<Disk> {
    let disk = Disk::blank(bench.path("other"), 512 << 20)?.serial("OTHER");
    let other = bench.path("other");
    let mut table = Command::new("sgdisk");
    table.args(["--new=1:1M:+256M", "--new=2:0:0"]).arg(&other);
    let mut system = Command::new("mke2fs");
    system.args(["-q", "-t", "ext4", "-E", "offset=1048576"]).arg(&other).arg("256M");
    for mut command in [table, system] {
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(disk)
}

/// On the disk that nobody named: a group called main with a volume, and one of two members of an array. LVM makes no group
/// whose folder in /dev is there already, as that of our group is: so it is shown another folder.
const OTHER: &str = "set -e; disk=/dev/disk/by-id/virtio-OTHER; wipefs --all --quiet $disk-part1; \
    vgcreate --quiet --devices $disk-part1 --config 'devices/dir=\"/run\"' main $disk-part1; \
    lvcreate --quiet --devices $disk-part1 --activate n --zero n --size 64M --name data main; \
    mdadm --create /dev/md/other --run --level=1 --raid-devices=2 --metadata=1.2 $disk-part2 missing; \
    mdadm --stop /dev/md/other";

fn hash(bench: &Bench, name: &str) -> Result<String> {
    let output = Command::new("sha256sum").arg(bench.path(name)).output().context("starting sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The first boot, and a file on each file system.
fn are_made(vm: &mut Running) -> Result<()> {
    wait_for_ready(vm)?;
    all_is_there(vm)?;
    for mount in MOUNTED.lines().filter_map(|line| line.split(' ').next()) {
        said(vm, &format!("echo kept >{mount}/here && sync {mount}/here"))?;
    }
    Ok(())
}

fn all_is_there(vm: &mut Running) -> Result<()> {
    let facts = [
        (MOUNTS, MOUNTED),
        ("mdadm --detail /dev/md/data | grep -E 'Raid Level|Working Devices' | sed 's/.* : //'", "raid1\n2"),
        ("findmnt --noheadings --output=OPTIONS /srv/my-db | grep -o noatime", "noatime"),
        ("swapon --show=NAME,SIZE --noheadings --bytes --raw | wc -l", "1"),
        ("dmsetup info --columns --noheadings --options=name | grep -c main-data", "1"),
        ("ls /dev/md", "data"),
        ("systemctl --failed --no-legend --plain", ""),
    ];
    for (command, expected) in facts {
        let answer = said(vm, command)?;
        ensure!(answer == expected, "{command}: {answer:?}, expected {expected:?}");
    }
    Ok(())
}

fn are_kept(vm: &mut Running) -> Result<()> {
    all_is_there(vm)?;
    let kept = said(vm, "cat /srv/here /srv/my-db/here /srv/old/here /srv/secret/here")?;
    ensure!(kept == "kept\nkept\nkept\nkept", "{kept}");
    Ok(())
}

/// A new system of the same node finds what the old one made, and says what it took over.
fn are_adopted(vm: &mut Running) -> Result<()> {
    wait_for_ready(vm)?;
    let record = said(vm, &format!("cat {RECORD}"))?;
    for part in ["md data", "vg main", "filesystem data", "filesystem secret", "filesystem swap"] {
        let line = record.lines().find(|line| line.contains(&format!("\"part\":\"{part}\"")));
        ensure!(line.is_some_and(|line| line.contains("adopted with all that is on it")), "{part}: {line:?}");
    }
    for making in ["--create", "pvcreate", "vgcreate", "lvcreate", "luksFormat", "mkfs", "mkswap", "partition table"] {
        ensure!(!record.contains(making), "{making} in {record}");
    }
    are_kept(vm)
}

/// The place of the lost disk is given to a new one; meanwhile all is there.
fn take_a_new_disk(vm: &mut Running) -> Result<()> {
    let report = wait_for_report(vm, "a refusal of the new disk", |report| report.plan.refused())?;
    ensure!(report.to_string().contains("`firstboot replace pair/1`"), "{report}");
    vm.wait_for("what stands on one half of the array", Duration::from_secs(120), |vm| {
        let mounts = vm.shell(MOUNTS)?.out;
        Ok(if mounts.trim() == MOUNTED { ControlFlow::Break(()) } else { ControlFlow::Continue(mounts) })
    })?;
    said(vm, "firstboot replace pair/1")?;
    are_kept(vm)?;
    vm.wait_for("an array that is whole again", Duration::from_secs(300), |vm| {
        let state = said(vm, "cat /sys/class/block/$(basename $(readlink -f /dev/md/data))/md/degraded")?;
        Ok(if state == "0" { ControlFlow::Break(()) } else { ControlFlow::Continue(state) })
    })
}

/// Two volumes are written larger in the Spec; nobody is asked to leave them.
fn grow_while_mounted(vm: &mut Running) -> Result<()> {
    said(vm, "sed --in-place 's/\"256M\"/\"320M\"/; s/\"64M\"/\"96M\"/' /usr/share/mimg/spec.json")?;
    let plan = vm.shell("firstboot plan")?;
    ensure!(plan.out.contains("lvextend") && plan.out.contains("resize2fs"), "{}{}", plan.out, plan.err);
    let before = said(vm, "stat --file-system --format='%b %S' /srv /srv/secret")?;
    // The encrypted one grows by three: its volume, its mapping, its file system.
    let applied = said(vm, "firstboot apply --json")?;
    let report: Report = serde_json::from_str(&applied).with_context(|| applied.clone())?;
    ensure!(report.ready, "{report}");
    let after = said(vm, "stat --file-system --format='%b %S' /srv /srv/secret")?;
    let grown = |text: &str| -> Result<Vec<u64>> {
        let bytes = |line: &str| {
            let (blocks, size) = line.split_once(' ').context("two numbers")?;
            Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
        };
        text.lines().map(bytes).collect()
    };
    for (before, after) in grown(&before)?.into_iter().zip(grown(&after)?) {
        ensure!(after >= before + (28 << 20), "{before} bytes before, {after} after");
    }
    are_kept(vm)
}
