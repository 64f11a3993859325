//! The head of an ext4, ext3 or ext2 file system: how large it is, and where its tables are.
//!
//! <https://docs.kernel.org/filesystems/ext4/>, "The Super Block", "Block Group Descriptors".

use std::ops::Range;

/// In a group's descriptor: its bitmap of blocks was never written.
pub const BLOCK_UNINIT: u64 = 2;
/// Features that change where things are: 64-bit numbers, descriptors elsewhere, bitmaps of larger units.
const INCOMPAT_META_BG: u64 = 0x10;
const INCOMPAT_64BIT: u64 = 0x80;
const RO_COMPAT_BIGALLOC: u64 = 0x200;
/// No group that mke2fs makes has fewer blocks; with one block in each, the descriptors alone would fill the memory.
const LEAST_PER_GROUP: u64 = 256;

/// What the superblock says: sizes in bytes, all else in blocks.
pub struct Superblock {
    pub block: u64,
    pub first: u64,
    pub blocks: u64,
    pub per_group: u64,
    pub descriptor: u64,
    pub inodes: u64,
}

/// No inode takes fewer bytes.
const LEAST_INODE: u64 = 128;

impl Superblock {
    /// Of the 1024 bytes at byte 1024 of a volume of `size` bytes; `None` if it is no ext4, or one that is not understood.
    pub fn read(head: &[u8], size: u64) -> Option<Superblock> {
        let (incompat, ro_compat) = (u32_at(head, 0x60), u32_at(head, 0x64));
        let known =
            u16_at(head, 0x38) == 0xef53 && incompat & INCOMPAT_META_BG == 0 && ro_compat & RO_COMPAT_BIGALLOC == 0;
        let wide = incompat & INCOMPAT_64BIT != 0;
        let ext4 = Superblock {
            block: 1024_u64.checked_shl(u32::try_from(u32_at(head, 0x18)).ok().filter(|log| *log <= 6)?)?,
            first: u32_at(head, 0x14),
            // Zeros where numbers are short: a reader that does not look which they are must not be led astray.
            blocks: u32_at(head, 0x4) | u32_at(head, 0x150) << 32,
            per_group: u32_at(head, 0x20),
            descriptor: if wide { u16_at(head, 0xfe) } else { 32 },
            inodes: u32_at(head, 0),
        };
        let fits = ext4.blocks.checked_mul(ext4.block).is_some_and(|bytes| bytes <= size);
        let fits = fits && ext4.inodes * LEAST_INODE <= size;
        let sane = fits && (LEAST_PER_GROUP..=ext4.block * 8).contains(&ext4.per_group) && ext4.first <= 1;
        let sane = sane && ext4.blocks > ext4.first && [32, 64].contains(&ext4.descriptor);
        (known && sane).then_some(ext4)
    }

    pub fn groups(&self) -> u64 {
        (self.blocks - self.first).div_ceil(self.per_group)
    }

    pub fn blocks_of(&self, group: u64) -> Range<u64> {
        let start = self.first + group * self.per_group;
        start..(start + self.per_group).min(self.blocks)
    }

    /// What is free of a group whose bitmap was never written, in bytes: nothing is in use but copies of the superblock and
    /// of the descriptors at its start. Should it have tables of its own, nothing is taken for free.
    pub fn unbegun(&self, descriptor: &[u8], blocks: &Range<u64>) -> Range<u64> {
        let table = |(low, high)| u32_at(descriptor, low) | self.high(descriptor, high, u32_at) << 32;
        let own = [(0x0, 0x20), (0x4, 0x24), (0x8, 0x28)].into_iter().map(table).any(|place| blocks.contains(&place));
        let count = u16_at(descriptor, 0xc) | self.high(descriptor, 0x2c, u16_at) << 16;
        let count = if own { 0 } else { count.min(blocks.end - blocks.start) };
        (blocks.end - count) * self.block..blocks.end * self.block
    }

    /// The upper half of a number, where descriptors are long enough to have one.
    pub fn high(&self, descriptor: &[u8], at: usize, read: fn(&[u8], usize) -> u64) -> u64 {
        if self.descriptor == 64 { read(descriptor, at) } else { 0 }
    }
}

pub fn u16_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u64 {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}
