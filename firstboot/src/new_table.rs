//! A partition table that is new, or that gets new partitions or names: which bytes are written, and in which order.
//!
//! ```text
//! fresh:   anything …                                             1 header at the end: whoever finds it, finds it ours
//!          anything …                          | array | H |      2 its array
//!          anything … | array | …              | array | H |      3
//!          MBR | H | array | …                 | array | H |      4 header, 5 MBR: from here on Linux has partitions
//!          MBR | H | array | 0 | partitions | 0 | array | H |     6 what is between partitions
//! ```
//! After each of these writes the disk is either as it was before, as far as anybody can tell, or known by its GUID as
//! one whose table is to be written again. Other changes are written as in `table`.

use crate::table::{ARRAY, Disk, Header, Write};
use anyhow::{Context, Result, bail, ensure};
use gpt::disk::LogicalBlockSize;
use gpt::header::HeaderBuilder;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use profiles::ask::Slice;
use std::io::{Cursor, Read, Seek};
use uuid::Uuid;

/// What of each gap between partitions becomes zeros, at its beginning and at its end: signatures stand there.
const WIPED: u64 = 1 << 20;
/// Entries of a table.
const ENTRIES: u32 = 128;
const ENTRY: u32 = 128;

/// What a BIOS runs that takes the disk for one to boot, as the MBR's signature makes it: int 0x18, "nothing to boot here",
/// which goes on to the next disk. Without that it would run zeros, and hang.
fn boot_code() -> [u8; 440] {
    let mut code = [0; 440];
    code[..2].copy_from_slice(&[0xcd, 0x18]);
    code
}

impl<D: Read + Seek> Disk<D> {
    /// All writes of a new table, in order. Each has to be on the disk before the next.
    pub fn fresh(&self, guid: &str, slices: &[Slice]) -> Result<Vec<Write>> {
        let room = u64::from(ENTRIES * ENTRY).div_ceil(self.sector);
        ensure!(self.sectors > 2 * room + 4, "it has no room for a partition table");
        let end = self.sectors - 1;
        check(slices, ARRAY + room, end - room - 1)?;
        let header = self.new_header(guid.parse().context("reading the table's GUID")?, slices, room)?;
        let usable = self.usable(&header);
        let array = self.padded(&header.array);
        let mut mbr = ProtectiveMBR::with_lb_size(u32::try_from(end).unwrap_or(u32::MAX));
        mbr.set_bootcode(boot_code());
        let mut mbr = mbr.to_bytes().to_vec();
        mbr.resize(self.sector as usize, 0);
        let mut writes = vec![
            Write { lba: end, bytes: header.placed(end, 1, end - room, usable) },
            Write { lba: end - room, bytes: array.clone() },
            Write { lba: ARRAY, bytes: array },
            Write { lba: 1, bytes: header.placed(1, end, ARRAY, usable) },
            Write { lba: 0, bytes: mbr },
        ];
        for (first, after) in gaps(slices, ARRAY + room, end - room) {
            writes.extend(self.zeros(first, after));
        }
        Ok(writes)
    }

    /// All writes, in order, that add the slices which are not there yet, and give the others their GUIDs and names.
    pub fn set(&mut self, guid: &str, slices: &[Slice]) -> Result<Vec<Write>> {
        let primary = self.header(1)?;
        let backup = if primary.is_none() { self.header(self.sectors - 1)? } else { None };
        let Some(old) = primary.as_ref().or(backup.as_ref()) else {
            bail!("neither of its tables is whole: look at it with `gdisk` (v, r)");
        };
        check(slices, ARRAY + self.array_sectors(old), self.usable(old))?;
        let mut new = old.clone();
        new.set_guid(guid.parse().context("reading the table's GUID")?);
        for entry in old.entries() {
            let same =
                |slice: &&Slice| (slice.number, slice.first, slice.last) == (entry.number, entry.first, entry.last);
            ensure!(
                slices.iter().any(|slice| same(&slice)),
                "partition {} is at LBA {} to {}, which is not as planned",
                entry.number,
                entry.first,
                entry.last
            );
        }
        for slice in slices {
            put_entry(&mut new, slice)?;
        }
        match primary {
            Some(old) => self.replace(&old, &new),
            None => self.repair(&new),
        }
    }

    /// All writes that put `new` where there is no primary table any more, while the backup is whole.
    fn repair(&mut self, new: &Header) -> Result<Vec<Write>> {
        let (end, room, usable) = (self.sectors - 1, self.array_sectors(new), self.usable(new));
        let array = self.padded(&new.array);
        let mut writes = vec![
            Write { lba: ARRAY, bytes: array.clone() },
            Write { lba: 1, bytes: new.placed(1, end, ARRAY, usable) },
        ];
        writes.extend(self.protective()?);
        writes.push(Write { lba: end - room, bytes: array });
        writes.push(Write { lba: end, bytes: new.placed(end, 1, end - room, usable) });
        Ok(writes)
    }

