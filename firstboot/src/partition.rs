//! A disk's partitions: read, made, and one of them grown while the disk is in use.

use crate::block::{Range, agree, geometry, resize};
use crate::table::{Disk, Header, Write};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use profiles::ask::{Slice, Table};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// The partition table of a block device; `None` where there is no such device, no medium in it, or no valid table.
pub fn read(device: &str) -> Result<Option<Table>> {
    let file = match File::open(device) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if [Errno::ENXIO, Errno::ENOMEDIUM].iter().any(|e| error.raw_os_error() == Some(*e as i32)) => {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("opening {device}")),
    };
    let (sector, sectors) = geometry(&file).with_context(|| format!("measuring {device}"))?;
    table(Disk { device: file, sector, sectors }).with_context(|| format!("reading the partition table of {device}"))
}

/// Grows partition `number` of `disk` to end at LBA `last` (inclusive), moves the backup table to the disk's end, and
/// tells the kernel. Nothing else of the table changes. Doing it again is harmless.
pub fn grow(disk: &str, number: u32, last: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk).with_context(|| format!("opening {disk}"))?;
    let (sector, sectors) = geometry(&file).with_context(|| format!("measuring {disk}"))?;
    let mut disk_read = Disk { device: &file, sector, sectors };
    let writes = disk_read.grow(number, last).with_context(|| format!("growing partition {number} of {disk}"))?;
    for write in &writes {
        put(&file, sector, write).with_context(|| format!("writing the partition table of {disk}"))?;
    }
    let first = table(disk_read)?
        .and_then(|table| table.partitions.into_iter().find(|slice| slice.number == number && slice.last == last))
        .with_context(|| format!("{disk} does not give back the partition table that was written to it"))?
        .first;
    resize(&file, disk, number, first * sector, (last + 1 - first) * sector)
}

/// Writes a table of exactly these `slices` and tells the kernel; `fresh` as `Act::Table` has it. Doing it again is
/// harmless. Nobody else, udev included, looks at the disk meanwhile: they take the same lock.
pub fn set(disk: &str, guid: &str, slices: &[Slice], fresh: bool) -> Result<()> {
    // On a block device O_EXCL means: only if nothing of it is mounted or a part of something else.
    let alone = if fresh { libc::O_EXCL } else { 0 };
    let file = File::options().read(true).write(true).custom_flags(alone).open(disk);
    let file = file.with_context(|| format!("opening {disk}{}", if fresh { " for this alone" } else { "" }))?;
    let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking it")?;
    let (sector, sectors) = geometry(&file).with_context(|| format!("measuring {disk}"))?;
    let mut disk_read = Disk { device: &*file, sector, sectors };
    let context = || format!("writing the partition table of {disk}");
    let writes = if fresh { disk_read.fresh(guid, slices) } else { disk_read.set(guid, slices) };
    for write in &writes.with_context(context)? {
        put(&file, sector, write).with_context(context)?;
    }
    let back = table(disk_read)?.with_context(|| format!("{disk} does not give back a partition table"))?;
    ensure!(
        back.guid == guid && back.partitions == slices && back.backup == sectors - 1,
        "{disk} does not give back the partition table that was written to it: {back:?}"
    );
    let range = |slice: &Slice| {
        let (start, length) = (slice.first * sector, (slice.last + 1 - slice.first) * sector);
        Range { number: slice.number, start, length }
    };
    agree(&file, disk, &slices.iter().map(range).collect::<Vec<_>>())
}

fn put(file: &File, sector: u64, write: &Write) -> Result<()> {
    file.write_all_at(&write.bytes, write.lba * sector)?;
    Ok(file.sync_all()?)
}

