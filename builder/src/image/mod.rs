//! A bootable disk image, made of a bootable tree: no loop device, no mount, no device mapper.

pub mod base;
pub mod bios;
pub mod boot;
pub mod direct;
pub mod draft;
pub mod edit;
pub mod esp;
pub mod ext4;
pub mod grub;
pub mod identity;
pub mod initramfs;
pub mod manifest;
pub mod stream;
pub mod table;

use crate::image::base::Base;
use crate::image::boot::Boot;
use crate::image::draft::Draft;
use crate::image::edit::Edit;
use crate::image::identity::Identity;
use crate::image::table::{ESP, MIB, ROOT, Table};
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use firstboot::window::Window;
use nix::sys::statvfs::fstatvfs;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use uuid::Uuid;

/// What an image is to look like.
#[derive(Clone, Debug)]
pub struct Layout {
    pub identity: Identity,
    /// Bytes of the ESP, `esp::SIZE` unless there is a reason.
    pub esp_size: u64,
    /// Kernel parameters next to those that every image has, one in each string.
    pub parameters: Vec<String>,
    /// It installs itself on another disk, and hands over to what is installed there.
    pub installs: bool,
}

impl Layout {
    /// The usual layout, with no parameters of a profile.
    pub fn new(identity: Identity) -> Layout {
        Layout { identity, esp_size: esp::SIZE, parameters: Vec::new(), installs: false }
    }
}

/// What was written: for the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// The disk's size in bytes, its GUID, and its partitions.
    pub table: Table,
    /// The root file system's UUID.
    pub root_uuid: Uuid,
    /// Of the packages' tree as a tar stream and of what the machine's own files change in it: SHA-256, in hex.
    pub tree_sha256: String,
    /// Files, folders and links in the tree.
    pub tree_entries: u64,
    /// The kernel's version.
    pub kernel: String,
}

/// An image in the making: its root file system is being copied.
///
/// The file appears when it is whole, replacing what was there; before that nothing has a name, so an error, ^C or a
/// power cut leaves nothing.
pub struct Writing {
    layout: Layout,
    out: PathBuf,
    table: Table,
    draft: Arc<Draft>,
    needed: u64,
    copied: JoinHandle<Result<Base>>,
}

impl Writing {
    /// Begins to copy `base` to where the image `out` will be. Says how many bytes are needed if the file system of `out`
    /// has fewer.
    pub fn begin(mut base: Base, layout: &Layout, out: &Path) -> Result<Writing> {
        let table = Table::lay_out(&layout.identity, layout.esp_size, base.index.size);
        let draft = Arc::new(Draft::new(out)?);
        let needed = base.used()? + 128 * MIB;
        check_room(draft.file(), out, needed)?;
        draft.file().set_len(table.size).context("sizing the disk file")?;
        let (to, start) = (draft.clone(), table.partition(ROOT).start());
        let copied = std::thread::spawn(move || base.copy(&to.path(), start).map(|()| base));
        Ok(Writing { layout: layout.clone(), out: out.to_owned(), table, draft, needed, copied })
    }

    /// Finishes the image: changes the root file system by `edit`, and makes it bootable by `boot`. No time in it is after
    /// `epoch`. Gives back what was copied too.
    pub fn end(self, edit: &Edit, boot: &Boot, epoch: i64, progress: &Progress) -> Result<(Image, Base)> {
        let stage = progress.stage("writing");
        let Writing { layout, out, table, draft, needed, copied } = self;
        let start = table.partition(ROOT).start();
        let copied = copied.join().unwrap_or_else(|_| bail!("a thread panicked"));
        let written = copied.and_then(|base| {
            edit.apply(&draft.path(), start, epoch).context("changing the root file system")?;
            write_boot(draft.file(), boot, &layout, &table, epoch)?;
            Ok(base)
        });
        let base = written.map_err(|error| full(error, draft.file(), needed))?;
        Arc::into_inner(draft).context("the copy still goes on")?.publish()?;
        stage.done(format!("{}, {} MiB", out.display(), table.size / MIB));
        let image = Image {
            root_uuid: layout.identity.uuid("root/ext4"),
            tree_sha256: edit.digest(&base.index.tree_sha256, epoch),
            tree_entries: edit.count(base.index.tree_entries),
            kernel: boot.kernel.clone(),
            table,
        };
        Ok((image, base))
    }
}

/// Everything but the root; the table comes last, so that half an image has none.
fn write_boot(disk: &File, boot: &Boot, layout: &Layout, table: &Table, epoch: i64) -> Result<()> {
    let window = |number| {
        let part = table.partition(number);
        Window::new(disk, part.start(), part.size())
    };
    esp::write(&mut window(ESP), &layout.identity, &boot.esp, epoch).context("making the ESP")?;
    let mut core = window(1);
    core.seek(SeekFrom::Start(0))?;
    core.write_all(&boot.bios.core).context("writing core.img")?;
    table.write(disk, boot.bios.boot_code)
}

fn check_room(disk: &File, out: &Path, needed: u64) -> Result<()> {
    let free = free(disk)?;
    ensure!(
        free >= needed,
        "{} needs {needed} bytes, and its file system has {free} left: free some, or name another place",
        out.display()
    );
    Ok(())
}

/// Bytes that we may still write to the file system of `disk`.
fn free(disk: &File) -> Result<u64> {
    let stat = fstatvfs(disk).context("asking for the room left")?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Says so if the reason is that the disk ran full meanwhile.
fn full(error: anyhow::Error, disk: &File, needed: u64) -> anyhow::Error {
    match free(disk) {
        Ok(free) if free < MIB => {
            error.context(format!("the file system ran full: the image needs {needed} bytes in all"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_said_beforehand_in_bytes() {
        let file = tempfile::tempfile().expect("a file");
        check_room(&file, Path::new("disk.img"), 1).expect("room for one byte");
        let said = check_room(&file, Path::new("disk.img"), u64::MAX).expect_err("no room").to_string();
        assert!(said.contains("disk.img needs 18446744073709551615 bytes"), "{said}");
    }
}