    /// A header and array as the gpt crate makes them, in memory.
    fn new_header(&self, guid: Uuid, slices: &[Slice], room: u64) -> Result<Header> {
        let lbs = if self.sector == 4096 { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 };
        let mut bytes = Cursor::new(vec![0; ((ARRAY + room) * self.sector) as usize]);
        for slice in slices {
            entry(slice)?.write_to_device(&mut bytes, u64::from(slice.number) - 1, ARRAY, lbs, ENTRY)?;
        }
        let end = self.sectors - 1;
        let mut header = HeaderBuilder::new().disk_guid(guid).backup_lba(end).primary(true).build(lbs)?;
        header.write_primary(&mut bytes, lbs)?;
        let mut sketch = Disk { device: bytes, sector: self.sector, sectors: self.sectors };
        sketch.header(1)?.context("the table that was made is not valid")
    }

    /// Zeros at both ends of the sectors from `first` up to `after`.
    fn zeros(&self, first: u64, after: u64) -> Vec<Write> {
        let most = WIPED / self.sector;
        let zeros = |lba: u64, sectors: u64| Write { lba, bytes: vec![0; (sectors * self.sector) as usize] };
        match after.saturating_sub(first) {
            0 => Vec::new(),
            length if length <= most => vec![zeros(first, length)],
            _ => vec![zeros(first, most), zeros(after - most, most)],
        }
    }
}

/// Slices that are numbered from 1 on, inside of what is usable, and apart from each other.
fn check(slices: &[Slice], first: u64, last: u64) -> Result<()> {
    let mut sorted: Vec<&Slice> = slices.iter().collect();
    sorted.sort_by_key(|slice| slice.first);
    for slice in &sorted {
        let (from, to) = (slice.first, slice.last);
        ensure!((1..=ENTRIES).contains(&slice.number), "partition {} has no place in a table", slice.number);
        ensure!(
            from <= to && from >= first && to <= last,
            "partition {} from LBA {from} to {to}: usable are {first} to {last}",
            slice.number
        );
        ensure!(
            slices.iter().filter(|other| other.number == slice.number).count() == 1,
            "two partitions {}",
            slice.number
        );
    }
    for pair in sorted.windows(2) {
        ensure!(pair[0].last < pair[1].first, "partitions {} and {} overlap", pair[0].number, pair[1].number);
    }
    Ok(())
}

/// What no partition has of the sectors from `first` up to `after`: where each gap begins, and where it ends.
fn gaps(slices: &[Slice], first: u64, after: u64) -> Vec<(u64, u64)> {
    let mut taken: Vec<(u64, u64)> = slices.iter().map(|slice| (slice.first, slice.last + 1)).collect();
    taken.sort_unstable();
    let starts = [first].into_iter().chain(taken.iter().map(|slice| slice.1));
    let ends = taken.iter().map(|slice| slice.0).chain([after]);
    starts.zip(ends).filter(|(start, end)| start < end).collect()
}

fn entry(slice: &Slice) -> Result<gpt::partition::Partition> {
    let kind = slice.kind.parse().with_context(|| format!("reading the type of partition {}", slice.number))?;
    let guid = slice.guid.parse().with_context(|| format!("reading the GUID of partition {}", slice.number))?;
    Ok(gpt::partition::Partition {
        part_type_guid: Type { guid: kind, os: OperatingSystem::None },
        part_guid: guid,
        first_lba: slice.first,
        last_lba: slice.last,
        flags: 0,
        name: slice.name.clone(),
    })
}

/// A slice's entry; one that is there keeps its type, its place and its flags.
fn put_entry(header: &mut Header, slice: &Slice) -> Result<()> {
    const TYPE: std::ops::Range<usize> = 0..16;
    const GUID: std::ops::Range<usize> = 16..32;
    const NAME: std::ops::Range<usize> = 56..128;
    let mut bytes = Cursor::new(vec![0; ENTRY as usize]);
    entry(slice)?.write_to_device(&mut bytes, 0, 0, LogicalBlockSize::Lb512, ENTRY)?;
    let (new, number) = (bytes.into_inner(), slice.number);
    let old = header.entry(number).with_context(|| format!("the table has no room for a partition {number}"))?;
    if old[TYPE] == [0; 16] {
        old.copy_from_slice(&new);
        return Ok(());
    }
    ensure!(old[TYPE] == new[TYPE], "partition {number} has another type than planned");
    old[GUID].copy_from_slice(&new[GUID]);
    old[NAME].copy_from_slice(&new[NAME]);
    Ok(())
}