/// The table of a disk, of whatever kind it is read from: by its primary header, else by the one at the disk's end.
pub fn table<D: Read + Seek>(mut disk: Disk<D>) -> Result<Option<Table>> {
    if disk.sectors < 3 {
        return Ok(None);
    }
    let (sector, sectors) = (disk.sector, disk.sectors);
    let primary = disk.header(1)?;
    let backup = match &primary {
        Some(primary) => disk.backup(primary)?,
        None => sectors - 1,
    };
    let whole = primary.is_some();
    let header = if whole { primary } else { disk.header(sectors - 1)? };
    let Some(header) = header else {
        let lone = |header: Header| {
            let guid = header.guid().to_string();
            Table { guid, primary: false, sector, sectors, backup: 0, partitions: Vec::new() }
        };
        return Ok(disk.lone_header(sectors - 1)?.map(lone));
    };
    let partitions = header.slices();
    for Slice { number, first, last, .. } in &partitions {
        if first > last || *last >= sectors {
            bail!("partition {number} reaches from LBA {first} to {last}, on a disk of {sectors} sectors");
        }
    }
    Ok(Some(Table { guid: header.guid().to_string(), primary: whole, sector, sectors, backup, partitions }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpt::disk::LogicalBlockSize;
    use gpt::mbr::ProtectiveMBR;
    use gpt::partition_types::{BIOS, EFI, LINUX_ROOT_X64};
    use gpt::{GptConfig, GptDisk};
    use std::collections::BTreeMap;
    use std::process::Command;
    use tempfile::NamedTempFile;
    use uuid::Uuid;

    const MIB: u64 = 1 << 20;
    const SIZES: [u64; 2] = [512, 4096];

    fn block(sector: u64) -> LogicalBlockSize {
        if sector == 4096 { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 }
    }

    /// A disk as an image has it: boot code, three partitions, and then `after` bytes where there were 16 MiB.
    fn disk(sector: u64, after: u64) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(16 * MIB).unwrap();
        let mut mbr = ProtectiveMBR::with_lb_size((16 * MIB / sector - 1) as u32);
        mbr.set_bootcode([0xb0; 440]);
        mbr.set_disk_signature([1, 2, 3, 4]);
        mbr.overwrite_lba0(&mut file.reopen().unwrap()).unwrap();
        let open = GptConfig::new().writable(true).logical_block_size(block(sector));
        let mut gpt = open.create_from_device(file.reopen().unwrap(), Some(Uuid::from_u128(7))).unwrap();
        let align = MIB / sector;
        gpt.add_partition("bios", MIB, BIOS, 4, Some(align)).unwrap();
        gpt.add_partition("esp", 4 * MIB, EFI, 0, Some(align)).unwrap();
        gpt.add_partition("Wurzel ü", 8 * MIB, LINUX_ROOT_X64, 1 << 59, Some(align)).unwrap();
        gpt.write().unwrap();
        file.as_file().set_len(after).unwrap();
        file
    }

    fn opened(file: &NamedTempFile, sector: u64) -> Disk<File> {
        Disk { device: file.reopen().unwrap(), sector, sectors: file.as_file().metadata().unwrap().len() / sector }
    }

    fn read_table(file: &NamedTempFile, sector: u64) -> Table {
        table(opened(file, sector)).unwrap().expect("a valid primary table")
    }

    fn write_all(file: &NamedTempFile, sector: u64, writes: &[Write]) {
        writes.iter().for_each(|write| put(&file.reopen().unwrap(), sector, write).unwrap());
    }

    fn strict(file: &NamedTempFile, sector: u64) -> GptDisk<File> {
        let open = GptConfig::new().logical_block_size(block(sector)).only_valid_headers(true);
        open.open_from_device(file.reopen().unwrap()).expect("two valid headers")
    }

    #[test]
    fn a_grown_table_differs_in_one_last_lba_and_is_at_the_new_end() {
        for sector in SIZES {
            let file = disk(sector, 64 * MIB);
            let old = GptConfig::new().logical_block_size(block(sector)).open(file.path()).unwrap();
            let before = read_table(&file, sector);
            assert_eq!((before.backup, before.sectors), (16 * MIB / sector - 1, 64 * MIB / sector));
            let last = 48 * MIB / sector - 1;
            write_all(&file, sector, &opened(&file, sector).grow(3, last).unwrap());

            let new = strict(&file, sector);
            let mut wanted: BTreeMap<_, _> = old.partitions().clone();
            wanted.get_mut(&3).unwrap().last_lba = last;
            assert_eq!(*new.partitions(), wanted);
            assert_eq!(new.guid(), old.guid());
            let mut table = before;
            (table.backup, table.partitions[2].last) = (table.sectors - 1, last);
            assert_eq!(read_table(&file, sector), table);

            let mbr = ProtectiveMBR::from_disk(&mut file.reopen().unwrap(), block(sector)).unwrap();
            assert_eq!((mbr.bootcode(), mbr.disk_signature()), (&[0xb0; 440], &[1, 2, 3, 4]));
            assert_eq!(u64::from(mbr.partition(0).unwrap().lb_size), 64 * MIB / sector - 1);
            let mut spare = vec![1; 16384];
            file.as_file().read_exact_at(&mut spare, 2 * sector + 16384).unwrap();
            assert!(spare.iter().all(|byte| *byte == 0), "the spare array was left behind");
        }
    }

    #[test]
    fn sfdisk_finds_no_fault_in_a_grown_table() {
        let file = disk(512, 64 * MIB);
        write_all(&file, 512, &opened(&file, 512).grow(3, 48 * MIB / 512 - 1).unwrap());
        let said = Command::new("sfdisk").arg("--verify").arg(file.path()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success() && text.contains("No errors detected"), "{text}");
        assert!(!text.contains("mismatch") && !text.contains("corrupt"), "{text}");
    }

    /// A sector is written as a whole or not at all; a longer write may end after any of its sectors, or lose the first.
    #[test]
    fn a_power_cut_at_any_sector_of_any_write_leaves_a_valid_primary_table() {
        for sector in SIZES {
            let last = 48 * MIB / sector - 1;
            let file = disk(sector, 64 * MIB);
            let old = read_table(&file, sector).partitions;
            let writes = opened(&file, sector).grow(3, last).unwrap();
            assert_eq!(writes.len(), 8);
            let mut new = old.clone();
            new[2].last = last;
            for write in &writes {
                let sectors: Vec<&[u8]> = write.bytes.chunks(sector as usize).collect();
                let forward = 0..sectors.len();
                for index in forward.clone().chain(forward.rev()) {
                    let part = Write { lba: write.lba + index as u64, bytes: sectors[index].to_vec() };
                    write_all(&file, sector, std::slice::from_ref(&part));
                    let table = read_table(&file, sector);
                    assert!(table.partitions == old || table.partitions == new, "after LBA {}", part.lba);
                }
                // What was cut off is completed by doing it again.
                let copy = NamedTempFile::new().unwrap();
                fs_err::copy(file.path(), copy.path()).unwrap();
                write_all(&copy, sector, &opened(&copy, sector).grow(3, last).unwrap());
                assert_eq!(read_table(&copy, sector).backup, 64 * MIB / sector - 1);
                assert_eq!(read_table(&copy, sector).partitions, new);
                strict(&copy, sector);
            }
        }
    }

    #[test]
    fn an_interrupted_growth_shows_until_it_is_completed() {
        let file = disk(512, 64 * MIB);
        let last = 48 * MIB / 512 - 1;
        let writes = opened(&file, 512).grow(3, last).unwrap();
        for (count, backup) in [(3, 32767), (4, 0), (5, 0), (6, 131071), (8, 131071)] {
            write_all(&file, 512, &writes[..count]);
            assert_eq!(read_table(&file, 512).backup, backup, "after {count} writes");
        }
    }

    #[test]
    fn growing_again_changes_nothing() {
        let file = disk(512, 64 * MIB);
        let last = 48 * MIB / 512 - 1;
        write_all(&file, 512, &opened(&file, 512).grow(3, last).unwrap());
        let before = fs_err::read(file.path()).unwrap();
        write_all(&file, 512, &opened(&file, 512).grow(3, last).unwrap());
        assert_eq!(fs_err::read(file.path()).unwrap(), before);
    }

    #[test]
    fn what_stands_behind_the_array_is_not_overwritten() {
        let file = disk(512, 64 * MIB);
        file.as_file().write_all_at(b"a loader", 40 * 512).unwrap();
        write_all(&file, 512, &opened(&file, 512).grow(3, 48 * MIB / 512 - 1).unwrap());
        let mut bytes = [0; 8];
        file.as_file().read_exact_at(&mut bytes, 40 * 512).unwrap();
        assert_eq!(&bytes, b"a loader");
        strict(&file, 512);
    }

    #[test]
    fn growing_into_another_partition_off_the_disk_or_backwards_is_refused() {
        let file = disk(512, 64 * MIB);
        let mut disk = opened(&file, 512);
        let mut refused = |number, last| disk.grow(number, last).unwrap_err().to_string();
        assert!(refused(2, 12 * MIB / 512).contains("into partition 3"));
        assert!(refused(3, 64 * MIB / 512 - 33).contains("last usable one, 131038"));
        assert!(refused(3, 3 * MIB / 512).contains("it only ever grows"));
        assert!(refused(4, 48 * MIB / 512).contains("no partition 4"));
        file.as_file().write_all_at(&[0xff], 512 + 60).unwrap();
        assert!(opened(&file, 512).grow(3, 48 * MIB / 512).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_disk_without_a_table_has_none_and_a_file_is_no_disk() {
        let file = NamedTempFile::new().unwrap();
        for length in [0, 512, MIB] {
            file.as_file().set_len(length).unwrap();
            assert_eq!(table(opened(&file, 512)).unwrap(), None);
        }
        assert_eq!(read("/dev/there-is-no-such-disk").unwrap(), None);
        let error = read(file.path().to_str().unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("no block device"), "{error:#}");
    }

    #[test]
    fn no_damage_to_a_table_makes_reading_or_growing_it_panic() {
        let whole = fs_err::read(disk(512, 17 * MIB).path()).unwrap();
        let mut random: u64 = 42;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % below
        };
        for _ in 0..5000 {
            let mut bytes = whole[..64 * 512].to_vec();
            for _ in 0..=next(3) {
                let at = 512 + next(4 * 512);
                bytes[at] = next(256) as u8;
            }
            if next(2) == 0 {
                // With its checksums right, it is the numbers that have to be judged.
                let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
                let array = crc.checksum(&bytes[1024..1024 + 16384]);
                bytes[512 + 88..512 + 92].copy_from_slice(&array.to_le_bytes());
                bytes[512 + 16..512 + 20].fill(0);
                let header = crc.checksum(&bytes[512..512 + 92]);
                bytes[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
            }
            let sectors = 17 * MIB / 512;
            let _ = table(Disk { device: std::io::Cursor::new(bytes.clone()), sector: 512, sectors });
            let _ = Disk { device: std::io::Cursor::new(bytes), sector: 512, sectors }.grow(3, 30000);
        }
    }
}
