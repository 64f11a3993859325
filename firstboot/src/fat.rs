//! FAT volumes written in process: the ESP of an image, and small labelled media such as a seed.
//!
//! No mount, no tool of the host. The same input gives the same bytes: every time stamp and the serial number come
//! from the caller (`docs/decisions/fat-in-process.md`).

use crate::window::Window;
use anyhow::{Context, Result, anyhow, ensure};
use fs_err as fs;
use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter, FormatParams, OemName, SectorSize};
use hadris_fat::time::{FatDateTime, StaticTimeProvider};
use hadris_fat::{FatDir, FatVolume, FatVolumeWriteExt, FileEntry};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file of a volume: its path with `/` between the parts, none in front ("EFI/BOOT/BOOTX64.EFI"), and its content.
pub type Entry<'a> = (&'a str, &'a [u8]);

/// What a volume is to hold.
pub struct Volume<'a> {
    /// At most 11 of `A-Z 0-9 - _` and blanks.
    pub label: &'a str,
    /// The volume's serial number, shown as XXXX-XXXX.
    pub serial: u32,
    /// Bytes of a sector: the disk's own.
    pub sector: u64,
    /// Sectors in a cluster; without it the size decides, and so does the kind (FAT12, 16 or 32). With it the volume is
    /// FAT32, and refused if it has so few clusters that firmware would take it for a FAT16.
    pub fat32_cluster: Option<u8>,
    pub files: &'a [Entry<'a>],
    /// The time of all files and folders, in seconds since 1970.
    pub epoch: i64,
}

impl Volume<'_> {
    /// Makes the file system over all of `window`, whose bytes must be zeros. Fails if a name is not valid, or the
    /// files need more room.
    pub fn write(&self, window: &mut Window) -> Result<()> {
        let options = self.options(window.len())?;
        let params = FatVolumeFormatter::calculate_params(&options)
            .with_context(|| format!("laying out a FAT volume of {} bytes", window.len()))?;
        self.check_room(&params)?;
        FatVolumeFormatter::format(&mut *window, options).context("formatting the FAT volume")?;
        let time = fat_time(self.epoch)?;
        stamp_label(window, &params, time)?;
        self.fill(window, time)
    }

    fn options(&self, size: u64) -> Result<FatFormatOptions> {
        let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_ ".contains(&b);
        ensure!(
            !self.label.is_empty() && self.label.len() <= 11 && self.label.bytes().all(fits),
            "the label {:?} does not fit a FAT volume: 1 to 11 of A-Z, 0-9, '-', '_' and blanks",
            self.label
        );
        let mut options = FatFormatOptions::new(size).volume_label(self.label).volume_id(self.serial);
        // The name that every driver knows; some firmware is said to look at it.
        options.oem_name = OemName::new("MSWIN4.1");
        let (kind, cluster) = match self.fat32_cluster {
            Some(sectors) => (FatTypeSelection::Fat32, sectors),
            None => kind(size / self.sector),
        };
        let sector = SectorSize::try_from(self.sector as usize);
        options.sector_size = sector.map_err(|()| anyhow!("a FAT volume has no sectors of {} bytes", self.sector))?;
        options.fat_type = kind;
        options.sectors_per_cluster = Some(cluster);
        Ok(options)
    }

    /// Says beforehand how many bytes are wanted, where the writer would only say "full" half-way.
    fn check_room(&self, params: &FormatParams) -> Result<()> {
        let cluster = u64::from(params.sectors_per_cluster) * params.sector_size as u64;
        let clusters = |bytes: &[u8]| (bytes.len() as u64).div_ceil(cluster);
        let folders: u64 = self.files.iter().map(|(path, _)| path.matches('/').count() as u64 + 1).sum();
        let wanted = self.files.iter().map(|(_, bytes)| clusters(bytes)).sum::<u64>() + folders;
        let room = u64::from(params.cluster_count);
        ensure!(
            wanted <= room,
            "the files of the FAT volume {} need {} bytes, and it has room for {}: make it larger",
            self.label,
            wanted * cluster,
            room * cluster
        );
        Ok(())
    }

    fn fill(&self, window: &mut Window, time: FatDateTime) -> Result<()> {
        // The crate asks for a clock that lives for ever: six bytes for each volume.
        window.rewind()?;
        let clock = Box::leak(Box::new(StaticTimeProvider(time)));
        let volume = FatVolume::builder(window).time_provider(clock).open().context("opening the FAT volume")?;
        for (path, bytes) in self.files {
            put(&volume, path, bytes).with_context(|| format!("putting {path} on the FAT volume {}", self.label))?;
        }
        volume.sync().context("finishing the FAT volume")
    }
}

