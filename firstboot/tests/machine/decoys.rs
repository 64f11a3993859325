//! Disks with somebody's data, made by the tools that people use: none is ever written to, and each is told by a
//! fingerprint that stands for this find alone. With the owner's word it is gone without a trace.

use crate::bench::{Bench, MIB, fingerprint, spec};
use crate::loops::{Loop, leave};
use nix::unistd::{Whence, lseek};
use profiles::plan::Verdict;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// XFS wants no less.
const SIZE: u64 = 300 * MIB;

/// Who makes it.
enum By {
    /// A command; DISK is the disk's file, FOLDER a folder with something in it.
    Tool(&'static str),
    /// The same on a loop device, which these tools insist on.
    OnDevice(&'static str),
    /// Bytes at places; from the disk's end where they are negative.
    Bytes(fn(&File)),
}

/// What it is called, what libblkid finds (nothing: only that there is something), and who makes it.
const DECOYS: [(&str, &str, By); 44] = [
    ("ext4", "ext4", By::Tool("mke2fs -q -t ext4 DISK")),
    ("ext2", "ext2", By::Tool("mke2fs -q -t ext2 DISK")),
    ("XFS", "xfs", By::Tool("mkfs.xfs -q DISK")),
    ("btrfs", "btrfs", By::Tool("mkfs.btrfs -q DISK")),
    ("FAT", "vfat", By::Tool("mkfs.vfat -F 32 DISK")),
    ("exFAT", "exfat", By::Tool("mkfs.exfat DISK")),
    ("NTFS", "ntfs", By::Tool("mkntfs --quick --force DISK")),
    ("F2FS", "f2fs", By::Tool("mkfs.f2fs -q DISK")),
    ("JFS", "jfs", By::Tool("mkfs.jfs -q DISK")),
    ("ReiserFS", "reiserfs", By::Tool("mkfs.reiserfs -q -f DISK")),
    ("NILFS", "nilfs2", By::Tool("mkfs.nilfs2 -q DISK")),
    ("GFS2", "gfs2", By::Tool("mkfs.gfs2 -O -q -p lock_nolock DISK")),
    ("UDF", "udf", By::Tool("mkfs.udf DISK")),
    ("Minix", "minix", By::Tool("mkfs.minix DISK")),
    ("BFS", "bfs", By::Tool("mkfs.bfs DISK")),
    ("cramfs", "cramfs", By::Tool("mkfs.cramfs FOLDER DISK")),
    ("squashfs", "squashfs", By::Tool("mksquashfs FOLDER DISK -noappend -quiet")),
    ("EROFS", "erofs", By::Tool("mkfs.erofs DISK FOLDER")),
    ("a CD", "iso9660", By::Tool("xorriso -as mkisofs -quiet -o DISK FOLDER")),
    ("swap", "swap", By::Tool("mkswap -q DISK")),
    (
        "LUKS 1",
        "crypto_LUKS",
        By::Tool("cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file FOLDER/key DISK"),
    ),
    (
        "LUKS 2",
        "crypto_LUKS",
        By::Tool("cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file FOLDER/key DISK"),
    ),
    ("bcache", "bcache", By::Tool("make-bcache -B DISK")),
    ("a cache of bcache", "bcache", By::Tool("make-bcache -C DISK")),
    ("DRBD 8", "drbd", By::Tool("drbdmeta --force 0 v08 DISK internal create-md")),
    ("DRBD 9", "drbd", By::Tool("drbdmeta --force 0 v09 DISK internal create-md 1")),
    ("LVM", "LVM2_member", By::OnDevice("pvcreate -q -y --config devices{use_devicesfile=0} DISK")),
    ("a DOS table", "dos", By::Tool("sfdisk -q -X dos DISK")),
    ("an empty GUID table", "partition table", By::Tool("sfdisk -q -X gpt DISK")),
    ("a table of Sun's", "sun", By::Tool("sfdisk -q -X sun DISK")),
    ("a table of SGI's", "sgi", By::Tool("sfdisk -q -X sgi DISK")),
    ("md 0.90", "linux_raid_member", By::Bytes(md_090)),
    ("md 1.0", "linux_raid_member", By::Bytes(|disk| md_1(disk, SIZE - 8192))),
    ("md 1.1", "linux_raid_member", By::Bytes(|disk| md_1(disk, 0))),
    ("md 1.2", "linux_raid_member", By::Bytes(|disk| md_1(disk, 4096))),
    ("labels of ZFS at the end alone", "zfs_member", By::Bytes(zfs_end)),
    ("VMFS", "VMFS_volume_member", By::Bytes(vmfs)),
    ("Ceph", "ceph_bluestore", By::Bytes(|disk| put(disk, 0, b"bluestore block device\n"))),
    ("BitLocker", "BitLocker", By::Bytes(bitlocker)),
    ("APFS", "apfs", By::Bytes(apfs)),
    ("HFS+", "hfsplus", By::Bytes(hfs_plus)),
    ("noise", "without a known signature", By::Bytes(noise)),
    ("one byte in the last MiB", "without a known signature", By::Bytes(|disk| put(disk, SIZE - 700_000, b"x"))),
    ("the second half of a GUID table", "what is left of a partition table", By::Bytes(second_table)),
];

fn put(disk: &File, at: u64, bytes: &[u8]) {
    disk.write_all_at(bytes, at).unwrap();
}

fn put_words(disk: &File, at: u64, words: &[u32]) {
    put(disk, at, &words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
}

/// linux/raid/md_p.h: the superblock stands 64 KiB before the end, aligned to as much.
fn md_090(disk: &File) {
    put_words(
        disk,
        (SIZE & !0xffff) - 0x10000,
        &[0xa92b_4efc, 0, 90, 0, 0, 0x1234_5678, 1, 1, 100_000, 2, 2, 0, 0, 1, 2, 3],
    );
}

/// `mdp_superblock_1` of the same; its offset in sectors is a part of it, and its sum.
fn md_1(disk: &File, at: u64) {
    let mut block = vec![0u8; 256];
    let mut set = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, &0xa92b_4efcu32.to_le_bytes());
    set(4, &1u32.to_le_bytes());
    set(16, &[7; 16]);
    set(32, b"nas:0");
    set(72, &1u32.to_le_bytes());
    set(92, &2u32.to_le_bytes());
    set(144, &(at / 512).to_le_bytes());
    let sum: u64 = block.chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap()))).sum();
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    block[216..220].copy_from_slice(&(sum as u32).to_le_bytes());
    put(disk, at, &block);
}

