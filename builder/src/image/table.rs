//! The partition table of an image: where everything lies on the disk.
//!
//! ```text
//! LBA 0     1           34      2048              4096           …              …          end-33  end
//! | boot.img | GPT head |  …   | 1 bios: core.img | 2 esp: FAT32 | 3 root: ext4 | 1 MiB … | GPT copy |
//! ```
//! A sector has 512 bytes, and every partition begins at a MiB. GRUB's files name the ESP and the root by number, so the
//! order is part of the contract between this file and `grub.rs`.

use crate::image::identity::Identity;
use anyhow::{Context, Result, ensure};
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{BIOS, EFI, LINUX_ROOT_X64, Type};
use gpt::{GptConfig, disk::LogicalBlockSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use uuid::Uuid;

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Everything is aligned to this many bytes.
pub const MIB: u64 = 1 << 20;
/// The number of the ESP, as GRUB's `gpt2`.
pub const ESP: u32 = 2;
/// The number of the root partition, as GRUB's `gpt3`.
pub const ROOT: u32 = 3;

/// One partition: `first_lba` and `sectors` in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partition {
    pub number: u32,
    pub name: String,
    /// What it is for: the GUID of the partition's type.
    pub kind: Uuid,
    /// What Linux calls PARTUUID.
    pub guid: Uuid,
    pub first_lba: u64,
    pub sectors: u64,
}

impl Partition {
    /// Where it begins, in bytes.
    pub fn start(&self) -> u64 {
        self.first_lba * SECTOR
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.sectors * SECTOR
    }
}

/// A whole disk: `size` in bytes, its partitions in the order of their numbers and places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub guid: Uuid,
    pub size: u64,
    pub partitions: Vec<Partition>,
}

impl Table {
    /// The table of an image whose ESP and root have these sizes in bytes, rounded up to MiB.
    pub fn lay_out(identity: &Identity, esp: u64, root: u64) -> Table {
        let mut next = MIB;
        let mut partitions = Vec::new();
        for (number, name, kind, size) in
            [(1, "bios", BIOS, MIB), (ESP, "esp", EFI, esp), (ROOT, "root", LINUX_ROOT_X64, root)]
        {
            let size = size.next_multiple_of(MIB);
            partitions.push(Partition {
                number,
                name: name.to_owned(),
                kind: kind.guid,
                guid: identity.uuid(&format!("partition/{name}")),
                first_lba: next / SECTOR,
                sectors: size / SECTOR,
            });
            next += size;
        }
        Table { guid: identity.uuid("disk"), size: next + MIB, partitions }
    }

    /// The partition with this number, one of those above.
    pub fn partition(&self, number: u32) -> &Partition {
        &self.partitions[number as usize - 1]
    }

    /// Writes the protective MBR with `boot_code`, and the GPT with its copy, to a `disk` of exactly this size; then
    /// reads both back.
    pub fn write(&self, disk: &File, boot_code: [u8; 440]) -> Result<()> {
        let seen = disk.metadata().context("asking for the disk file's size")?.len();
        ensure!(seen == self.size, "the disk file has {seen} bytes, and its table is made for {}", self.size);
        let mut mbr = ProtectiveMBR::with_lb_size(u32::try_from(self.size / SECTOR - 1).unwrap_or(u32::MAX));
        mbr.set_bootcode(boot_code);
        let mut device = disk;
        mbr.overwrite_lba0(&mut device).context("writing the protective MBR")?;
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .create_from_device(device, Some(self.guid))
            .context("laying out the GPT")?;
        table.update_partitions(self.entries()).context("filling the GPT")?;
        table.write().context("writing the GPT")?;
        self.read_back(disk)
    }

    fn entries(&self) -> BTreeMap<u32, gpt::partition::Partition> {
        let entry = |p: &Partition| gpt::partition::Partition {
            part_type_guid: Type { guid: p.kind, os: gpt::partition_types::OperatingSystem::None },
            part_guid: p.guid,
            first_lba: p.first_lba,
            last_lba: p.first_lba + p.sectors - 1,
            flags: 0,
            name: p.name.clone(),
        };
        self.partitions.iter().map(|p| (p.number, entry(p))).collect()
    }

    fn read_back(&self, disk: &File) -> Result<()> {
        let table = GptConfig::new()
            .only_valid_headers(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .open_from_device(disk)
            .context("reading the GPT back")?;
        for wanted in &self.partitions {
            let seen = table.partitions().get(&wanted.number).map(|p| (p.part_guid, p.first_lba, p.last_lba));
            let wish = (wanted.guid, wanted.first_lba, wanted.first_lba + wanted.sectors - 1);
            ensure!(seen == Some(wish), "partition {} reads back as {seen:?}, and {wish:?} was written", wanted.number);
        }
        ensure!(
            *table.guid() == self.guid,
            "the disk's GUID reads back as {}, and {} was written",
            table.guid(),
            self.guid
        );
        Ok(())
    }
}
