//! An image that is to be compared: raw, compressed or qcow2.

use crate::diff::volume::Volume;
use crate::vm::Missing;
use crate::work::Work;
use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How files begin: zstd's and qcow2's own words, and that of a GPT in its second sector.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const QCOW2: &[u8] = b"QFI\xfb";
const GPT: &[u8] = b"EFI PART";
/// Bytes that are compared or unpacked at a time.
const PIECE: usize = 1 << 20;

/// A disk as the raw image has it.
pub struct Disk {
    file: File,
    pub size: u64,
    pub partitions: Vec<Partition>,
    /// Where it was unpacked.
    _work: Option<Work>,
}

/// A partition: where it lies in bytes.
pub struct Partition {
    pub number: u32,
    pub name: String,
    pub start: u64,
    pub size: u64,
    /// Does it hold the root file system?
    pub is_root: bool,
}

impl Disk {
    /// Opens the image at `path`; `None` if it is none. What is not raw is unpacked in the cache, which `cache` names.
    pub fn open(path: &Path, cache: &dyn Fn() -> Result<PathBuf>) -> Result<Option<Disk>> {
        let mut file = fs::File::open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(1024).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(0))?;
        if head.starts_with(ZSTD) || head.starts_with(QCOW2) {
            let work = Work::in_cache(&cache()?)?;
            let raw = work.path().join("image");
            let unpacked = if head.starts_with(ZSTD) { decompress(file, &raw) } else { convert(path, &head, &raw) };
            unpacked.with_context(|| {
                format!("unpacking {} into {} (or name another place with --cache DIR)", path.display(), raw.display())
            })?;
            let file = fs::File::open(&raw)?.into_parts().0;
            return Disk::read(file, Some(work)).with_context(|| format!("reading {}", path.display())).map(Some);
        }
        if head.get(512..).is_none_or(|second| !second.starts_with(GPT)) {
            return Ok(None);
        }
        Disk::read(file.into_parts().0, None).with_context(|| format!("reading {}", path.display())).map(Some)
    }

    fn read(file: File, work: Option<Work>) -> Result<Disk> {
        let size = (&file).seek(SeekFrom::End(0)).context("asking for the image's size")?;
        let table = GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512);
        let table = table.open_from_device(&file).context("reading its partition table")?;
        let mut partitions = Vec::new();
        for (number, partition) in table.partitions() {
            let (start, end) =
                (partition.first_lba.saturating_mul(512), partition.last_lba.saturating_add(1).saturating_mul(512));
            ensure!(start < end && end <= size, "partition {number} does not lie in the image: is it cut off?");
            let name = if partition.name.is_empty() { format!("partition {number}") } else { partition.name.clone() };
            let is_root = partition.part_type_guid.guid == gpt::partition_types::LINUX_ROOT_X64.guid;
            partitions.push(Partition { number: *number, name, start, size: end - start, is_root });
        }
        Ok(Disk { file, size, partitions, _work: work })
    }

    /// The file system of a partition, if it has one that we read.
    pub fn volume(&self, partition: &Partition) -> Result<Option<Volume<'_>>> {
        Volume::open(&self.file, partition.start, partition.size)
            .with_context(|| format!("partition {}", partition.name))
    }

    /// Has it the same bytes from `start` on as `other` from `there` on?
    pub fn is_equal(&self, start: u64, other: &Disk, there: u64, size: u64) -> Result<bool> {
        let (mut one, mut two) = (vec![0; PIECE], vec![0; PIECE]);
        let mut at = 0;
        while at < size {
            let length = (size - at).min(PIECE as u64);
            let (one, two) = (&mut one[..length as usize], &mut two[..length as usize]);
            self.file.read_exact_at(one, start + at).context("reading the old image")?;
            other.file.read_exact_at(two, there + at).context("reading the new image")?;
            if one != two {
                return Ok(false);
            }
            at += length;
        }
        Ok(true)
    }
}

fn decompress(from: fs::File, raw: &Path) -> Result<()> {
    let mut from = zstd::stream::read::Decoder::new(from).context("starting zstd")?;
    let mut to = fs::File::create(raw)?;
    let mut piece = vec![0; PIECE];
    let mut size = 0;
    loop {
        match from.read(&mut piece).context("it is damaged or cut off")? {
            0 => break,
            // Holes stay holes: an image is mostly empty.
            n if piece[..n].iter().all(|byte| *byte == 0) => {
                to.seek(SeekFrom::Current(n as i64))?;
                size += n as u64;
            }
            n => {
                to.write_all(&piece[..n])?;
                size += n as u64;
            }
        }
    }
    Ok(to.set_len(size)?)
}

/// By qemu-img; but not what would have it read other files than this one.
fn convert(path: &Path, head: &[u8], raw: &Path) -> Result<()> {
    Missing::check_program("qemu-img", "qemu-utils")?;
    let number =
        |at: usize| head.get(at..at + 8).map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap_or_default()));
    const DATA_ELSEWHERE: u64 = 4;
    let is_new = number(0) & 0xffff_ffff > 2;
    if number(8) != 0 || (is_new && number(72) & DATA_ELSEWHERE != 0) {
        bail!("it rests upon another file: make it whole with `qemu-img convert -O qcow2` first");
    }
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-f", "qcow2", "-O", "raw", "--"]).arg(path).arg(raw);
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().context("running qemu-img")?;
    if !output.status.success() {
        bail!("qemu-img convert: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