/// Labels 2 and 3 of vdev_impl.h, as they are left where somebody wiped the beginning of a disk: uberblocks from 128 KiB
/// of each on.
fn zfs_end(disk: &File) {
    for label in [SIZE - 512 * 1024, SIZE - 256 * 1024] {
        for number in 0..16 {
            put(disk, label + 128 * 1024 + number * 1024, &0x00ba_b10cu64.to_le_bytes());
            put(disk, label + 128 * 1024 + number * 1024 + 8, &5000u64.to_le_bytes());
        }
    }
}

fn vmfs(disk: &File) {
    put_words(disk, MIB, &[0xc001_d00d, 5]);
}

/// The boot sector as Windows 7 and later write it, and the beginning of what it leads to.
fn bitlocker(disk: &File) {
    put(disk, 0, &[0xeb, 0x58, 0x90]);
    put(disk, 3, b"-FVE-FS-");
    put(disk, 11, &[0, 2, 8]);
    put(disk, 160, &[0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01]);
    put(disk, 176, &(2 * MIB).to_le_bytes());
    put(disk, 510, &[0x55, 0xaa]);
    put(disk, 2 * MIB, b"-FVE-FS-");
}

/// A container's superblock: its object's type, and the sum of Fletcher over it.
fn apfs(disk: &File) {
    let mut block = vec![0u8; 4096];
    block[8] = 1;
    block[16] = 1;
    block[24..28].copy_from_slice(&0x8000_0001u32.to_le_bytes());
    block[32..36].copy_from_slice(b"NXSB");
    block[36..40].copy_from_slice(&4096u32.to_le_bytes());
    block[40..48].copy_from_slice(&(SIZE / 4096).to_le_bytes());
    let (mut low, mut high) = (0u64, 0u64);
    for word in block[8..].chunks(4) {
        low = (low + u64::from(u32::from_le_bytes(word.try_into().unwrap()))) % 0xffff_ffff;
        high = (high + low) % 0xffff_ffff;
    }
    let first = 0xffff_ffff - (low + high) % 0xffff_ffff;
    let second = 0xffff_ffff - (low + first) % 0xffff_ffff;
    block[..8].copy_from_slice(&(second << 32 | first).to_le_bytes());
    put(disk, 0, &block);
}

