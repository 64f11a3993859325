//! File systems in an image: read for the block map, and to compare two images.

use builder::diff::volume::{Kind, Volume};
use builder::image::table::{Partition, SECTOR, Table};
use builder::publish::blockmap::{BLOCK, Mapping};
use builder::publish::free;
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use uuid::Uuid;

/// Where the partition begins and how long it is, in bytes.
const START: u64 = 1 << 20;
const SIZE: u64 = 1 << 20;
/// What is read of all files together: a damaged one may claim to be as large as can be.
const ENOUGH: u64 = 1 << 20;

thread_local! {
    /// A disk with one partition, and how many bytes of that are written: filled again for each run.
    static DISK: RefCell<Option<(File, usize)>> = const { RefCell::new(None) };
}

/// The first bytes of a file system: which blocks of it have to be written to a disk. A block that is left out has zeros.
pub fn map(bytes: &[u8]) {
    on_disk(bytes, |disk, volume| {
        let ranges = free::free(disk).expect("whatever a disk holds, what is not understood is in use");
        assert!(ranges.iter().all(|range| range.start < range.end), "an empty range: {ranges:?}");
        assert!(ranges.is_sorted_by(|one, next| one.end <= next.start), "not in order: {ranges:?}");
        assert!(ranges.iter().all(|range| range.start >= START && range.end <= START + SIZE), "beyond it: {ranges:?}");
        let mut mapping = Mapping::new(ranges.iter().map(|range| range.start - START..range.end - START).collect());
        mapping.take(volume);
        let map = mapping.finish();
        let mut next = 0;
        for mapped in &map.mapped {
            all_zero(volume, next, mapped.first);
            next = mapped.last + 1;
        }
        all_zero(volume, next, (volume.len() as u64).div_ceil(BLOCK));
        assert!(map.bytes() <= map.size && map.xml().ends_with("</bmap>\n"));
    });
}

fn all_zero(volume: &[u8], from: u64, to: u64) {
    let left_out = volume.chunks(BLOCK as usize).take(to as usize).skip(from as usize);
    assert!(left_out.flatten().all(|byte| *byte == 0), "blocks {from} to {to} are left out, and hold something");
}

/// The first bytes of a file system: all its files, and what is in them.
pub fn volume(bytes: &[u8]) {
    on_disk(bytes, |disk, _| {
        let Ok(Some(volume)) = Volume::open(disk, START, SIZE) else { return };
        let Ok(entries) = volume.entries() else { return };
        let mut left = ENOUGH;
        for (path, entry) in entries.iter().filter(|(_, entry)| entry.kind == Kind::File) {
            assert!(path.starts_with(b"/"), "{path:?}");
            let Ok(file) = volume.file(path) else { continue };
            let read = std::io::copy(&mut file.take(left), &mut std::io::sink()).unwrap_or_default();
            assert!(read <= entry.size, "{path:?} has {} bytes, and {read} were read", entry.size);
            left -= read;
        }
    });
}

/// Calls `read` with a disk whose partition begins with `bytes`, and with that.
fn on_disk(bytes: &[u8], read: impl FnOnce(&File, &[u8])) {
    let bytes = &bytes[..bytes.len().min(SIZE as usize)];
    DISK.with_borrow_mut(|disk| {
        let (file, written) = disk.get_or_insert_with(|| (empty(), 0));
        let rest = vec![0; written.saturating_sub(bytes.len())];
        *written = bytes.len();
        file.write_all_at(bytes, START).expect("writing to memory");
        file.write_all_at(&rest, START + bytes.len() as u64).expect("writing to memory");
        read(file, bytes);
    });
}

fn empty() -> File {
    let shared = std::path::Path::new("/dev/shm");
    let file = if shared.is_dir() { tempfile::tempfile_in(shared) } else { tempfile::tempfile() };
    let file = file.expect("a temporary file");
    let partition = Partition {
        number: 1,
        name: "esp".to_owned(),
        kind: Uuid::from_u128(1),
        guid: Uuid::from_u128(2),
        first_lba: START / SECTOR,
        sectors: SIZE / SECTOR,
    };
    let table = Table { guid: Uuid::from_u128(3), size: START + SIZE + (1 << 20), partitions: vec![partition] };
    file.set_len(table.size).expect("sizing the disk");
    table.write(&file, [0; 440]).expect("writing the table");
    file
}