/// Sectors in a cluster of a FAT32 of `size` bytes: the largest, at most 4 KiB, that leaves as many clusters as firmware
/// wants of one. None where it is too small for that.
pub fn fat32_cluster(size: u64, sector: u64) -> Option<u8> {
    let enough = |sectors: &u8| size / (u64::from(*sectors) * sector) > 66_500;
    [8, 4, 2, 1].into_iter().filter(|sectors| u64::from(*sectors) * sector <= 4096).find(enough)
}

/// A small volume's kind and the sectors of its clusters, both clear of the bounds where drivers disagree: a FAT12 has
/// at most 4084 clusters, a FAT16 65,524. The crate's own choice fails for some sizes.
fn kind(sectors: u64) -> (FatTypeSelection, u8) {
    match sectors {
        0..4000 => (FatTypeSelection::Fat12, 1),
        4000..4600 => (FatTypeSelection::Fat12, 2),
        sectors => {
            let cluster = (0..7).map(|bits| 1 << bits).find(|cluster| sectors / u64::from(*cluster) < 65_000);
            (FatTypeSelection::Fat16, cluster.unwrap_or(64))
        }
    }
}

/// Makes a medium at `path`: a FAT volume of `size` bytes without a partition table, labelled `label`, such as a node's
/// seed.
///
/// `files` are names and contents; the serial number follows from both and the label. An existing file is replaced.
pub fn medium(path: &Path, label: &str, size: u64, files: &[Entry], epoch: i64) -> Result<()> {
    let serial = serial_of(label, files);
    let file = fs::File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(size)?;
    let mut window = Window::new(file.file(), 0, size);
    let volume = Volume { label, serial, sector: 512, fat32_cluster: None, files, epoch };
    volume.write(&mut window).with_context(|| format!("making the medium {}", path.display()))?;
    file.sync_all().map_err(Into::into)
}

fn serial_of(label: &str, files: &[Entry]) -> u32 {
    let mut hash = Sha256::new_with_prefix(label);
    for (name, bytes) in files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let digest = hash.finalize();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

fn put<D: Data>(volume: &FatVolume<D>, path: &str, bytes: &[u8]) -> Result<()> {
    let (path, name) = path.rsplit_once('/').unwrap_or(("", path));
    ensure!(!name.is_empty(), "the path names no file");
    let entry = volume.create_file(&folder(volume, path)?, name)?;
    fill(volume, &entry, bytes)
}

/// The folder at `path`, made where it is missing.
pub(crate) fn folder<'v, D: Data>(volume: &'v FatVolume<D>, path: &str) -> Result<FatDir<'v, D>> {
    let parts = path.split('/').filter(|_| !path.is_empty());
    parts.into_iter().try_fold(volume.root_dir(), |folder, part| match folder.find(part)? {
        Some(found) => Ok(volume.open_dir_entry(&found)?),
        None => Ok(volume.create_dir(&folder, part)?),
    })
}

/// Writes a file's content from its beginning.
pub(crate) fn fill<D: Data>(volume: &FatVolume<D>, entry: &FileEntry, bytes: &[u8]) -> Result<()> {
    let mut writer = volume.write_file(entry)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = writer.write(rest)?;
        ensure!(written > 0, "the volume took no more bytes");
        rest = &rest[written..];
    }
    Ok(writer.finish()?)
}

/// What a volume can lie in.
pub(crate) trait Data: hadris_fat::sync::Read + hadris_fat::sync::Write + hadris_fat::sync::Seek {}

impl<D: hadris_fat::sync::Read + hadris_fat::sync::Write + hadris_fat::sync::Seek> Data for D {}

/// The formatter stamps the label's entry, the root folder's first, with the wall clock: the times of a FAT entry are
/// at 13..20 and 22..26.
fn stamp_label(window: &mut Window, params: &FormatParams, time: FatDateTime) -> Result<()> {
    let reserved = u64::from(params.reserved_sectors);
    let fats = u64::from(params.fat_count) * u64::from(params.sectors_per_fat);
    let start = (reserved + fats) * params.sector_size as u64;
    let mut entry = [0; 32];
    window.seek(SeekFrom::Start(start))?;
    window.read_exact(&mut entry)?;
    let (day, second) = (time.date.to_le_bytes(), time.time.to_le_bytes());
    entry[13] = time.time_tenth;
    entry[14..16].copy_from_slice(&second);
    entry[16..18].copy_from_slice(&day);
    entry[18..20].copy_from_slice(&day);
    entry[22..24].copy_from_slice(&second);
    entry[24..26].copy_from_slice(&day);
    window.seek(SeekFrom::Start(start))?;
    window.write_all(&entry).context("stamping the volume's label")
}

