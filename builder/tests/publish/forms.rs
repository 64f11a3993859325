//! The forms of an image.

use crate::disk;
use crate::tools::{find, run, said};
use builder::image::manifest::Manifest;
use builder::image::table::{ESP, MIB, ROOT};
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::{Format, Publication, free};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const ALL: [Format; 3] = [Format::Raw, Format::Zst, Format::Qcow2];

fn publish(raw: &Path, manifest: &Manifest, workers: u32) -> Manifest {
    let place = Place::new(raw);
    let publication = Publication { place: &place, formats: &ALL, key: None, workers };
    publication.write(raw, manifest.clone(), &Progress::quiet()).expect("publishing")
}

/// All files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder").flatten();
    let file = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file"))
    };
    entries.map(file).collect()
}

#[test]
fn the_same_image_becomes_the_same_files_whatever_its_holes_and_the_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = folder.path().join("1/small.img");
    fs::create_dir(first.parent().expect("a folder")).expect("a folder");
    let (Some(manifest), Some(_)) = (disk::make(&first, 24), find("qemu-img", "qemu-utils")) else { return };
    let bytes = fs::read(&first).expect("the disk");
    let wanted = {
        publish(&first, &manifest, 1);
        files(&folder.path().join("1"))
    };
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let all = ["SHA256SUMS", "img", "img.bmap", "img.zst", "manifest.json", "qcow2", "spdx.json"];
    assert_eq!(names, all.map(|end| format!("small.{end}")));
    for workers in [2, 5] {
        let other = folder.path().join(format!("{workers}/small.img"));
        fs::create_dir(other.parent().expect("a folder")).expect("a folder");
        // Written in full: no holes are left.
        fs::write(&other, &bytes).expect("the disk");
        assert_ne!(fs::metadata(&other).expect("it").blocks(), fs::metadata(&first).expect("it").blocks());
        publish(&other, &manifest, workers);
        let seen = files(&folder.path().join(workers.to_string()));
        for (name, bytes) in &wanted {
            assert!(seen.get(name) == Some(bytes), "{name} is another with {workers} threads and no holes");
        }
        assert_eq!(seen.len(), wanted.len());
    }
}

#[test]
fn bmaptool_and_qemu_read_the_very_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let (Some(bmaptool), Some(qemu)) = (find("bmaptool", "bmap-tools"), find("qemu-img", "qemu-utils")) else { return };
    let (Some(manifest), Some(_)) = (disk::make(&raw, 24), find("zstd", "zstd")) else { return };
    publish(&raw, &manifest, 2);
    said(&bmaptool, &["copy", "small.img.zst", "copy.img"], folder.path());
    assert!(fs::read(folder.path().join("copy.img")).expect("the copy") == fs::read(&raw).expect("the image"));
    said(&qemu, &["compare", "-f", "raw", "-F", "qcow2", "small.img", "small.qcow2"], folder.path());
    said(&qemu, &["check", "small.qcow2"], folder.path());
    // The map's own digest, and those of its ranges, are looked at.
    let map = fs::read_to_string(folder.path().join("small.img.bmap")).expect("the map");
    fs::write(folder.path().join("small.img.bmap"), map.replacen("<Range chksum=\"", "<Range chksum=\"0", 1))
        .expect("it");
    assert!(!run(&bmaptool, &["copy", "small.img.zst", "again.img"], folder.path()).status.success());
}

