//! The root file system, grown to its slot: first the partition, then the file system, both while mounted.
//!
//! ```text
//! image:      | bios | ESP | root |                          (backup table where the image ended)
//! partition:  | bios | ESP | root          | free …        | (backup table at the disk's end)
//! file system:               ^ grown by resize2fs to fill the partition
//! ```
//! It only ever grows. What stands behind it on the disk is never touched.

use super::Part;
use super::disk;
use super::system::{Extent, System, Where};
use crate::act::{Act, Step};
use crate::ask::{Ask, Slice, Table};
use crate::facts::Facts;
use crate::inventory;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use serde::Deserialize;

const FINDMNT: [&str; 6] = ["findmnt", "--json", "--bytes", "--output=SOURCE,FSTYPE", "--nofsroot", "/"];
/// Partitions end on multiples of this, so that any medium's erase blocks are met.
const ALIGN: u64 = 1 << 20;

pub(super) struct Root<'a>(pub &'a System);

/// What the root file system takes of its disk.
#[derive(Clone, Copy)]
enum Room {
    Size(Size),
    Rest,
    /// Its partition, which is as large as it is to be.
    Partition,
}

/// Where the root file system is.
struct Place {
    partition: String,
    disk: String,
    number: u32,
}

impl Root<'_> {
    /// What the root file system takes of its disk; a verdict where nothing is to be done, or not yet.
    fn room(&self, spec: &Spec, facts: &Facts) -> Result<Room, Verdict> {
        if !self.0.has_slots() {
            return Ok(match self.0.root.unwrap_or(Extent::Slot) {
                Extent::Rest => Room::Rest,
                Extent::Slot => Room::Size(self.0.slot_size()),
            });
        }
        let silent = || Verdict::Wait("it is not known where / is; see `firstboot facts`".to_owned());
        let layout = self.0.layout(spec).ok_or_else(silent)?;
        match self.0.place(spec, &layout, facts).ok().flatten().ok_or_else(silent)? {
            Where::Slot(_) => Ok(Room::Partition),
            Where::InPlace => match layout.slots[0].1.size {
                disk::Extent::Size(size) => Ok(Room::Size(size.max(self.0.slot_size()))),
                disk::Extent::Rest => Ok(Room::Size(self.0.slot_size())),
            },
            Where::Medium(_) => Err(Verdict::Wait("/ is on the medium: nothing of it is to grow".to_owned())),
        }
    }

    /// The last LBA that the root partition should have on a disk with this table: aligned, never before its present end.
    fn wanted_last(room: Room, table: &Table, root: &Slice) -> u64 {
        // 33 sectors of 512 bytes (5 of 4096) at the end are the backup table's; one more alignment keeps clear of them.
        let usable = (table.sectors * table.sector).saturating_sub(ALIGN) / ALIGN * ALIGN / table.sector;
        let next = table.partitions.iter().map(|slice| slice.first).filter(|first| *first > root.last).min();
        let limit = usable.min(next.unwrap_or(u64::MAX));
        let wanted = match room {
            Room::Rest => limit,
            Room::Size(size) => limit.min(root.first + size.0 / table.sector),
            Room::Partition => root.last + 1,
        };
        (wanted - 1).max(root.last)
    }

    fn plan_table(room: Room, place: &Place, table: &Table, facts: &Facts) -> Verdict {
        let Some(root) = table.partitions.iter().find(|slice| slice.number == place.number) else {
            return Verdict::refuse(
                format!("no partition {} in the table of {}", place.number, place.disk),
                "the root file system's own partition",
                format!("compare `sfdisk --dump {}` with `lsblk`", place.disk),
            );
        };
        let last = Self::wanted_last(room, table, root);
        let bytes = (root.last + 1 - root.first) * table.sector;
        // They differ where the table was written and the kernel was not told any more.
        let known = place.bytes(facts).is_none_or(|kernel| kernel == bytes);
        if last == root.last && table.backup == table.sectors - 1 && known {
            return Verdict::Done;
        }
        if let Some(gap) = (1u32..).zip(&table.partitions).find(|(number, slice)| *number != slice.number) {
            return Verdict::refuse(
                format!("a table on {} without a partition {}", place.disk, gap.0),
                "partitions numbered 1, 2, 3 … without a gap: others are not rewritten",
                format!("grow it by hand with `sfdisk {}` and `resize2fs {}`", place.disk, place.partition),
            );
        }
        let size = |last: u64| Size((last + 1 - root.first) * table.sector);
        let grow = Act::Grow { disk: place.disk.clone(), number: place.number, last };
        let mut steps =
            vec![Step::new(grow, format!("the root partition has {}, its slot {}", size(root.last), size(last)))];
        if last > root.last {
            steps.push(Step::new(Act::run(&["resize2fs", &place.partition]), "the file system fills its partition"));
        }
        Verdict::Do(steps)
    }
}

