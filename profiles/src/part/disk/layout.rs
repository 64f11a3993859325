//! Where partitions lie on a disk: on one that is new, and on one that has some already.
//!
//! ```text
//! new:       | 1 MiB |  first  |  second  | … |  rest          | 1 MiB |
//! in place:  | 1 MiB | the image's own | first | second | …    | 1 MiB |
//! ```
//! All begin and end at a MiB. Only what comes behind all others is added or grown.

use super::{ALIGN, Disk, Extent, Kind, Partition};
use crate::ask::{Slice, Table};
use crate::inventory::amount;
use crate::plan::Refusal;
use crate::spec::Spec;

/// One partition as it is wanted on the disk of a slot.
pub(super) struct Piece<'a> {
    pub partition: &'a Partition,
    pub number: u32,
    /// Its GUID once it is made.
    pub guid: String,
    /// Its GUID until what was there before is gone from its ends.
    pub draft: String,
}

/// What is left to do to a table that is there.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Partitions to add, with their draft GUIDs.
    pub added: Vec<Slice>,
    /// Partition number, and its new last LBA.
    pub grown: Option<(u32, u64)>,
}

impl Kind {
    /// The GUID of the type.
    pub(crate) fn guid(self) -> &'static str {
        match self {
            Kind::Bios => "21686148-6449-6e6f-744e-656564454649",
            Kind::Esp => "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            Kind::Linux => "0fc63daf-8483-4772-8e79-3d69d8477de4",
            Kind::Lvm => "e6d6d379-f507-44c2-a23c-238f2a3df928",
            Kind::Raid => "a19d880f-05fc-4d3b-a006-743f0f84911e",
            Kind::Zfs => "6a898cc3-1dd2-11b2-99a6-080020736631",
            Kind::Swap => "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
            Kind::Luks => "ca7d7ccb-63ed-4c53-861c-1742536059cc",
        }
    }
}

impl Disk {
    /// The partitions of a slot's disk that are ours to make, behind the `own` ones of the image that it was written with.
    pub(super) fn pieces(&self, spec: &Spec, slot: u32, own: usize) -> Vec<Piece<'_>> {
        let kinds = [Kind::Bios, Kind::Esp, Kind::Linux];
        let same = self.partition.len() >= 3 && self.partition.iter().zip(kinds).all(|(part, kind)| part.kind == kind);
        let skipped = if own > 0 && same { 3 } else { 0 };
        let guid = |name: &str| self.partition_guid(spec, slot, name).to_string();
        let wanted = (1 + own as u32..).zip(self.partition.iter().skip(skipped));
        wanted
            .map(|(number, partition)| {
                let name = &partition.name;
                Piece { partition, number, guid: guid(name), draft: guid(&format!("{name}/new")) }
            })
            .collect()
    }
}

/// A disk's measures: bytes of a sector, and how many of them.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub sector: u64,
    pub sectors: u64,
}

impl Room {
    /// The first LBA that no partition may have: a whole MiB stays free at the end.
    fn end(self) -> u64 {
        (self.sectors * self.sector).saturating_sub(ALIGN) / ALIGN * ALIGN / self.sector
    }

    fn align(self, lba: u64) -> u64 {
        (lba * self.sector).next_multiple_of(ALIGN) / self.sector
    }

    /// Where a partition that begins at `first` ends: the LBA behind it. An error is the bytes that are missing.
    fn behind(self, first: u64, size: Extent) -> Result<u64, u64> {
        let wanted = size.size().map_or(ALIGN, |size| size.0.next_multiple_of(ALIGN));
        let least = first.saturating_add(wanted / self.sector);
        if least > self.end() {
            return Err((least - self.end()).saturating_mul(self.sector));
        }
        Ok(if size == Extent::Rest { self.end() } else { least })
    }

    /// Slices for `pieces`, one after the other from `first` on, with their draft GUIDs.
    pub(super) fn place(self, pieces: &[Piece], first: u64) -> Result<Vec<Slice>, Refusal> {
        let mut next = self.align(first);
        let mut slices = Vec::new();
        for piece in pieces {
            let behind = self.behind(next, piece.partition.size).map_err(|lacking| self.too_small(piece, lacking))?;
            slices.push(Slice {
                number: piece.number,
                guid: piece.draft.clone(),
                kind: piece.partition.kind.guid().to_owned(),
                name: piece.partition.name.clone(),
                first: next,
                last: behind - 1,
            });
            next = behind;
        }
        Ok(slices)
    }

    /// Slices of a new table.
    pub(super) fn fresh(self, pieces: &[Piece]) -> Result<Vec<Slice>, Refusal> {
        self.place(pieces, ALIGN / self.sector)
    }

