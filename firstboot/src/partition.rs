//! A disk's partitions: read, and one of them grown while the disk is in use.

use crate::block::{geometry, resize};
use crate::table::{Disk, Write};
use anyhow::{Context, Result};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use nix::errno::Errno;
use profiles::ask::{Slice, Table};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

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

fn put(file: &File, sector: u64, write: &Write) -> Result<()> {
    file.write_all_at(&write.bytes, write.lba * sector)?;
    Ok(file.sync_all()?)
}

/// The table of a disk, of whatever kind it is read from.
fn table<D: gpt::DiskDevice>(mut disk: Disk<D>) -> Result<Option<Table>> {
    if disk.sectors < 3 {
        return Ok(None);
    }
    // Looked at first: the gpt crate panics on tables with entries of an unusual size.
    let Some(primary) = disk.header(1)? else { return Ok(None) };
    let backup = disk.backup(&primary)?;
    let size = if disk.sector == 4096 { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 };
    let (sector, sectors) = (disk.sector, disk.sectors);
    let gpt = GptConfig::new().logical_block_size(size).open_from_device(disk.device)?;
    let partitions = gpt.partitions().iter().map(|(number, entry)| Slice {
        number: *number,
        guid: entry.part_guid.to_string(),
        kind: entry.part_type_guid.guid.to_string().to_lowercase(),
        name: entry.name.clone(),
        first: entry.first_lba,
        last: entry.last_lba,
    });
    Ok(Some(Table { guid: gpt.guid().to_string(), sector, sectors, backup, partitions: partitions.collect() }))
}
