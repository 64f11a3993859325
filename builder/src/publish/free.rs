//! Which blocks of a disk file system no file uses: they need not be written to a disk, whatever it held before.
//!
//! A block of zeros alone says nothing: a file may have it, or a table in which zeros mean "free", and on a used stick
//! it has to be written. So the file systems are asked. What is not understood counts as used.
//!
//! FAT32: Microsoft's fatgen103, "FAT Data Structure".

use crate::publish::superblock::{BLOCK_UNINIT, Superblock, u16_at, u32_at};
use anyhow::{Context, Result};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Ranges of bytes on the whole disk that no file system uses, in order, without overlaps.
pub fn free(disk: &File) -> Result<Vec<Range<u64>>> {
    let size = disk.metadata().context("asking for the image's size")?.len();
    let table = GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512).open_from_device(disk);
    let Ok(table) = table else { return Ok(Vec::new()) };
    let mut free = Vec::new();
    for partition in table.partitions().values() {
        let (start, end) =
            (partition.first_lba.saturating_mul(512), partition.last_lba.saturating_add(1).saturating_mul(512));
        if start < end && end <= size {
            let volume = Volume { disk, start, size: end - start };
            free.extend(volume.free()?.into_iter().map(|range| range.start + start..range.end + start));
        }
    }
    free.sort_by_key(|range| range.start);
    Ok(free)
}

/// A partition, in bytes.
struct Volume<'a> {
    disk: &'a File,
    start: u64,
    size: u64,
}

impl Volume<'_> {
    /// Of the volume's own bytes.
    fn free(&self) -> Result<Vec<Range<u64>>> {
        let free = match self.ext4()? {
            Some(free) => free,
            None => self.fat32()?.unwrap_or_default(),
        };
        Ok(free.into_iter().filter(|range| range.end <= self.size).collect())
    }

    /// `None` beyond the volume's end.
    fn read(&self, at: u64, length: u64) -> Result<Option<Vec<u8>>> {
        if at.checked_add(length).is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.disk.read_exact_at(&mut bytes, self.start + at).context("reading the image")?;
        Ok(Some(bytes))
    }

    fn ext4(&self) -> Result<Option<Vec<Range<u64>>>> {
        let Some(head) = self.read(1024, 1024)? else { return Ok(None) };
        let Some(ext4) = Superblock::read(&head, self.size) else { return Ok(None) };
        let Some(table) = self.read((ext4.first + 1) * ext4.block, ext4.groups() * ext4.descriptor)? else {
            return Ok(None);
        };
        let mut free = Ranges::default();
        for (group, descriptor) in (0..).zip(table.chunks_exact(usize::try_from(ext4.descriptor)?)) {
            let blocks = ext4.blocks_of(group);
            if u16_at(descriptor, 0x12) & BLOCK_UNINIT != 0 {
                free.add(ext4.unbegun(descriptor, &blocks));
                continue;
            }
            let bitmap = u32_at(descriptor, 0) | ext4.high(descriptor, 0x20, u32_at) << 32;
            let Some(bitmap) = self.read(bitmap.saturating_mul(ext4.block), ext4.block)? else { return Ok(None) };
            for (bit, block) in blocks.enumerate() {
                if bitmap.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 0) {
                    free.add(block * ext4.block..(block + 1) * ext4.block);
                }
            }
        }
        Ok(Some(free.0))
    }

    fn fat32(&self) -> Result<Option<Vec<Range<u64>>>> {
        let Some(head) = self.read(0, 512)? else { return Ok(None) };
        if head[82..90] != *b"FAT32   " || head[510..] != [0x55, 0xaa] {
            return Ok(None);
        }
        let sector = u16_at(&head, 11);
        let cluster = u64::from(head[13]) * sector;
        let (reserved, tables, length) = (u16_at(&head, 14), u64::from(head[16]), u32_at(&head, 36));
        let data = (reserved + tables * length) * sector;
        let end = u32_at(&head, 32) * sector;
        let Some(table) = self.read(reserved * sector, length * sector)? else { return Ok(None) };
        if cluster == 0 || end > self.size || data >= end {
            return Ok(None);
        }
        let clusters = (end - data) / cluster;
        let mut free = Ranges::default();
        // The first two entries of the table are for no cluster.
        for (number, entry) in (0..clusters).zip(table.chunks_exact(4).skip(2)) {
            if u32_at(entry, 0) & 0x0fff_ffff == 0 {
                free.add(data + number * cluster..data + (number + 1) * cluster);
            }
        }
        Ok(Some(free.0))
    }
}

/// Ranges in order, neighbours joined.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }
}