fn hfs_plus(disk: &File) {
    let mut block = vec![0u8; 512];
    block[..4].copy_from_slice(b"H+\0\x04");
    block[40..44].copy_from_slice(&4096u32.to_be_bytes());
    put(disk, 1024, &block);
}

fn noise(disk: &File) {
    let mut random: u64 = 42;
    let mut bytes = vec![0u8; 2 * MIB as usize];
    for chunk in bytes.chunks_mut(8) {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        chunk.copy_from_slice(&random.to_be_bytes());
    }
    put(disk, 0, &bytes);
}

fn second_table(disk: &File) {
    let table = firstboot::table::Disk { device: disk, sector: 512, sectors: SIZE / 512 };
    for write in table.fresh("8c7c5b5e-2d0f-4d4c-9d4e-3a1b6f0f6d11", &[]).unwrap() {
        put(disk, write.lba * 512, &write.bytes);
    }
    put(disk, 0, &vec![0; MIB as usize]);
}

/// Runs a command without a shell.
fn run(command: &str, disk: &str, folder: &Path, input: &str) {
    let mut words =
        command.split(' ').map(|word| word.replace("DISK", disk).replace("FOLDER", folder.to_str().unwrap()));
    let mut process = Command::new(words.next().unwrap());
    let text = NamedTempFile::new().unwrap();
    fs_err::write(text.path(), input).unwrap();
    process.args(words).stdin(File::open(text.path()).unwrap()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let ended =
        process.output().unwrap_or_else(|error| panic!("{command}: {error}; qemu-tests/run installs what it needs"));
    assert!(ended.status.success(), "{command}: {}", String::from_utf8_lossy(&ended.stderr));
}

fn make(by: &By) -> NamedTempFile {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("key"), "a secret that nobody has to keep").unwrap();
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    match by {
        // Questions are answered by yes; of a table, one partition is asked for.
        By::Tool(command) => {
            let input = if command.starts_with("sfdisk") { ",100M\n" } else { "yes\n" };
            run(command, &path, folder.path(), input);
        }
        By::OnDevice(command) => {
            let disk = Loop::of(file, 512);
            run(command, &disk.device, folder.path(), "");
            return disk.detached();
        }
        By::Bytes(write) => write(file.as_file()),
    }
    // Some make the file as long as what is in it: a disk does not shrink.
    file.as_file().set_len(SIZE).unwrap();
    file
}

/// Of all that is in a sparse file, and where.
fn digest(path: &Path) -> Vec<u8> {
    let (file, mut hash, mut bytes) = (File::open(path).unwrap(), Sha256::new(), vec![0; MIB as usize]);
    let mut at = 0;
    while let Ok(data) = lseek(&file, at, Whence::SeekData) {
        let hole = lseek(&file, data, Whence::SeekHole).unwrap();
        for start in (data..hole).step_by(bytes.len()) {
            let part = &mut bytes[..(hole - start).min(MIB as i64) as usize];
            file.read_exact_at(part, start as u64).unwrap();
            if part.iter().any(|byte| *byte != 0) {
                hash.update(start.to_le_bytes());
                hash.update(part);
            }
        }
        at = hole;
    }
    hash.finalize().to_vec()
}