#[test]
fn a_disk_that_held_something_else_holds_whole_file_systems_after_a_copy_by_the_map() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    let Some(debugfs) = find("debugfs", "e2fsprogs") else { return };
    let (Some(e2fsck), Some(fsck)) = (find("e2fsck", "e2fsprogs"), find("fsck.fat", "dosfstools")) else { return };
    let Some(manifest) = disk::make(&raw, 24) else { return };
    publish(&raw, &manifest, 2);
    let used = folder.path().join("used.img");
    let mut bytes = vec![0xaa; usize::try_from(manifest.image.table.size).expect("a size")];
    // As bmaptool does it to a disk; a file it would empty first.
    let (image, map) =
        (fs::read(&raw).expect("the image"), fs::read_to_string(Place::new(&raw).bmap()).expect("the map"));
    for range in map.lines().filter_map(|line| line.trim().strip_prefix("<Range ")?.split(['>', '<']).nth(1)) {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        let number = |word: &str| word.parse::<usize>().expect("a number");
        let range = number(first) * 4096..(number(last) + 1) * 4096;
        bytes[range.clone()].copy_from_slice(&image[range]);
    }
    fs::write(&used, bytes).expect("a used disk");
    let part = |number, name: &str| {
        let part = manifest.image.table.partition(number);
        let mut bytes = vec![0; usize::try_from(part.size()).expect("a size")];
        File::open(&used).expect("the disk").read_exact_at(&mut bytes, part.start()).expect("reading");
        assert!(bytes.chunks(4096).any(|block| block == [0xaa; 4096]), "the map leaves out what nobody uses");
        fs::write(folder.path().join(name), bytes).expect("a part");
    };
    part(ROOT, "root");
    part(ESP, "esp");
    said(&e2fsck, &["-f", "-n", "root"], folder.path());
    said(&fsck, &["-n", "esp"], folder.path());
    said(&debugfs, &["-R", "dump /zeros zeros", "root"], folder.path());
    assert!(fs::read(folder.path().join("zeros")).expect("the file") == vec![0; 300_000]);
}

#[test]
fn what_is_taken_for_free_is_free_by_dumpe2fs_too_and_that_is_most_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    // Four groups of blocks: also such as were never begun.
    let (Some(manifest), Some(dumpe2fs)) = (disk::make(&raw, 400), find("dumpe2fs", "e2fsprogs")) else { return };
    let part = manifest.image.table.partition(ROOT);
    let text = said(&dumpe2fs, &[&format!("{}?offset={}", raw.display(), part.start())], folder.path());
    assert!(text.contains("BLOCK_UNINIT"), "no group is untouched: {text}");
    let mut free_blocks = vec![false; usize::try_from(part.size() / 4096).expect("a size")];
    let lists = text.lines().filter_map(|line| line.strip_prefix("  Free blocks: "));
    for list in lists.flat_map(|list| list.split(", ")).filter(|list| !list.is_empty()) {
        let (first, last) = list.split_once('-').unwrap_or((list, list));
        let number = |word: &str| word.parse::<usize>().expect("a number");
        free_blocks[number(first)..=number(last)].fill(true);
    }
    let ours = free::free(&File::open(&raw).expect("the disk")).expect("the free ranges");
    let mut ours_count = 0;
    for range in ours.iter().filter(|range| range.start >= part.start()) {
        for block in (range.start - part.start()) / 4096..(range.end - part.start()) / 4096 {
            assert!(free_blocks[usize::try_from(block).expect("a number")], "block {block} is in use");
            ours_count += 1;
        }
    }
    let all = free_blocks.iter().filter(|free| **free).count();
    assert!(ours_count * 100 >= all * 95, "{ours_count} of {all} free blocks were found");
}

#[test]
fn a_disk_without_a_table_is_mapped_whole_and_a_damaged_file_system_is_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("small.img");
    File::create(&raw).expect("a disk").set_len(5 * MIB).expect("sizing it");
    assert!(free::free(&File::open(&raw).expect("it")).expect("no table").is_empty());
    let Some(manifest) = disk::make(&raw, 24) else { return };
    let disk = File::options().read(true).write(true).open(&raw).expect("the disk");
    let mut random = fastrand::Rng::with_seed(1);
    let heads = [ESP, ROOT].map(|number| manifest.image.table.partition(number).start());
    for _ in 0..2000 {
        // Any byte of the FAT's first sector, or of ext4's superblock and first descriptors.
        let [esp, root] = heads;
        let at = if random.bool() { esp + random.u64(..90) } else { root + 1024 + random.u64(..4096) };
        let mut before = [0];
        disk.read_exact_at(&mut before, at).expect("reading");
        disk.write_all_at(&[random.u8(..)], at).expect("writing");
        let ranges = free::free(&disk).expect("a damaged file system counts as used");
        assert!(ranges.iter().all(|range| range.end <= manifest.image.table.size));
        disk.write_all_at(&before, at).expect("writing");
    }
}
