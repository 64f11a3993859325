//! The bytes of a GUID partition table (UEFI specification, chapter 5), and how they are replaced by others.
//!
//! The gpt crate makes headers and entries. It neither reads nor writes a disk here: it takes a header whose array is
//! damaged for an error where the other one is whole, renumbers partitions, drops what it does not know, and for a moment
//! leaves a primary table that is not valid. Linux then finds no partition at all (it looks at the backup only with `gpt`
//! on its command line). So only those bytes of entries are changed that have to be, and written in an order in which a
//! primary table is valid at every moment:
//!
//! ```text
//! before      | MBR | H | array A | 0 0 0 0 | partitions …       (backup where the disk once ended)
//! 1, 2 backup                                                      | array B | H |   at the disk's end
//! 3 spare     | MBR | H | array A | array B |
//! 4 switch    | MBR | H'| array A | array B |                    H' is one sector: it says where the array is
//! 5 array     | MBR | H'| array B | array B |
//! 6 switch    | MBR | H"| array B | array B |
//! 7, 8 tidy   | MBR'| H"| array B | 0 0 0 0 |                    the protective entry's size made right
//! ```

use anyhow::{Context, Result, bail};
use crc::{CRC_32_ISO_HDLC, Crc};
use profiles::ask::Slice;
use std::io::{Read, Seek, SeekFrom};
use uuid::Uuid;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// The size of an entry in every table that is in use; the specification allows others.
const ENTRY: usize = 128;
const HEADER: usize = 92;
/// The first LBA of the array, behind the MBR and the header.
pub(crate) const ARRAY: u64 = 2;
/// The four entries of the MBR, of 16 bytes each; a protective one has this type, at byte 4.
const MBR_ENTRIES: std::ops::Range<usize> = 446..510;
const PROTECTIVE: u8 = 0xee;

/// Some sectors' new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub lba: u64,
    pub bytes: Vec<u8>,
}

/// A disk as it is read: sectors of `sector` bytes, `sectors` of them.
pub struct Disk<D> {
    pub device: D,
    pub sector: u64,
    pub sectors: u64,
}

/// A header whose checksums, its own and its array's, are right.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Vec<u8>,
    pub(crate) array: Vec<u8>,
}

impl<D: Read + Seek> Disk<D> {
    fn read(&mut self, lba: u64, length: usize) -> Result<Vec<u8>> {
        let start = lba.checked_mul(self.sector).context("an address beyond 16 EiB")?;
        self.device.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        self.device.read_exact(&mut bytes).with_context(|| format!("reading LBA {lba}"))?;
        Ok(bytes)
    }

    /// The header at `lba` with its array, where both are valid.
    pub fn header(&mut self, lba: u64) -> Result<Option<Header>> {
        let Some(mut header) = self.lone_header(lba)? else { return Ok(None) };
        let length = header.u32(80) as usize * ENTRY;
        let end = header.array_at().checked_add(length.div_ceil(self.sector as usize) as u64);
        if end.is_none_or(|end| end > self.sectors) {
            return Ok(None);
        }
        header.array = self.read(header.array_at(), length)?;
        Ok((CRC.checksum(&header.array) == header.u32(88)).then_some(header))
    }

    /// The header at `lba` where that sector is valid, whatever its array is. It has no entries.
    pub fn lone_header(&mut self, lba: u64) -> Result<Option<Header>> {
        if lba == 0 || lba >= self.sectors {
            return Ok(None);
        }
        let bytes = self.read(lba, self.sector as usize)?;
        let header = Header { bytes, array: Vec::new() };
        let sane = header.bytes.starts_with(b"EFI PART")
            && header.u32(12) as usize == HEADER
            && header.checksum() == header.u32(16)
            && header.u64(24) == lba
            && header.u32(84) as usize == ENTRY
            && (1..=1024).contains(&header.u32(80));
        Ok(sane.then_some(header))
    }

    /// Where the backup stands that the primary header names. 0 where it is not valid, or where writing was cut off
    /// before its end: the table has to be written again.
    pub fn backup(&mut self, primary: &Header) -> Result<u64> {
        let same = |backup: &Header| backup.array == primary.array && backup.guid() == primary.guid();
        let whole = self.header(primary.u64(32))?.as_ref().is_some_and(same)
            && primary.array_at() != self.spare(primary)
            && self.is_protected()?;
        Ok(if whole { primary.u64(32) } else { 0 })
    }

