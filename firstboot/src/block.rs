//! The kernel's own view of a disk: its geometry, and its partitions (linux/fs.h, linux/blkpg.h).

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::{ioctl_read, ioctl_read_bad, ioctl_write_ptr_bad, request_code_none};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

/// How long the kernel may take to show a partition's new size.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// What the kernel counts in, in /sys, whatever the disk's own sectors are.
const KERNEL_SECTOR: u64 = 512;

ioctl_read!(blkgetsize64, 0x12, 114, libc::size_t);
ioctl_read_bad!(blksszget, request_code_none!(0x12, 104), libc::c_int);
ioctl_write_ptr_bad!(blkpg, request_code_none!(0x12, 105), BlkpgCall);

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct BlkpgCall {
    op: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    partition: *const BlkpgPartition,
}

/// `struct blkpg_partition` of linux/blkpg.h; start and length in bytes.
#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    names: [u8; 128],
}

const ADD_PARTITION: libc::c_int = 1;
const DELETE_PARTITION: libc::c_int = 2;
const RESIZE_PARTITION: libc::c_int = 3;

/// A partition as the kernel has it: its number, and where it is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub number: u32,
    pub start: u64,
    pub length: u64,
}

/// Bytes of a sector, and how many of them the device has.
pub(crate) fn geometry(file: &File) -> Result<(u64, u64)> {
    if !file.metadata()?.file_type().is_block_device() {
        bail!("it is no block device");
    }
    let (mut bytes, mut sector): (libc::size_t, libc::c_int) = (0, 0);
    // SAFETY: both requests write one integer of the type that linux/fs.h gives them, and the file is open.
    unsafe {
        blkgetsize64(file.as_raw_fd(), &mut bytes)?;
        blksszget(file.as_raw_fd(), &mut sector)?;
    }
    let sector = u64::try_from(sector).ok().filter(|n| [512, 4096].contains(n));
    let sector = sector.context("its sectors are neither of 512 nor of 4096 bytes")?;
    Ok((sector, bytes as u64 / sector))
}

/// Bytes of a sector; of a file, 512.
pub(crate) fn sector(file: &File) -> Result<u64> {
    if file.metadata()?.file_type().is_block_device() { geometry(file).map(|(sector, _)| sector) } else { Ok(512) }
}

/// Tells the kernel that a partition, which may be mounted, has `length` bytes now, and waits until it shows that.
/// (BLKRRPART would be refused while a partition is in use.)
pub(crate) fn resize(file: &File, disk: &str, number: u32, start: u64, length: u64) -> Result<()> {
    let context = || format!("telling the kernel the new size of partition {number} of {disk}");
    tell(file, RESIZE_PARTITION, Range { number, start, length }).with_context(context)?;
    wait_until_shown(disk, number, length).with_context(context)
}

/// Makes the kernel have exactly the `wanted` partitions of a disk. Those that it has already, also ones in use, are not
/// touched. Fails where one that is not wanted is in use.
pub(crate) fn agree(file: &File, disk: &str, wanted: &[Range]) -> Result<()> {
    let known = partitions(disk)?;
    let moved = |old: &&Range| !wanted.iter().any(|new| (new.number, new.start) == (old.number, old.start));
    for old in known.iter().filter(moved) {
        delete(file, *old)
            .with_context(|| format!("telling the kernel that partition {} of {disk} is gone", old.number))?;
    }
    for new in wanted {
        match known.iter().find(|old| (old.number, old.start) == (new.number, new.start)) {
            Some(old) if old.length == new.length => {}
            Some(_) => resize(file, disk, new.number, new.start, new.length)?,
            None => {
                let context = || format!("telling the kernel of partition {} of {disk}", new.number);
                tell(file, ADD_PARTITION, *new).with_context(context)?;
                wait_until_shown(disk, new.number, new.length).with_context(context)?;
            }
        }
    }
    Ok(())
}

/// A partition is in use for as long as anybody has it open; udev looks at it for a moment.
fn delete(file: &File, range: Range) -> Result<()> {
    let deadline = Instant::now() + SHOWN_WITHIN;
    loop {
        match tell(file, DELETE_PARTITION, range) {
            Err(error) if error.downcast_ref() == Some(&Errno::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            ended => return ended,
        }
    }
}

/// The partitions of a disk that the kernel has.
fn partitions(disk: &str) -> Result<Vec<Range>> {
    let folder = format!("/sys/class/block/{}", disk.trim_start_matches("/dev/"));
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let folder = entry?.path();
        if !folder.join("partition").exists() {
            continue;
        }
        let number = |file: &str| -> Result<u64> {
            let path = folder.join(file);
            fs_err::read_to_string(&path)?.trim().parse().with_context(|| format!("reading {}", path.display()))
        };
        let (start, length) = (number("start")? * KERNEL_SECTOR, number("size")? * KERNEL_SECTOR);
        found.push(Range { number: u32::try_from(number("partition")?)?, start, length });
    }
    Ok(found)
}

/// The kernel's name of a partition: vda3, but nvme0n1p3, with a p where the disk's name ends in a digit.
pub(crate) fn partition_name(disk: &str, number: u32) -> String {
    let name = disk.trim_start_matches("/dev/");
    let joint = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{name}{joint}{number}")
}

fn tell(file: &File, op: libc::c_int, range: Range) -> Result<()> {
    let partition = BlkpgPartition {
        start: i64::try_from(range.start)?,
        length: i64::try_from(range.length)?,
        number: i32::try_from(range.number)?,
        names: [0; 128],
    };
    let length = size_of::<BlkpgPartition>() as libc::c_int;
    let call = BlkpgCall { op, flags: 0, length, partition: &partition };
    // SAFETY: both structures are laid out as in linux/blkpg.h and live until the call returns.
    unsafe { blkpg(file.as_raw_fd(), &call) }?;
    Ok(())
}

fn wait_until_shown(disk: &str, number: u32, bytes: u64) -> Result<()> {
    let path = format!("/sys/class/block/{}/size", partition_name(disk, number));
    let deadline = Instant::now() + SHOWN_WITHIN;
    loop {
        let shown = fs_err::read_to_string(&path)?;
        if shown.trim().parse() == Ok(bytes / KERNEL_SECTOR) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{path} says {}, wanted {}; a reboot makes the kernel read the table",
                shown.trim(),
                bytes / KERNEL_SECTOR
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
