//! Two disks of which an array, a group, volumes and file systems are made; a third that nobody named stays as it is.

use crate::machine::{Bench, said, wait_for_ready};
use anyhow::{Context, Result, ensure};
use builder::vm::{Disk, Running, Vm};
use profiles::report::Report;
use qemu_tests::case::case;
use std::process::Command;

const STORE: &str = r#"
profiles = ["base"]

[[disk]]
name = "pair"
count = 2
select = { bus = ["virtio"], size-min = "2G", size-max = "2G" }
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
"#;

/// What is mounted, and with what.
const MOUNTS: &str = "findmnt --raw --noheadings --output=TARGET,FSTYPE --list | grep ^/srv | sort";
const MOUNTED: &str = "/srv ext4\n/srv/my-db xfs\n/srv/secret ext4";

#[test]
fn volumes() {
    case(1, || -> Result<()> {
        let bench = Bench::of_node("store", STORE, &[("etc/mimg/keys/secret", "not so secret\n")])?;
        let disks = [("pair-1", "ONE"), ("pair-2", "TWO")]
            .map(|(name, serial)| Disk::blank(bench.path(name), 2 << 30).map(|disk| disk.serial(serial)));
        let [one, two] = disks;
        let (one, two) = (one?, two?);
        let other = Disk::blank(bench.path("other"), 1 << 30)?.serial("OTHER");
        let made = Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(bench.path("other")).status();
        ensure!(made.context("making a file system on the disk that nobody named")?.success());
        let before = hash(&bench, "other")?;
        let vm = Vm::without_disks().disk(bench.disk()).disk(one.clone()).disk(other.clone()).disk(two.clone());

        let mut vm = vm.start()?;
        wait_for_ready(&mut vm)?;
        all_is_there(&mut vm)?;
        for path in ["/srv/here", "/srv/my-db/here", "/srv/secret/here"] {
            said(&mut vm, &format!("echo kept >{path} && sync {path}"))?;
        }
        ensure!(hash(&bench, "other")? == before, "a disk that nobody named was written to");
        // Now it holds what LVM and mdadm would take in by themselves: a group of our group's name, and half an array.
        said(&mut vm, OTHER)?;
        let record = said(&mut vm, "wc -l </var/lib/mimg/record.jsonl")?;
        vm.power_off()?;
        let before = hash(&bench, "other")?;

        // The disks stand elsewhere now.
        let vm = Vm::without_disks().disk(bench.disk()).disk(other).disk(two).disk(one);
        let mut vm = vm.start()?;
        let report = wait_for_ready(&mut vm)?;
        ensure!(said(&mut vm, "wc -l </var/lib/mimg/record.jsonl")? == record, "a second boot did {:?}", report.done);
        all_is_there(&mut vm)?;
        let kept = said(&mut vm, "cat /srv/here /srv/my-db/here /srv/secret/here")?;
        ensure!(kept == "kept\nkept\nkept", "{kept}");
        ensure!(hash(&bench, "other")? == before, "a disk that nobody named was written to at boot");
        grows_while_mounted(&mut vm)?;
        ensure!(hash(&bench, "other")? == before, "a disk that nobody named was written to by `firstboot apply`");
        vm.power_off()
    });
}

/// On the disk that nobody named: a group called main with a volume, and one of two members of an array.
const OTHER: &str = "set -e; disk=/dev/disk/by-id/virtio-OTHER; wipefs --all --quiet $disk; \
    echo ',256M,lvm\n,,raid' | sfdisk --quiet --label gpt $disk; udevadm settle; \
    vgcreate --quiet --devices $disk-part1 main $disk-part1; \
    lvcreate --quiet --devices $disk-part1 --activate n --zero n --size 64M --name data main; \
    mdadm --create /dev/md/other --run --level=1 --raid-devices=2 --metadata=1.2 $disk-part2 missing; \
    mdadm --stop /dev/md/other";

fn hash(bench: &Bench, name: &str) -> Result<String> {
    let output = Command::new("sha256sum").arg(bench.path(name)).output().context("starting sha256sum")?;
    ensure!(output.status.success(), "sha256sum: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
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

/// Two volumes are written larger in the Spec; nobody is asked to leave them.
fn grows_while_mounted(vm: &mut Running) -> Result<()> {
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
    let kept = said(vm, "cat /srv/here /srv/my-db/here /srv/secret/here")?;
    ensure!(kept == "kept\nkept\nkept", "{kept}");
    Ok(())
}
