//! A block map: which blocks of an image have to be written to a disk, and their digests, as bmaptool reads it.
//!
//! Left out are blocks that no file system uses and that hold zeros. What it says depends on the image's bytes alone,
//! and not on the holes that this or that file system makes of them.
//!
//! Format 2.0: <https://github.com/yoctoproject/bmaptool>, `BmapCreate.py`.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::ops::Range;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;

/// Blocks `first` to `last`, both of them included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub first: u64,
    pub last: u64,
    /// Of all their bytes, in hexadecimal digits.
    pub sha256: String,
}

/// `size` of the image in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockmap {
    pub size: u64,
    pub mapped: Vec<Mapped>,
}

/// A map under way: takes the image's bytes from the first to the last.
pub struct Mapping {
    /// Ranges of bytes that no file system uses, the next one last.
    free: Vec<Range<u64>>,
    /// Bytes taken so far.
    size: u64,
    mapped: Vec<Mapped>,
    /// The range that the last block belongs to.
    open: Option<(u64, Sha256)>,
}

impl Mapping {
    /// `free` as `free::free` gives it.
    pub fn new(mut free: Vec<Range<u64>>) -> Mapping {
        free.reverse();
        Mapping { free, size: 0, mapped: Vec::new(), open: None }
    }

    /// Takes the next bytes: a multiple of `BLOCK`, except at the end.
    pub fn take(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK as usize) {
            let number = self.size / BLOCK;
            let place = self.size..self.size + block.len() as u64;
            self.size = place.end;
            if self.is_free(&place) && block.iter().all(|byte| *byte == 0) {
                self.close(number);
            } else {
                self.open.get_or_insert_with(|| (number, Sha256::new())).1.update(block);
            }
        }
    }

    fn is_free(&mut self, place: &Range<u64>) -> bool {
        while self.free.last().is_some_and(|range| range.end <= place.start) {
            self.free.pop();
        }
        self.free.last().is_some_and(|range| range.start <= place.start && place.end <= range.end)
    }

    /// Ends the open range before block `next`.
    fn close(&mut self, next: u64) {
        if let Some((first, hash)) = self.open.take() {
            self.mapped.push(Mapped { first, last: next - 1, sha256: hex::encode(hash.finalize()) });
        }
    }

    pub fn finish(mut self) -> Blockmap {
        self.close(self.size.div_ceil(BLOCK));
        Blockmap { size: self.size, mapped: self.mapped }
    }
}

impl Blockmap {
    /// Bytes that have to be written.
    pub fn bytes(&self) -> u64 {
        let whole: u64 = self.mapped.iter().map(|range| (range.last + 1 - range.first) * BLOCK).sum();
        // The last block of an image may be a part of one.
        let last = self.mapped.last().is_some_and(|range| (range.last + 1) * BLOCK > self.size);
        whole - if last { self.size.next_multiple_of(BLOCK) - self.size } else { 0 }
    }

    /// As bmaptool reads it. Its own digest is that of the text with zeros in the digest's place.
    pub fn xml(&self) -> String {
        let zeros = "0".repeat(64);
        let text = self.with_digest(&zeros);
        self.with_digest(&hex::encode(Sha256::digest(&text)))
    }

    fn with_digest(&self, digest: &str) -> String {
        let Blockmap { size, mapped } = self;
        let blocks = size.div_ceil(BLOCK);
        let count: u64 = mapped.iter().map(|range| range.last + 1 - range.first).sum();
        let mut text = format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {size} </ImageSize>\n    \
             <BlockSize> {BLOCK} </BlockSize>\n    <BlocksCount> {blocks} </BlocksCount>\n    \
             <MappedBlocksCount> {count} </MappedBlocksCount>\n    <ChecksumType> sha256 </ChecksumType>\n    \
             <BmapFileChecksum> {digest} </BmapFileChecksum>\n    <BlockMap>\n"
        );
        for Mapped { first, last, sha256 } in mapped {
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            writeln!(text, "        <Range chksum=\"{sha256}\"> {range} </Range>").expect("writing to a string");
        }
        text + "    </BlockMap>\n</bmap>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: usize = BLOCK as usize;

    fn ranges(map: &Blockmap) -> Vec<(u64, u64)> {
        map.mapped.iter().map(|range| (range.first, range.last)).collect()
    }

    #[test]
    fn only_zeros_that_nobody_uses_are_left_out() {
        let mut image = vec![0; 8 * B];
        image[2 * B] = 1;
        image[6 * B + 5] = 1;
        // Free are blocks 1 to 4 and, but for its first byte, all of block 7.
        let mut mapping = Mapping::new(vec![BLOCK..5 * BLOCK, 7 * BLOCK + 1..8 * BLOCK]);
        mapping.take(&image);
        let map = mapping.finish();
        assert_eq!(ranges(&map), [(0, 0), (2, 2), (5, 7)]);
        assert_eq!(map.mapped[1].sha256, hex::encode(Sha256::digest(&image[2 * B..3 * B])));
        assert_eq!(map.bytes(), 5 * BLOCK);
    }

    #[test]
    fn how_the_bytes_are_handed_over_changes_nothing() {
        let image: Vec<u8> =
            (0..20 * B).map(|at| if (at / B).is_multiple_of(3) { 0 } else { (at % 251) as u8 }).collect();
        let map = |step: usize| {
            let mut mapping = Mapping::new(vec![0..10 * BLOCK, 10 * BLOCK..20 * BLOCK]);
            image.chunks(step).for_each(|chunk| mapping.take(chunk));
            mapping.finish()
        };
        assert_eq!(map(B), map(7 * B));
        assert_eq!(map(20 * B).mapped.len(), 7);
    }

    #[test]
    fn the_last_block_may_be_a_part_of_one_and_an_empty_image_has_none() {
        let mut mapping = Mapping::new(Vec::new());
        mapping.take(&[1; B + 10]);
        let map = mapping.finish();
        assert_eq!((map.size, ranges(&map), map.bytes()), (BLOCK + 10, vec![(0, 1)], BLOCK + 10));
        let none = Mapping::new(Vec::new()).finish();
        assert_eq!((none.size, none.mapped.len(), none.bytes()), (0, 0, 0));
    }
}