/// What is known of the root file system so far; each step needs the answer to the one before.
impl Place {
    fn find(facts: &Facts) -> Result<Option<Place>, String> {
        let Some(partition) = source(facts)? else { return Ok(None) };
        let Some(link) = facts.said(&["readlink", &sysfs(&partition)]) else { return Ok(None) };
        let Some(number) = facts.file(&format!("{}/partition", sysfs(&partition))) else { return Ok(None) };
        let number = number.content.trim().parse().map_err(|_| format!("{partition}, which is no partition"))?;
        let disk = link.rsplit('/').nth(1).ok_or_else(|| format!("{partition} at {link} in /sys"))?;
        Ok(Some(Place { disk: format!("/dev/{disk}"), partition, number }))
    }

    /// Bytes of the partition as the kernel has it: it counts sectors of 512 bytes, whatever the disk's own are.
    fn bytes(&self, facts: &Facts) -> Option<u64> {
        let sectors: u64 = facts.file(&format!("{}/size", sysfs(&self.partition)))?.content.trim().parse().ok()?;
        sectors.checked_mul(512)
    }
}

fn sysfs(device: &str) -> String {
    format!("/sys/class/block/{}", device.trim_start_matches("/dev/"))
}

/// The device that is mounted at /, once findmnt has answered.
fn source(facts: &Facts) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Mounts {
        filesystems: Vec<Mount>,
    }
    #[derive(Deserialize)]
    struct Mount {
        source: String,
        fstype: String,
    }
    let Some(said) = facts.said(&FINDMNT) else { return Ok(None) };
    let mounts: Mounts = serde_json::from_str(said).map_err(|error| format!("an answer of findmnt that {error}"))?;
    match mounts.filesystems.into_iter().next() {
        Some(mount) if mount.fstype == "ext4" => Ok(Some(mount.source)),
        Some(mount) => Err(format!("{} with {} at /", mount.source, mount.fstype)),
        None => Err("nothing mounted at /".to_owned()),
    }
}

/// Bytes of the file system, as its superblock says.
fn filesystem_size(said: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        said.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches(':').trim().parse().ok()
    };
    field("Block count")?.checked_mul(field("Block size")?)
}

impl Part for Root<'_> {
    fn name(&self) -> String {
        "root".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["e2fsprogs", "util-linux"]
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        let least = Size(2 << 30);
        match self.0.slot_size {
            Some(size) if size < least => vec![Finding::new(
                &["system", "slot-size"],
                size.to_string(),
                format!("at least {least}: a Debian system and the room for its next kernel"),
                format!("write \"{}\", or leave it out", System::SLOT_SIZE),
            )],
            _ => Vec::new(),
        }
    }

    fn asks(&self, _: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = vec![Ask::run(&FINDMNT)];
        if let Ok(Some(partition)) = source(facts) {
            asks.push(Ask::run(&["readlink", &sysfs(&partition)]));
            asks.extend(["partition", "size"].map(|file| Ask::File(format!("{}/{file}", sysfs(&partition)))));
            asks.push(Ask::run(&["dumpe2fs", "-h", &partition]));
        }
        if let Ok(Some(place)) = Place::find(facts) {
            asks.push(Ask::Gpt(place.disk));
        }
        if self.0.has_slots() {
            asks.extend(inventory::asks(facts));
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let room = match self.room(spec, facts) {
            Ok(room) => room,
            Err(verdict) => return verdict,
        };
        let place = match Place::find(facts) {
            Ok(Some(place)) => place,
            Ok(None) => {
                return Verdict::Wait("the root file system's place is not known; see `firstboot facts`".to_owned());
            }
            Err(saw) => {
                return Verdict::refuse(saw, "ext4 on a partition at /", "boot the image as it was built, from a disk");
            }
        };
        let Some(table) = facts.table(&place.disk) else {
            return Verdict::refuse(
                format!("no GUID partition table on {}", place.disk),
                "the one that the image was built with",
                format!("look at it with `sfdisk --dump {}`", place.disk),
            );
        };
        match Self::plan_table(room, &place, table, facts) {
            Verdict::Done => Self::plan_filesystem(&place, facts),
            other => other,
        }
    }
}

impl Root<'_> {
    fn plan_filesystem(place: &Place, facts: &Facts) -> Verdict {
        let said = facts.said(&["dumpe2fs", "-h", &place.partition]).and_then(filesystem_size);
        let (Some(partition), Some(filesystem)) = (place.bytes(facts), said) else {
            return Verdict::Wait(format!("the size of {} is not known; see `firstboot facts`", place.partition));
        };
        // resize2fs leaves out a last group that would be too small to hold its own tables: less than 64 MiB.
        if filesystem + (64 << 20) > partition {
            return Verdict::Done;
        }
        let why = format!("the file system has {filesystem} bytes, its partition {partition}");
        Verdict::Do(vec![Step::new(Act::run(&["resize2fs", &place.partition]), why)])
    }
}
