//! `[[disk]]` on real block devices: planned, done step by step, cut off at any write, and planned again.

use crate::bench::{Bench, MIB, fingerprint, machine, spec};
use crate::loops::{Loop, leave};
use firstboot::table::Disk;
use profiles::act::Act;
use profiles::ask::{Answer, Ask, Slice, Table};
use profiles::plan::Verdict;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use tempfile::NamedTempFile;

const SYSTEM: &str = "[[disk]]\nname = \"system\"\nselect = { bus = [\"sata\"] }\n\
    [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"8M\"\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";

async fn table(disk: &Loop) -> Table {
    match machine().answer(&Ask::Gpt(disk.device.clone())).await.unwrap() {
        Answer::Gpt(Some(table)) => table,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn blank_disks_are_partitioned_once_and_then_left_alone() {
    let Some(_leave) = leave().await else { return };
    for sector in [512, 4096] {
        let (one, two) = (Loop::new(sector, 64 * MIB), Loop::new(sector, 80 * MIB));
        let bench = Bench::new(vec![two, one]);
        let spec = spec(&SYSTEM.replacen("select", "count = 2\nselect", 1));
        bench.finish(&spec).await;
        let disk = &spec.settings.disk[0];
        for (slot, device) in (0..).zip(&bench.disks) {
            let table = table(device).await;
            assert_eq!(table.guid, disk.guid(&spec, slot).to_string());
            let guids: Vec<String> = table.partitions.into_iter().map(|slice| slice.guid).collect();
            assert_eq!(guids, ["esp", "data"].map(|name| disk.partition_guid(&spec, slot, name).to_string()));
            assert_eq!(device.kernel().len(), 2);
        }
        assert!(!bench.step(&spec).await);
        // Moved to other devices, in another order.
        let files: Vec<NamedTempFile> = bench.disks.into_iter().map(Loop::detached).collect();
        let moved = Bench::new(files.into_iter().rev().map(|file| Loop::of(file, sector)).collect());
        moved.disks.iter().for_each(Loop::scan);
        assert_eq!(moved.verdict(&spec).await, Verdict::Done);
    }
}

/// A disk as an image leaves it: three partitions, the table's copy where the image ended.
async fn image(sector: u64) -> Loop {
    let disk = Loop::new(sector, 64 * MIB);
    let kinds = [
        "21686148-6449-6e6f-744e-656564454649",
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    ];
    let slices = kinds.iter().zip([(1, 2), (2, 6), (6, 50)]).zip(1..).map(|((kind, (first, end)), number)| Slice {
        number,
        guid: format!("00000000-0000-5000-8000-00000000000{number}"),
        kind: kind.to_string(),
        name: ["bios", "esp", "root"][number as usize - 1].to_owned(),
        first: first * MIB / sector,
        last: end * MIB / sector - 1,
    });
    let (guid, slices) = ("00000000-0000-5000-8000-000000000000".to_owned(), slices.collect());
    machine().act(&Act::Table { disk: disk.device.clone(), guid, slices, fresh: true }).await.unwrap();
    assert!(Command::new("mke2fs").args(["-q", "-t", "ext4", &disk.partition(3)]).status().unwrap().success());
    let file = disk.detached();
    file.as_file().set_len(9000 * MIB).unwrap();
    let disk = Loop::of(file, sector);
    disk.scan();
    disk
}

#[tokio::test]
async fn partitions_are_added_behind_a_root_that_is_in_use() {
    let Some(_leave) = leave().await else { return };
    for sector in [512, 4096] {
        let disk = image(sector).await;
        let root = disk.partition(3);
        let held = File::options().read(true).custom_flags(libc::O_EXCL).open(&root).unwrap();
        let content = |file: &File| {
            let mut bytes = vec![0; 44 * MIB as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let before = content(&held);
        let bench = Bench { disks: vec![disk], root: Some((0, 3)) };
        let spec = spec(SYSTEM);
        bench.finish(&spec).await;
        assert!(before == content(&held), "the root file system was changed");
        let table = table(&bench.disks[0]).await;
        let places: Vec<(u64, u64)> =
            table.partitions.iter().map(|s| (s.first * sector, (s.last + 1) * sector)).collect();
        // Behind the slot of 8 GiB that the root file system grows to.
        assert_eq!(places[2..], [(6 * MIB, 50 * MIB), (8198 * MIB, 8206 * MIB), (8206 * MIB, 8999 * MIB)]);
        assert_eq!((table.guid.as_str(), table.backup), ("00000000-0000-5000-8000-000000000000", table.sectors - 1));
    }
}

/// A disk's file with the first `count` of `writes`, the last of them only up to `torn` bytes.
fn cut(disk: &File, sector: u64, writes: &[firstboot::table::Write], count: usize, torn: usize) {
    for (index, write) in writes.iter().take(count).enumerate() {
        let length = if index + 1 == count { torn.min(write.bytes.len()) } else { write.bytes.len() };
        disk.write_all_at(&write.bytes[..length], write.lba * sector).unwrap();
    }
}

/// How many writes are done, and how many bytes of the last one.
fn cuts(writes: &[firstboot::table::Write]) -> impl Iterator<Item = (usize, usize)> {
    let of = |(count, write): (usize, &firstboot::table::Write)| {
        let length = write.bytes.len();
        let torn = [512, 3 * 4096].into_iter().filter(move |torn| *torn < length);
        torn.chain([length]).map(move |torn| (count, torn))
    };
    [(0, 0)].into_iter().chain((1..).zip(writes).flat_map(of))
}

/// A file with the same content.
fn copy(file: &NamedTempFile) -> NamedTempFile {
    let copy = NamedTempFile::new().unwrap();
    let status = Command::new("cp").arg("--sparse=always").args([file.path(), copy.path()]).status();
    assert!(status.unwrap().success());
    copy
}

#[tokio::test]
async fn a_new_table_that_was_cut_off_at_any_write_is_made_to_its_end() {
    let Some(_leave) = leave().await else { return };
    for (sector, make) in [
        (512, None),
        (4096, None),
        (512, Some("mke2fs -q -t ext4")),
        (512, Some("sfdisk -q -X gpt")),
        (512, Some("mkfs.btrfs -q")),
    ] {
        let start = NamedTempFile::new().unwrap();
        start.as_file().set_len(120 * MIB).unwrap();
        if let Some(make) = make {
            let mut words = make.split(' ');
            let input = NamedTempFile::new().unwrap();
            fs_err::write(input.path(), ",20M\n").unwrap();
            let mut tool = Command::new(words.next().unwrap());
            let ended = tool.args(words).arg(start.path()).stdin(File::open(input.path()).unwrap()).output().unwrap();
            assert!(ended.status.success(), "{make}: {}", String::from_utf8_lossy(&ended.stderr));
        }
        let bench = Bench::new(vec![Loop::of(copy(&start), sector)]);
        let allowed =
            fingerprint(&bench.verdict(&spec(SYSTEM)).await).map_or(String::new(), |f| format!("erase = [\"{f}\"]\n"));
        let spec = spec(&SYSTEM.replacen("select", &format!("{allowed}select"), 1));
        let Verdict::Do(steps) = bench.verdict(&spec).await else { panic!("{make:?}") };
        let Act::Table { guid, slices, fresh: true, .. } = &steps[0].act else { panic!("{}", steps[0]) };
        let disk = Disk { device: start.as_file(), sector, sectors: 120 * MIB / sector };
        let writes = disk.fresh(guid, slices).unwrap();
        for (count, torn) in cuts(&writes) {
            let file = copy(&start);
            cut(file.as_file(), sector, &writes, count, torn);
            let bench = Bench::new(vec![Loop::of(file, sector)]);
            bench.disks[0].scan();
            bench.finish(&spec).await;
        }
    }
}

#[tokio::test]
async fn a_change_of_a_table_that_was_cut_off_at_any_write_loses_nothing() {
    let Some(_leave) = leave().await else { return };
    let disk = Loop::new(512, 64 * MIB);
    let fixed = SYSTEM.replacen("rest", "20M", 1);
    let more = spec(&format!("{fixed}[[disk.partition]]\nname = \"more\"\ntype = \"raid\"\nsize = \"rest\"\n"));
    let bench = Bench::new(vec![disk]);
    bench.finish(&spec(&fixed)).await;
    // Something that is there to stay.
    assert!(
        Command::new("mke2fs").args(["-q", "-t", "ext4", &bench.disks[0].partition(2)]).status().unwrap().success()
    );
    let Verdict::Do(steps) = bench.verdict(&more).await else { panic!("nothing to add") };
    let Act::Table { guid, slices, fresh: false, .. } = &steps[0].act else { panic!("{}", steps[0]) };
    let start = bench.disks.into_iter().next().unwrap().detached();
    let mut disk = Disk { device: start.reopen().unwrap(), sector: 512, sectors: 64 * MIB / 512 };
    let writes = disk.set(guid, slices).unwrap();
    let mut data = vec![0; 20 * MIB as usize];
    start.as_file().read_exact_at(&mut data, 9 * MIB).unwrap();
    for (count, torn) in cuts(&writes) {
        let file = copy(&start);
        cut(file.as_file(), 512, &writes, count, torn);
        let disk = Loop::of(file, 512);
        assert!(table(&disk).await.primary, "after {count} writes Linux finds no partition");
        disk.scan();
        let bench = Bench::new(vec![disk]);
        bench.finish(&more).await;
        let file = bench.disks.into_iter().next().unwrap().detached();
        let mut after = vec![0; data.len()];
        file.as_file().read_exact_at(&mut after, 9 * MIB).unwrap();
        assert!(after == data, "data was changed after {count} writes");
    }
}

#[tokio::test]
async fn a_first_table_that_is_gone_is_repaired_from_the_second_and_data_stays() {
    let Some(_leave) = leave().await else { return };
    for sector in [512, 4096] {
        let disk = Loop::new(sector, 64 * MIB);
        let (bench, spec) = (Bench::new(vec![disk]), spec(SYSTEM));
        bench.finish(&spec).await;
        let wanted = table(&bench.disks[0]).await;
        let file = bench.disks.into_iter().next().unwrap().detached();
        file.as_file().write_all_at(&vec![0; MIB as usize], 0).unwrap();
        let bench = Bench::new(vec![Loop::of(file, sector)]);
        let seen = table(&bench.disks[0]).await;
        assert_eq!((seen.primary, &seen.guid, &seen.partitions), (false, &wanted.guid, &wanted.partitions));
        bench.finish(&spec).await;
        assert_eq!(table(&bench.disks[0]).await, wanted);
    }
}
