//! Partition tables on real block devices: written, extended, renamed, and read back by others' tools.

use crate::loops::{Loop, leave};
use firstboot::machine::Machine;
use firstboot::unit::Systemd;
use profiles::act::Act;
use profiles::ask::{Answer, Ask, Probe, Slice, Table};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

fn machine() -> Machine {
    Machine::new("/", Systemd::at("unix:path=/nonexistent/bus"))
}

fn guid(number: u128) -> String {
    Uuid::from_u128(number << 64 | 7).to_string()
}

/// A partition from MiB `first` up to MiB `end`.
fn slice(sector: u64, number: u32, first: u64, end: u64) -> Slice {
    let (first, last) = (first * MIB / sector, end * MIB / sector - 1);
    Slice { number, guid: guid(number.into()), kind: LINUX.to_owned(), name: format!("part-{number}"), first, last }
}

fn act(disk: &Loop, table: u128, slices: &[Slice], fresh: bool) -> Act {
    Act::Table { disk: disk.device.clone(), guid: guid(table), slices: slices.to_vec(), fresh }
}

async fn table(disk: &Loop) -> Option<Table> {
    match machine().answer(&Ask::Gpt(disk.device.clone())).await.unwrap() {
        Answer::Gpt(table) => table,
        other => panic!("{other:?}"),
    }
}

async fn probe(device: &str) -> Probe {
    match machine().answer(&Ask::Probe(device.to_owned())).await.unwrap() {
        Answer::Probe(Some(probe)) => probe,
        other => panic!("{other:?}"),
    }
}

fn sound(disk: &Loop) {
    let checked = Command::new("sgdisk").args(["--verify", &disk.device]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("No problems found"), "{said}");
}

#[tokio::test]
async fn a_new_table_takes_a_disk_whatever_was_on_it_and_the_kernel_has_its_partitions() {
    let Some(_leave) = leave().await else { return };
    for sector in [512, 4096] {
        let disk = Loop::new(sector, 64 * MIB);
        disk.file.as_file().write_all_at(&vec![0xa5; 64 * MIB as usize], 0).unwrap();
        let old = [slice(sector, 1, 1, 9), slice(sector, 2, 9, 11)];
        machine().act(&act(&disk, 90, &old, true)).await.unwrap();
        let new = [slice(sector, 1, 1, 5), slice(sector, 2, 9, 40)];
        for _ in 0..2 {
            machine().act(&act(&disk, 91, &new, true)).await.unwrap();
        }
        let seen = table(&disk).await.unwrap();
        assert_eq!((seen.guid, seen.primary, seen.backup), (guid(91), true, 64 * MIB / sector - 1));
        assert_eq!(seen.partitions, new);
        assert_eq!(disk.kernel(), [(1, 2048, 4 * 2048), (2, 9 * 2048, 31 * 2048)]);
        sound(&disk);
        let seen = probe(&disk.device).await;
        let kinds: Vec<&str> = seen.signatures.iter().map(|signature| signature.kind.as_str()).collect();
        assert_eq!(kinds, ["PMBR", "gpt", "gpt"]);

        // Between partitions there is nothing left; in them all is as it was.
        let mut bytes = vec![0; 64 * MIB as usize];
        disk.file.as_file().read_exact_at(&mut bytes, 0).unwrap();
        let is = |from: u64, to: u64, byte: u8| bytes[from as usize..to as usize].iter().all(|seen| *seen == byte);
        assert!(is(2 * sector + 16384, MIB, 0) && is(5 * MIB, 6 * MIB, 0) && is(8 * MIB, 9 * MIB, 0));
        assert!(is(40 * MIB, 41 * MIB, 0) && is(63 * MIB, 64 * MIB - 16384 - sector, 0));
        assert!(is(MIB, 5 * MIB, 0xa5) && is(12 * MIB, 40 * MIB, 0xa5));
    }
}

#[tokio::test]
async fn partitions_in_use_stay_while_others_are_added_and_get_new_names() {
    let Some(_leave) = leave().await else { return };
    for sector in [512, 4096] {
        let disk = Loop::new(sector, 64 * MIB);
        machine().act(&act(&disk, 90, &[slice(sector, 1, 1, 9)], true)).await.unwrap();
        // As a mount does, it takes the partition for itself.
        let held = std::fs::File::options().read(true).custom_flags(libc::O_EXCL).open(disk.partition(1)).unwrap();
        let fresh = machine().act(&act(&disk, 91, &[slice(sector, 1, 1, 9)], true)).await.unwrap_err();
        assert!(format!("{fresh:#}").contains("for this alone"), "{fresh:#}");

        let mut both = vec![slice(sector, 1, 1, 9), slice(sector, 2, 9, 20)];
        both[1].guid = guid(77);
        machine().act(&act(&disk, 90, &both, false)).await.unwrap();
        both[1].guid = guid(2);
        machine().act(&act(&disk, 92, &both, false)).await.unwrap();
        let seen = table(&disk).await.unwrap();
        assert_eq!((seen.guid, seen.partitions), (guid(92), both.clone()));
        assert_eq!(disk.kernel(), [(1, 2048, 8 * 2048), (2, 9 * 2048, 11 * 2048)]);
        sound(&disk);

        // What is there cannot be moved, changed or left out.
        for wrong in [vec![both[1].clone()], vec![slice(sector, 1, 1, 8), both[1].clone()]] {
            let error = machine().act(&act(&disk, 92, &wrong, false)).await.unwrap_err();
            assert!(format!("{error:#}").contains("partition 1 is at LBA"), "{error:#}");
        }
        let mut other = both.clone();
        other[0].kind = guid(5);
        let error = machine().act(&act(&disk, 92, &other, false)).await.unwrap_err();
        assert!(format!("{error:#}").contains("another type"), "{error:#}");
        drop(held);
    }
}

#[tokio::test]
async fn a_device_is_blanked_at_both_ends_unless_it_is_in_use() {
    let Some(_leave) = leave().await else { return };
    let disk = Loop::new(512, 16 * MIB);
    machine().act(&act(&disk, 90, &[slice(512, 1, 1, 9)], true)).await.unwrap();
    let part = disk.partition(1);
    assert!(Command::new("mke2fs").args(["-q", "-t", "ext4", &part]).status().unwrap().success());
    assert!(!probe(&part).await.blank);
    let blank = Act::Blank { device: part.clone() };
    let held = std::fs::File::options().read(true).custom_flags(libc::O_EXCL).open(&part).unwrap();
    machine().act(&blank).await.unwrap_err();
    drop(held);
    machine().act(&blank).await.unwrap();
    assert_eq!(probe(&part).await, Probe { signatures: vec![], blank: true });
}
