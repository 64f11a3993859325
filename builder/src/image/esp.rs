//! The EFI system partition: Debian's signed shim and GRUB where firmware looks without being told, and GRUB's own
//! files.

use crate::image::fat::Volume;
use crate::image::grub;
use crate::image::identity::Identity;
use crate::image::window::Window;
use anyhow::Result;
use fs_err as fs;
use std::path::Path;

/// Bytes: room for kernels and initramfs images of several systems, should they move here. Mostly a hole in the image
/// file.
pub const SIZE: u64 = 256 << 20;

/// Name on the ESP, file of the tree.
///
/// shim starts the GRUB that lies beside it, and MokManager when a key is to be enrolled, by exactly these names.
const SIGNED: [(&str, &str); 3] = [
    ("EFI/BOOT/BOOTX64.EFI", "usr/lib/shim/shimx64.efi.signed"),
    ("EFI/BOOT/grubx64.efi", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    ("EFI/BOOT/mmx64.efi", "usr/lib/shim/mmx64.efi.signed"),
];

/// What the ESP holds, from `tree` and GRUB's `configuration`: paths and contents.
pub fn files(tree: &Path, configuration: String) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (name, source) in SIGNED {
        files.push((name.to_owned(), fs::read(tree.join(source))?));
    }
    files.push((format!("{}/grub.cfg", grub::FOLDER), configuration.into_bytes()));
    files.push((format!("{}/grubenv", grub::FOLDER), grub::environment()));
    Ok(files)
}

/// Writes the volume over all of `window`.
pub fn write(window: &mut Window, identity: &Identity, files: &[(String, Vec<u8>)], epoch: i64) -> Result<()> {
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let serial = identity.serial("esp/serial");
    Volume { label: "ESP", serial, fat32_cluster: Some(cluster(window.len())), files: &files, epoch }.write(window)
}

/// Sectors in a cluster: the largest that leaves enough clusters for a FAT32, at most 4 KiB.
fn cluster(size: u64) -> u8 {
    let enough = |sectors: &u8| size / (u64::from(*sectors) * crate::image::table::SECTOR) > 66_500;
    [8, 4, 2].into_iter().find(enough).unwrap_or(1)
}