    /// The MBR says that the disk is in use: without that, Linux reads no table.
    fn is_protected(&mut self) -> Result<bool> {
        let mbr = self.read(0, 512)?;
        let protective = mbr[MBR_ENTRIES].chunks_exact(16).any(|entry| entry[4] == PROTECTIVE);
        Ok(protective && mbr[510..] == [0x55, 0xaa])
    }

    pub(crate) fn array_sectors(&self, header: &Header) -> u64 {
        header.array.len().div_ceil(self.sector as usize) as u64
    }

    fn spare(&self, header: &Header) -> u64 {
        ARRAY + self.array_sectors(header)
    }

    /// All writes that grow partition `number` to end at LBA `last` and move the backup to the disk's end, in order.
    /// Each has to be on the disk before the next. Nothing is written here.
    ///
    /// Fails where the table is damaged, or the partition would overlap another or the table.
    pub fn grow(&mut self, number: u32, last: u64) -> Result<Vec<Write>> {
        let Some(old) = self.header(1)? else {
            bail!("its primary table is damaged: repair it with `sgdisk --verify`, `gdisk` (r, b, w)");
        };
        let new = old.with_last(number, last, self.usable(&old))?;
        self.replace(&old, &new)
    }

    /// The last LBA that a partition may have.
    pub(crate) fn usable(&self, header: &Header) -> u64 {
        (self.sectors - 1).saturating_sub(self.array_sectors(header) + 1)
    }

    /// All writes, in order, that put the table `new` in the place of the valid primary one `old`, with its backup at the
    /// disk's end.
    pub(crate) fn replace(&mut self, old: &Header, new: &Header) -> Result<Vec<Write>> {
        let (end, room, usable) = (self.sectors - 1, self.array_sectors(old), self.usable(old));
        let at = |lba, other, array| new.placed(lba, other, array, usable);
        let backup = at(end, 1, end - room);
        let tidy = at(1, end, ARRAY);
        let array = self.padded(&new.array);

        let mut writes = vec![Write { lba: end - room, bytes: array.clone() }, Write { lba: end, bytes: backup }];
        let spare = self.spare(old);
        if old.array_at() == spare || (old.array_at() == ARRAY && self.is_free(old, spare, room)?) {
            writes.push(Write { lba: spare, bytes: array.clone() });
            writes.push(Write { lba: 1, bytes: at(1, end, spare) });
            writes.push(Write { lba: ARRAY, bytes: array });
            writes.push(Write { lba: 1, bytes: tidy });
            writes.push(Write { lba: spare, bytes: vec![0; (room * self.sector) as usize] });
        } else if old.array_at() == ARRAY {
            // Something stands behind the array. Now the backup is what a cut leaves valid.
            writes.push(Write { lba: ARRAY, bytes: array });
            writes.push(Write { lba: 1, bytes: tidy });
        } else {
            bail!("its entries are at LBA {}, not at {ARRAY}: such tables are not rewritten", old.array_at());
        }
        writes.extend(self.protective()?);
        Ok(writes)
    }

    /// The sectors behind the array belong to no partition, and hold nothing.
    fn is_free(&mut self, header: &Header, lba: u64, sectors: u64) -> Result<bool> {
        let used = header.entries().any(|entry| entry.first < lba + sectors);
        Ok(!used && self.read(lba, (sectors * self.sector) as usize)?.iter().all(|byte| *byte == 0))
    }

    pub(crate) fn padded(&self, array: &[u8]) -> Vec<u8> {
        let mut bytes = array.to_vec();
        bytes.resize(array.len().next_multiple_of(self.sector as usize), 0);
        bytes
    }