const SYSTEM: &str = "[[disk]]\nname = \"system\"\nselect = { bus = [\"sata\"] }\n\
    [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"64M\"\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";

/// What a refusal says of a disk, and its fingerprint.
async fn refused(name: &str, disk: Loop) -> (String, String, Loop) {
    let mut bench = Bench::new(vec![disk]);
    let verdict = bench.verdict(&spec(SYSTEM)).await;
    let Verdict::Refuse(refusal) = &verdict else { panic!("{name}: {verdict:?}") };
    let fingerprint = fingerprint(&verdict).unwrap_or_else(|| panic!("{name}: {refusal}"));
    (refusal.saw.clone(), fingerprint, bench.disks.remove(0))
}

#[tokio::test]
async fn a_disk_with_somebodys_data_is_told_by_its_find_and_never_written_to() {
    let Some(_leave) = leave().await else { return };
    let mut seen = Vec::new();
    for (name, kind, by) in &DECOYS {
        let file = make(by);
        let before = digest(file.path());
        let (saw, first, disk) = refused(name, Loop::of(file, 512)).await;
        assert!(saw.contains(kind), "{name}: {saw}");
        let file = disk.detached();
        let (_, second, disk) = refused(name, Loop::of(file, 512)).await;
        assert_eq!(first, second, "{name}");
        assert_eq!(before, digest(disk.detached().path()), "{name} was changed by being looked at");
        seen.push((first, name));
    }
    assert!(seen.len() >= 30);
    seen.sort();
    // Two finds of one kind in one place are told apart by their UUIDs alone: some kinds have none.
    let kind = |name: &str| DECOYS.iter().find(|decoy| decoy.0 == name).map(|decoy| decoy.1);
    for pair in seen.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let nameless = ["drbd", "without a known signature", "what is left of a partition table"];
        assert!(pair.iter().all(|(_, name)| nameless.contains(&kind(name).unwrap())), "{pair:?}");
    }
}

#[tokio::test]
async fn what_a_fingerprint_allows_is_gone_without_a_trace() {
    let Some(_leave) = leave().await else { return };
    for (name, _, by) in &DECOYS {
        let (_, fingerprint, disk) = refused(name, Loop::of(make(by), 512)).await;
        let allowed = spec(&SYSTEM.replacen("select", &format!("erase = [\"{fingerprint}\"]\nselect"), 1));
        let bench = Bench::new(vec![disk]);
        bench.finish(&allowed).await;
        let disk = &bench.disks[0];
        for device in [disk.partition(1), disk.partition(2), disk.device.clone()] {
            let found = Command::new("wipefs").args(["--noheadings", "--output=TYPE", &device]).output().unwrap();
            let found = String::from_utf8(found.stdout).unwrap();
            let strange = found.lines().find(|kind| !["gpt", "PMBR"].contains(&kind.trim()));
            assert_eq!(strange, None, "{name}, on {device}");
        }
    }
}

#[tokio::test]
async fn data_in_a_partition_is_a_find_as_well() {
    let Some(_leave) = leave().await else { return };
    let disk = Loop::new(512, SIZE);
    let bench = Bench::new(vec![disk]);
    let disk = &bench.disks[0];
    for (label, kind) in [("dos", "ext4"), ("gpt", "vfat")] {
        run(&format!("sfdisk -q -X {label} DISK"), &disk.device, Path::new("/"), ",20M\n,100M\n");
        disk.scan();
        let make = if kind == "vfat" { "mkfs.vfat -F 32 DISK" } else { "mke2fs -q -F -t ext4 DISK" };
        run(make, &disk.partition(2), Path::new("/"), "");
        let verdict = bench.verdict(&spec(SYSTEM)).await;
        let Verdict::Refuse(refusal) = &verdict else { panic!("{verdict:?}") };
        assert!(refusal.saw.contains(&format!("{kind} on ")), "{refusal}");
        assert!(fingerprint(&verdict).is_some());
    }
}