/// FAT counts from 1980 in local time; UTC here, as the kernel's `tz=UTC` reads it.
pub(crate) fn fat_time(epoch: i64) -> Result<FatDateTime> {
    let at = Timestamp::from_second(epoch).with_context(|| format!("reading the time stamp {epoch}"))?;
    let at = at.to_zoned(TimeZone::UTC);
    let year = u16::try_from(at.year()).unwrap_or(1980);
    let field = |n: i8| n.unsigned_abs();
    Ok(FatDateTime::new(
        year,
        field(at.month()),
        field(at.day()),
        field(at.hour()),
        field(at.minute()),
        field(at.second()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const EPOCH: i64 = 1_700_000_000;
    const MIB: u64 = 1 << 20;

    /// What a tool says of the medium, which it must find no fault with.
    fn says(tool: &str, arguments: &[&str]) -> String {
        let out = Command::new(tool).args(arguments).output().expect("dosfstools and util-linux are installed");
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{tool}: {said}");
        said
    }

    fn name(path: &Path) -> &str {
        path.to_str().expect("a path of ASCII")
    }

    fn made(size: u64, fat32_cluster: Option<u8>, files: &[Entry]) -> Result<tempfile::NamedTempFile> {
        let file = tempfile::NamedTempFile::new()?;
        file.as_file().set_len(size)?;
        let volume = Volume { label: "TEST", serial: 0xabcd_1234, sector: 512, fat32_cluster, files, epoch: EPOCH };
        volume.write(&mut Window::new(file.as_file(), 0, size))?;
        Ok(file)
    }

    #[test]
    fn fsck_finds_nothing_wrong_with_media_of_every_kind_of_fat() {
        let loader = vec![0x5a; 700_000];
        let long = "a folder with a long name/and a file with Ümläuts in a name longer than any that DOS ever had.toml";
        let files: Vec<Entry> =
            vec![("EFI/BOOT/BOOTX64.EFI", &loader), ("seed.toml", b"x = 1\n"), (long, b"y"), ("empty", b"")];
        for (size, cluster, kind) in [(MIB, None, "12 bit"), (32 * MIB, None, "16 bit"), (64 * MIB, Some(1), "32 bit")]
        {
            let medium = made(size, cluster, &files).expect("a volume");
            let said = says("fsck.fat", &["-n", "-v", name(medium.path())]);
            assert!(said.contains(kind), "{said}");
            let read = says("mtype", &["-i", name(medium.path()), "::/seed.toml"]);
            assert_eq!(read, "x = 1\n");
        }
    }

    #[test]
    fn a_medium_is_found_by_its_label_and_is_the_same_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for path in [&one, &two] {
            medium(path, "MIMG-SEED", 2 * MIB, &[("spec.json", b"{}")], EPOCH).expect("a medium");
        }
        assert!(std::fs::read(&one).expect("one") == std::fs::read(&two).expect("two"), "the media differ");
        let said = says("blkid", &["-p", "-o", "export", name(&one)]);
        assert!(said.contains("LABEL=MIMG-SEED") && said.contains("TYPE=vfat"), "{said}");
        let listed = says("mdir", &["-i", name(&one), "::/"]);
        assert!(listed.contains("2023-11-14  22:13"), "{listed}");
        medium(&two, "MIMG-SEED", 2 * MIB, &[("spec.json", b"{ }")], EPOCH).expect("a medium");
        assert_ne!(
            said,
            says("blkid", &["-p", "-o", "export", name(&two)]),
            "other content, and the same serial number"
        );
    }

    #[test]
    fn the_label_carries_the_callers_time_too() {
        let medium = made(MIB, None, &[]).expect("a volume");
        let bytes = std::fs::read(medium.path()).expect("reading");
        let entry = bytes.chunks(32).find(|e| e.starts_with(b"TEST    ")).expect("a label's entry");
        // 2023-11-14 22:13:20
        let (day, second) = ((43_u16 << 9 | 11 << 5 | 14).to_le_bytes(), (22_u16 << 11 | 13 << 5 | 10).to_le_bytes());
        assert_eq!(
            (&entry[14..16], &entry[16..18], &entry[22..24], &entry[24..26]),
            (&second[..], &day[..], &second[..], &day[..])
        );
    }

    #[test]
    fn a_fat32_that_firmware_would_take_for_a_fat16_is_not_made() {
        let said = format!("{:#}", made(64 * MIB, Some(2), &[]).expect_err("too few clusters"));
        assert!(said.contains("clusters"), "{said}");
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_the_bytes_that_they_need() {
        let said = made(MIB, None, &[("large", &vec![1; 2 << 20])]).expect_err("no room").to_string();
        assert!(said.contains("TEST need 2097"), "{said}");
    }

    #[test]
    fn labels_and_names_that_fat_cannot_hold_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for label in ["", "lower", "TWELVE-CHARS", "Ü"] {
            assert!(medium(&folder.path().join("m"), label, MIB, &[], EPOCH).is_err(), "{label:?} was taken");
        }
        for name in ["", "folder/", "a:b", "a/../b"] {
            assert!(made(MIB, None, &[(name, b"x")]).is_err(), "{name:?} was taken");
        }
    }
}