    /// LBA 0 with its protective entry made, or the size in it made right: the boot code stays. `None` where it is right,
    /// or the MBR has entries of its own.
    pub(crate) fn protective(&mut self) -> Result<Option<Write>> {
        let mut bytes = self.read(0, self.sector as usize)?;
        let before = bytes.clone();
        let entries = &mut bytes[MBR_ENTRIES];
        let size = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX).to_le_bytes();
        if entries.iter().all(|byte| *byte == 0) {
            entries[..12].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        }
        if entries[4] == PROTECTIVE {
            entries[12..16].copy_from_slice(&size);
            bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        }
        Ok((bytes != before).then_some(Write { lba: 0, bytes }))
    }
}

/// What counts of an entry that is in use.
pub(crate) struct Entry {
    pub number: u32,
    pub first: u64,
    pub last: u64,
}

impl Header {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap_or_default())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap_or_default())
    }

    fn set(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn array_at(&self) -> u64 {
        self.u64(72)
    }

    /// The disk's GUID.
    pub fn guid(&self) -> Uuid {
        Uuid::from_bytes_le(self.bytes[56..72].try_into().unwrap_or_default())
    }

    pub(crate) fn set_guid(&mut self, guid: Uuid) {
        self.bytes[56..72].copy_from_slice(&guid.to_bytes_le());
    }

    /// The bytes of entry `number`; `None` where the array is too short for it.
    pub(crate) fn entry(&mut self, number: u32) -> Option<&mut [u8]> {
        let start = (number as usize).checked_sub(1)?.checked_mul(ENTRY)?;
        self.array.get_mut(start..start + ENTRY)
    }

    /// CRC of the header with its own field taken as zero.
    fn checksum(&self) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&self.bytes[..16]);
        digest.update(&[0; 4]);
        digest.update(&self.bytes[20..HEADER]);
        digest.finalize()
    }

    /// All entries that are in use, in the order of their numbers.
    pub fn slices(&self) -> Vec<Slice> {
        let guid = |bytes: &[u8]| Uuid::from_bytes_le(bytes.try_into().unwrap_or_default()).to_string();
        let name = |bytes: &[u8]| {
            let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let text = char::decode_utf16(units.take_while(|unit| *unit != 0));
            text.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        let slice = |Entry { number, first, last }: Entry| {
            let entry = &self.array[(number as usize - 1) * ENTRY..][..ENTRY];
            let (kind, name) = (guid(&entry[..16]), name(&entry[56..]));
            Slice { number, guid: guid(&entry[16..32]), kind, name, first, last }
        };
        self.entries().map(slice).collect()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let word = |entry: &[u8], at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        (1u32..)
            .zip(self.array.chunks_exact(ENTRY))
            .filter(|(_, entry)| entry[..16] != [0; 16])
            .map(move |(number, entry)| Entry { number, first: word(entry, 32), last: word(entry, 40) })
    }

    /// The same table with one entry's last LBA changed.
    fn with_last(&self, number: u32, last: u64, usable: u64) -> Result<Header> {
        let Some(grown) = self.entries().find(|entry| entry.number == number) else {
            bail!("it has no partition {number}");
        };
        if last < grown.last {
            bail!("partition {number} ends at LBA {}, beyond {last}: it only ever grows", grown.last);
        }
        for other in self.entries().filter(|entry| entry.number != number) {
            if other.first <= last && other.last >= grown.first {
                bail!("partition {number} would reach LBA {last}, into partition {} at {}", other.number, other.first);
            }
            if other.last > usable {
                bail!(
                    "partition {} ends at LBA {}, beyond the disk's last usable one {usable}",
                    other.number,
                    other.last
                );
            }
        }
        if last > usable {
            bail!("LBA {last} is beyond the disk's last usable one, {usable}");
        }
        let mut new = self.clone();
        new.entry(number).context("an entry that is no more")?[40..48].copy_from_slice(&last.to_le_bytes());
        Ok(new)
    }

    /// The header's sector for LBA `lba`: the other header at `other`, the array at `array`.
    pub(crate) fn placed(&self, lba: u64, other: u64, array: u64, usable: u64) -> Vec<u8> {
        let mut header = self.clone();
        for (at, value) in [(24, lba), (32, other), (48, usable), (72, array)] {
            header.set(at, value);
        }
        header.bytes[88..92].copy_from_slice(&CRC.checksum(&self.array).to_le_bytes());
        let checksum = header.checksum();
        header.bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.bytes
    }
}
