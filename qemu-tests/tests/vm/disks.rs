//! A machine with disks of all kinds: partitioned once, known again wherever they are plugged in, and those that nobody
//! named left as they were.

use crate::machine::{Bench, said, wait_for_ready};
use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Firmware, Interface, Running};
use qemu_tests::case::case;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
/// The disk that the machine boots from gets a second slot and a partition behind its root; an NVMe disk of 4096-byte
/// sectors and a pair of SATA disks get tables of their own.
const ECCLES: &str = r#"
profiles = ["nuc"]

[[disk]]
name = "system"
select = { bus = ["virtio"], size-min = "20G" }
[[disk.partition]]
name = "data"
type = "lvm"
size = "rest"

[[disk]]
name = "fast"
select = { bus = ["nvme"] }
[[disk.partition]]
name = "zfs"
type = "zfs"
size = "rest"

[[disk]]
name = "pair"
count = 2
select = { bus = ["sata"] }
[[disk.partition]]
name = "esp"
type = "esp"
size = "64M"
[[disk.partition]]
name = "raid"
type = "raid"
size = "rest"
"#;

/// Blank disks that the settings mean, and one of somebody's, that they do not.
fn disks(bench: &Bench) -> Result<[Disk; 4]> {
    let theirs = Disk::blank(bench.path("theirs"), 64 * MIB)?.interface(Interface::VirtioScsi).serial("THEIRS");
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "photos"]).arg(bench.path("theirs")).status()?;
    ensure!(made.success(), "mke2fs ended with {made}");
    Ok([
        theirs,
        Disk::blank(bench.path("fast"), 256 * MIB)?.interface(Interface::Nvme).serial("FAST1").sector_size(4096),
        Disk::blank(bench.path("one"), 256 * MIB)?.interface(Interface::Sata).serial("PAIR1"),
        Disk::blank(bench.path("two"), 300 * MIB)?.interface(Interface::Sata).serial("PAIR2"),
    ])
}

/// Each partition of ours with what its link leads to.
fn links(vm: &mut Running) -> Result<Vec<String>> {
    let said =
        said(vm, "lsblk --noheadings --raw --output=SERIAL,PARTUUID,NAME,PKNAME | sort; ls -l /dev/disk/by-partuuid")?;
    ensure!(!said.contains("No such file"), "{said}");
    let leads =
        |guid: &str| said.lines().find_map(|line| line.split_once(&format!("{guid} -> ../../")).map(|(_, to)| to));
    let names = said.lines().filter_map(|line| line.strip_prefix(' '));
    let mut links = Vec::new();
    for (guid, name) in names.filter_map(|line| line.split_once(' ').filter(|(guid, _)| guid.len() == 36)) {
        let name = name.split(' ').next().unwrap_or(name);
        ensure!(leads(guid) == Some(name), "{guid} leads to {:?}, and is {name}", leads(guid));
        links.push(guid.to_owned());
    }
    links.sort();
    Ok(links)
}

fn digest(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output().context("running sha256sum")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn disks_are_partitioned_once_and_known_again_anywhere() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let [theirs, fast, one, two] = disks(&bench)?;
        let before = digest(&bench.path("theirs"))?;
        let plugged = vec![bench.seed(ECCLES)?, theirs.clone(), fast.clone(), one.clone(), two.clone()];
        let mut vm = bench.start(Firmware::Bios, plugged)?;
        wait_for_ready(&mut vm)?;
        let first = links(&mut vm)?;
        ensure!(first.len() == 3 + 2 + 1 + 2 * 2, "{first:?}");
        let plan = said(&mut vm, "firstboot plan")?;
        ensure!(
            ["system/0", "fast/0", "pair/0", "pair/1"].iter().all(|slot| plan.contains(&format!(": {slot}; has "))),
            "{plan}"
        );
        ensure!(plan.matches(". keep ").count() == 4, "{plan}");
        vm.power_off()?;
        ensure!(digest(&bench.path("theirs"))? == before, "a disk that nobody named was changed");

        // Other ports, other names, another firmware.
        let mut vm = bench.start(Firmware::Uefi, vec![two, one, theirs, fast])?;
        let report = wait_for_ready(&mut vm)?;
        ensure!(report.done.is_empty(), "a second boot did {:?}", report.done);
        ensure!(links(&mut vm)? == first);
        vm.power_off()?;
        ensure!(digest(&bench.path("theirs"))? == before, "a disk that nobody named was changed");
        Ok(())
    });
}
