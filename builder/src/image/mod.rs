//! A bootable disk image, made of a bootable tree: no loop device, no mount, no device mapper.

pub mod base;
pub mod bios;
pub mod boot;
pub mod draft;
pub mod edit;
pub mod esp;
pub mod ext4;
pub mod fat;
pub mod grub;
pub mod identity;
pub mod initramfs;
pub mod manifest;
pub mod stream;
pub mod table;
pub mod window;

use crate::image::base::Base;
use crate::image::boot::Boot;
use crate::image::draft::Draft;
use crate::image::edit::Edit;
use crate::image::identity::Identity;
use crate::image::table::{ESP, MIB, ROOT, Table};
use crate::image::window::Window;
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::fstatvfs;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use uuid::Uuid;

/// What an image is to look like.
#[derive(Clone, Debug)]
pub struct Layout {
    pub identity: Identity,
    /// Bytes of the ESP, `esp::SIZE` unless there is a reason.
    pub esp_size: u64,
    /// Kernel parameters next to those that every image has, one in each string.
    pub parameters: Vec<String>,
}

impl Layout {
    /// The usual layout, with no parameters of a profile.
    pub fn new(identity: Identity) -> Layout {
        Layout { identity, esp_size: esp::SIZE, parameters: Vec::new() }
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

impl Image {
    /// Writes the image of `base`, changed by `edit` and made bootable by `boot`, to the sparse file `out`.
    ///
    /// `out` appears when it is whole, replacing what was there; before that nothing has a name, so an error, ^C or a
    /// power cut leaves nothing. Says how many bytes are needed if the file system of `out` has fewer. No time in it is
    /// after `epoch`.
    pub fn write(
        base: &mut Base,
        edit: &Edit,
        boot: &Boot,
        layout: &Layout,
        out: &Path,
        epoch: i64,
        progress: &Progress,
    ) -> Result<Image> {
        let stage = progress.stage("writing");
        let table = Table::lay_out(&layout.identity, layout.esp_size, base.index.size);
        let draft = Draft::new(out)?;
        let needed = base.used()? + boot.esp.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + 64 * MIB;
        check_room(draft.file(), out, needed)?;
        draft.file().set_len(table.size).context("sizing the disk file")?;
        let start = table.partition(ROOT).start();
        let written = base
            .copy(&draft.path(), start)
            .and_then(|()| edit.apply(&draft.path(), start, epoch).context("changing the root file system"))
            .and_then(|()| write_boot(draft.file(), boot, layout, &table, epoch));
        written.map_err(|error| full(error, draft.file(), needed))?;
        draft.publish()?;
        stage.done(format!("{}, {} MiB", out.display(), table.size / MIB));
        Ok(Image {
            root_uuid: layout.identity.uuid("root/ext4"),
            tree_sha256: edit.digest(&base.index.tree_sha256, epoch),
            tree_entries: edit.count(base.index.tree_entries),
            kernel: boot.kernel.clone(),
            table,
        })
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
