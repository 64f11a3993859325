//! A disk's partition table.

use firstboot::partition;
use firstboot::table::Disk;
use std::io::Cursor;

/// Bytes of a sector, and of the header's part that its checksum covers.
const SECTOR: usize = 512;
const HEADER: usize = 92;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// A disk's first sectors, once as they are and once with the checksums made right; the disk is larger than they are.
pub fn table(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    read(&bytes);
    if bytes.len() >= SECTOR + HEADER {
        repair(&mut bytes);
        read(&bytes);
    }
}

fn read(bytes: &[u8]) {
    let disk = |sectors| Disk { device: Cursor::new(bytes.to_vec()), sector: SECTOR as u64, sectors };
    for sectors in [(bytes.len() / SECTOR) as u64, 1 << 20] {
        let Ok(Some(table)) = partition::table(disk(sectors)) else { continue };
        for slice in &table.partitions {
            assert!(slice.first <= slice.last && slice.last < sectors, "{slice:?} on a disk of {sectors} sectors");
            let _ = disk(sectors).grow(slice.number, sectors.saturating_sub(34));
        }
        let _ = disk(sectors).set(&table.guid, &table.partitions);
        let _ = disk(sectors).fresh(&table.guid, &table.partitions);
    }
}

fn repair(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let array = u64::from_le_bytes(bytes[SECTOR + 72..SECTOR + 80].try_into().unwrap_or_default());
    let length = u64::from(word(bytes, SECTOR + 80)).saturating_mul(128).min(bytes.len() as u64);
    let start = array.saturating_mul(SECTOR as u64).min(bytes.len() as u64) as usize;
    let end = (start + length as usize).min(bytes.len());
    let sum = CRC.checksum(&bytes[start..end]);
    bytes[SECTOR + 88..SECTOR + 92].copy_from_slice(&sum.to_le_bytes());
    bytes[SECTOR + 16..SECTOR + 20].fill(0);
    let sum = CRC.checksum(&bytes[SECTOR..SECTOR + HEADER]);
    bytes[SECTOR + 16..SECTOR + 20].copy_from_slice(&sum.to_le_bytes());
}
