//! What differs between two images: partitions, files, and the bytes that belong to no file.

use crate::diff::disk::{Disk, Partition};
use crate::diff::files::Files;
use crate::diff::packages::Listing;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// The boot code, before the partition table's own four entries.
const BOOT_CODE: u64 = 440;
/// dpkg's own list of what is installed.
const STATUS: &[u8] = b"/var/lib/dpkg/status";
/// No such list comes near this many bytes.
const LARGEST: u64 = 64 << 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Is each byte the same?
    pub equal: bool,
    pub sizes: Vec<Resized>,
    pub files: Files,
    /// Where bytes differ without a file that does.
    pub other: Vec<String>,
}

/// A partition, or the whole disk, that has another size in bytes. `None` where a side does not have it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resized {
    pub name: String,
    pub old: Option<u64>,
    pub new: Option<u64>,
}

/// The packages of an image, as its own dpkg lists them; none where it has no such list.
pub fn packages(disk: &Disk, path: &Path) -> Result<Listing> {
    let reading = || format!("reading the packages of {}", path.display());
    for partition in disk.partitions.iter().filter(|partition| partition.is_root) {
        let Some(volume) = disk.volume(partition).with_context(reading)? else { continue };
        if volume.has(STATUS).with_context(reading)? {
            let mut status = Vec::new();
            volume
                .file(STATUS)
                .and_then(|file| Ok(file.take(LARGEST).read_to_end(&mut status)?))
                .with_context(reading)?;
            return Listing::of_status(&String::from_utf8_lossy(&status)).with_context(reading);
        }
    }
    Ok(Listing::default())
}

pub fn diff(old: &Disk, new: &Disk) -> Result<Difference> {
    let equal = old.size == new.size && old.is_equal(0, new, 0, old.size)?;
    let mut difference = Difference { equal, sizes: Vec::new(), files: Files::default(), other: Vec::new() };
    if equal {
        return Ok(difference);
    }
    difference.resized("disk", Some(old.size), Some(new.size));
    let boot_code = BOOT_CODE.min(old.size).min(new.size);
    if !old.is_equal(0, new, 0, boot_code)? {
        difference.other.push("boot code: the first 440 bytes of the disk".to_owned());
    }
    let at = |disk: &'_ Disk, number| disk.partitions.iter().position(|one| one.number == number);
    for before in &old.partitions {
        match at(new, before.number) {
            Some(place) => difference.compare(old, before, new, &new.partitions[place])?,
            None => difference.resized(&before.name, Some(before.size), None),
        }
    }
    for after in new.partitions.iter().filter(|after| at(old, after.number).is_none()) {
        difference.resized(&after.name, None, Some(after.size));
    }
    Ok(difference)
}

impl Difference {
    fn resized(&mut self, name: &str, old: Option<u64>, new: Option<u64>) {
        if old != new {
            self.sizes.push(Resized { name: name.to_owned(), old, new });
        }
    }

    /// Compares a partition of both disks.
    fn compare(&mut self, old: &Disk, before: &Partition, new: &Disk, after: &Partition) -> Result<()> {
        self.resized(&after.name, Some(before.size), Some(after.size));
        if before.size == after.size && old.is_equal(before.start, new, after.start, before.size)? {
            return Ok(());
        }
        let (Some(volume), Some(other)) = (old.volume(before)?, new.volume(after)?) else {
            self.other.push(format!("partition {}: it has no file system that mimg reads", after.name));
            return Ok(());
        };
        let place = if after.is_root { String::new() } else { format!("{}:", after.name) };
        let mut files = Files::default();
        files.add(&place, &volume, &other).with_context(|| format!("partition {}", after.name))?;
        if files.is_empty() && before.size == after.size {
            let what =
                "times, extended attributes such as capabilities, the file system's own tables, or unused blocks";
            self.other.push(format!("partition {}: all files are equal; what is left are {what}", after.name));
        }
        self.files.append(files);
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if self.equal {
            return writeln!(out, "the images are equal, bit for bit");
        }
        let mib = |size: &Option<u64>| size.map_or("-".to_owned(), |size| format!("{} MiB", size.div_ceil(1 << 20)));
        for Resized { name, old, new } in &self.sizes {
            writeln!(out, "size     {name}  {} -> {}", mib(old), mib(new))?;
        }
        write!(out, "{}", self.files)?;
        self.other.iter().try_for_each(|other| writeln!(out, "other    {other}"))
    }
}