    fn too_small(self, piece: &Piece, lacking: u64) -> Refusal {
        let bytes = self.sectors * self.sector;
        Refusal {
            saw: format!(
                "a disk of {bytes} bytes ({}), too small by {lacking} for {}",
                amount(bytes),
                piece.partition.name
            ),
            wanted: "room for all partitions, and 1 MiB at each end".to_owned(),
            cure: "write smaller sizes, or select larger disks by size-min".to_owned(),
        }
    }
}

fn refusal(saw: String, wanted: &str, cure: String) -> Refusal {
    Refusal { saw, wanted: wanted.to_owned(), cure }
}

/// Compares a table with what is wanted behind the first `own` partitions of it, the last of which is kept room up to
/// LBA `reserved`.
pub(super) fn compare(table: &Table, pieces: &[Piece], own: usize, reserved: u64) -> Result<Changes, Refusal> {
    let room = Room { sector: table.sector, sectors: table.sectors };
    if let Some((number, _)) = (1u32..).zip(&table.partitions).find(|(number, slice)| *number != slice.number) {
        return Err(refusal(
            format!("a table without a partition {number}, and with later ones"),
            "partitions numbered 1, 2, 3 … without a gap",
            "put back the one that was deleted, or number them anew with `sgdisk --sort`".to_owned(),
        ));
    }
    let present = table.partitions.get(own..).unwrap_or_default();
    let mut changes = Changes::default();
    for (index, slice) in present.iter().enumerate() {
        let Some(piece) = pieces.get(index).filter(|piece| [&piece.guid, &piece.draft].contains(&&slice.guid)) else {
            return Err(stranger(slice, pieces));
        };
        if slice.kind != piece.partition.kind.guid() {
            return Err(other_kind(slice, piece));
        }
        let last = index + 1 == present.len();
        if let Some(end) = grown(slice, piece, room, last, index + 1 == pieces.len())? {
            changes.grown = Some((slice.number, end));
        }
    }
    let end = changes.grown.map(|(_, last)| last).or(present.last().map(|slice| slice.last));
    let end = end.unwrap_or_else(|| table.partitions.iter().map(|slice| slice.last).max().unwrap_or(0).max(reserved));
    changes.added = room.place(&pieces[present.len().min(pieces.len())..], end + 1)?;
    Ok(changes)
}

/// The new last LBA of a partition that is to grow.
fn grown(slice: &Slice, piece: &Piece, room: Room, is_last: bool, is_final: bool) -> Result<Option<u64>, Refusal> {
    let bytes = (slice.last + 1 - slice.first) * room.sector;
    let name = &piece.partition.name;
    let Extent::Size(size) = piece.partition.size else {
        // What is to be added behind it has been told that there is no room.
        let end = room.end().max(slice.last + 1);
        return Ok((is_last && is_final && end > slice.last + 1).then(|| end - 1));
    };
    let wanted = size.0.next_multiple_of(ALIGN);
    if wanted < bytes {
        return Err(refusal(
            format!("partition {name} with {bytes} bytes, wanted {wanted}"),
            "a size that is not smaller than what is there: partitions only grow",
            format!(
                "write size = \"{}\"; or take its data away, and raise `generation` of the disk, which ERASES all of it",
                crate::size::Size(bytes)
            ),
        ));
    }
    if wanted == bytes {
        return Ok(None);
    }
    if !is_last {
        return Err(refusal(
            format!("partition {name} with {bytes} bytes, wanted {wanted}, and another partition behind it"),
            "the size that it has: only what is last on its disk can grow",
            format!("write size = \"{}\", or put more of it into another partition", crate::size::Size(bytes)),
        ));
    }
    let behind = room.behind(slice.first, piece.partition.size).map_err(|lacking| room.too_small(piece, lacking))?;
    Ok(Some(behind - 1))
}

fn stranger(slice: &Slice, pieces: &[Piece]) -> Refusal {
    let name = if slice.name.is_empty() { slice.guid.clone() } else { format!("{:?}", slice.name) };
    let ours = pieces.iter().any(|piece| [&piece.guid, &piece.draft].contains(&&slice.guid));
    if ours {
        return refusal(
            format!("partition {} is {name}, which is wanted in another place", slice.number),
            "new partitions behind those that are there, in their order",
            "write [[disk.partition]] in the order of the disk, new ones last".to_owned(),
        );
    }
    refusal(
        format!("partition {} ({name}), which is not in the settings", slice.number),
        "only partitions that [[disk.partition]] names: none is ever removed",
        format!("write it down again; or take its data away, and remove it with `sgdisk --delete={}`", slice.number),
    )
}

fn other_kind(slice: &Slice, piece: &Piece) -> Refusal {
    refusal(
        format!("partition {} with the type {}", piece.partition.name, slice.kind),
        "the type that the settings have: what is in a partition does not change by its type",
        format!(
            "write the old type; or take its data away, and change it with `sgdisk --typecode={}:{}`",
            slice.number,
            piece.partition.kind.guid()
        ),
    )
}
