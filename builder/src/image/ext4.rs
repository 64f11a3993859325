//! The root file system: the tree sent as a tar stream to its own mke2fs, which writes into the disk file at an offset.
//!
//! The tree's mke2fs and not the host's: its version is locked with the image, so the same bits come out on every host.
//! It is started by the tree's own dynamic loader, needs no mount and no chroot, and reads tar with the tree's
//! libarchive.

use crate::image::stream::{self, Used};
use crate::image::table::MIB;
use crate::progress::{Stage, Unit};
use anyhow::{Context, Result, bail};
use std::io::{BufWriter, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use uuid::Uuid;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Bytes in a block.
const BLOCK: u64 = 4096;

/// Where a file system goes and what it is called.
pub struct Ext4<'a> {
    /// The disk file, as mke2fs can open it.
    pub disk: &'a Path,
    /// Its place in the disk file, in bytes.
    pub start: u64,
    pub size: u64,
    pub uuid: Uuid,
    /// Orders the entries of large folders; random unless given.
    pub hash_seed: Uuid,
    /// No time in the file system is later (seconds since 1970).
    pub epoch: i64,
}

/// Bytes that a file system for `used` needs: an eighth and 256 MiB to spare, for the machine's own files and its first
/// minutes until it is grown. In steps, so that a small change leaves the size as it is.
pub fn size_for(used: &Used) -> u64 {
    let inodes = used.entries * 256;
    (used.bytes + used.bytes / 8 + inodes + 256 * MIB).next_multiple_of(128 * MIB)
}

impl Ext4<'_> {
    /// Makes the file system with all of `tree` in it; `stage` counts the bytes. Gives the SHA-256 of the tar stream in
    /// hex.
    pub fn write(&self, tree: &Path, used: &Used, stage: &Stage) -> Result<String> {
        stage.total(used.bytes, Unit::Bytes);
        let mut child =
            self.command(tree, used).spawn().context("starting the image's mke2fs: it needs the package e2fsprogs")?;
        let stdin = child.stdin.take().context("taking the stdin of mke2fs")?;
        let sent = stream::write(tree, self.epoch, BufWriter::with_capacity(1 << 20, stdin), stage);
        // If mke2fs gave up, its own words say why; the broken pipe that we saw does not.
        end(child)?;
        sent
    }

    fn command(&self, tree: &Path, used: &Used) -> Command {
        let libraries = tree.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(tree.join("usr/sbin/mke2fs"));
        command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1", "-e", "remount-ro"]);
        command.args(["-i", &self.bytes_per_inode(used).to_string(), "-U", &self.uuid.to_string()]);
        command.args(["-E", &self.options(), "-d", "-"]).arg(self.disk).arg((self.size / BLOCK).to_string());
        command.env_clear().env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        command.env("MKE2FS_CONFIG", tree.join("etc/mke2fs.conf"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Nothing is left for the kernel to initialize later: those writes would make each machine's disk grow by itself.
    /// The file is all holes, so there is nothing to discard.
    fn options(&self) -> String {
        let (seed, start) = (self.hash_seed, self.start);
        format!("hash_seed={seed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard,offset={start}")
    }

    /// Debian's own one in 16 KiB, or closer where the tree has many small files: the ratio stays when the file system
    /// is grown.
    fn bytes_per_inode(&self, used: &Used) -> u64 {
        let wanted = used.entries + used.entries / 2 + 1024;
        [16384, 8192].into_iter().find(|ratio| self.size / ratio >= wanted).unwrap_or(4096)
    }
}

fn end(mut child: Child) -> Result<()> {
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_string(&mut said).context("reading what mke2fs says")?;
    }
    let status = child.wait().context("waiting for mke2fs")?;
    let said = said.trim();
    if said.contains("libarchive") {
        bail!("mke2fs cannot read a tar stream: the image needs the package libarchive13t64 ({said})");
    }
    // mke2fs ends with 0 after some warnings that leave a file out.
    if !status.success() || !said.is_empty() {
        bail!("mke2fs ended with {status}: {said}");
    }
    Ok(())
}
