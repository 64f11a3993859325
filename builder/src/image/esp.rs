//! The EFI system partition: Debian's signed shim and GRUB where firmware looks without being told, and GRUB's own
//! files.

use crate::image::identity::Identity;
use crate::image::table::SECTOR;
use anyhow::Result;
use firstboot::fat::{Volume, fat32_cluster};
use firstboot::window::Window;
use fs_err as fs;
use profiles::grub::{FOLDER, SIGNED, environment};
use std::path::Path;

/// Bytes: room for kernels and initramfs images of several systems, should they move here. Mostly a hole in the image
/// file.
pub const SIZE: u64 = 256 << 20;

/// What the ESP holds, from `tree` and GRUB's `configuration`: paths and contents.
pub fn files(tree: &Path, configuration: String) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (name, source) in SIGNED {
        files.push((name.to_owned(), fs::read(tree.join(source.trim_start_matches('/')))?));
    }
    files.push((format!("{FOLDER}/grub.cfg"), configuration.into_bytes()));
    files.push((format!("{FOLDER}/grubenv"), environment(&[]).into_bytes()));
    Ok(files)
}

/// Writes the volume over all of `window`.
pub fn write(window: &mut Window, identity: &Identity, files: &[(String, Vec<u8>)], epoch: i64) -> Result<()> {
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let serial = identity.serial("esp/serial");
    let cluster = fat32_cluster(window.len(), SECTOR).or(Some(1));
    let volume = Volume { label: "ESP", serial, sector: SECTOR, fat32_cluster: cluster, files: &files, epoch };
    volume.write(window)
}
