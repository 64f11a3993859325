//! Makes a configured tree bootable: its fstab, its one initramfs, and the boot loader's files.

use crate::image::Layout;
use crate::image::bios::Bios;
use crate::image::esp;
use crate::image::grub;
use crate::image::initramfs;
use crate::image::table::{ESP, Table};
use anyhow::{Context, Result, ensure};
use fs_err as fs;
use profiles::fstab::fstab;
use profiles::grub::FOLDER;
use std::path::Path;

/// Runs a command inside of the tree, and gives what it wrote to stdout. A failure names the command and what it said.
pub type Run<'a> = &'a dyn Fn(&[&str]) -> Result<Vec<u8>>;

/// A tree made bootable, and what goes outside of its file system.
#[derive(Debug)]
pub struct Boot {
    /// The kernel's version, as in `/lib/modules/VERSION`.
    pub kernel: String,
    pub bios: Bios,
    /// Files of the ESP: path and content.
    pub esp: Vec<(String, Vec<u8>)>,
}

/// Moves `/vmlinuz` and `/initrd.img` on the machine; an overlay of the base profile.
const LINKS: &str = "usr/lib/mimg/boot-links";
/// Where core.img is made: in a folder that travels empty.
const CORE: &str = "/var/tmp/core.img";

/// What the work below and the machine later cannot do without: a file of the tree, and the package that brings it.
const NEEDS: [(&str, &str); 12] = [
    ("usr/sbin/mkinitramfs", "initramfs-tools"),
    // Without it mkinitramfs takes gzip, and only warns.
    ("usr/bin/zstd", "zstd"),
    ("usr/bin/linux-version", "linux-base"),
    ("usr/bin/grub-mkimage", "grub-common"),
    ("usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"),
    ("usr/lib/shim/shimx64.efi.signed", "shim-signed"),
    ("usr/lib/shim/mmx64.efi.signed", "shim-helpers-amd64-signed"),
    ("usr/sbin/mke2fs", "e2fsprogs"),
    ("usr/lib/x86_64-linux-gnu/libarchive.so.13", "libarchive13t64"),
    // Checks the ESP when it is mounted.
    ("usr/sbin/fsck.fat", "dosfstools"),
    (LINKS, "(none: it is in the overlay of the base profile)"),
];

impl Boot {
    /// `tree` is a root directory whose packages are configured and whose overlays are in place, owned by us as its
    /// root.
    ///
    /// Writes `/etc/fstab`, `/boot/initrd.img-VERSION` as `initramfs` gives it, and the links to it. Packages that are
    /// missing are all named in one error.
    pub fn install(
        tree: &Path,
        run: Run,
        layout: &Layout,
        initramfs: impl FnOnce() -> Result<initramfs::Made>,
    ) -> Result<Boot> {
        check_needs(tree)?;
        initramfs::kernel(tree)?;
        put_fstab(tree, layout)?;
        let initramfs::Made { kernel, file } = initramfs()?;
        put_initramfs(tree, run, &kernel, &file)?;
        let bios = bios(tree, run, layout)?;
        let esp = esp::files(tree, grub::configuration(layout)?)?;
        Ok(Boot { kernel, bios, esp })
    }
}

fn check_needs(tree: &Path) -> Result<()> {
    let missing = NEEDS.iter().filter(|(file, _)| fs::symlink_metadata(tree.join(file)).is_err());
    let missing: Vec<_> = missing.map(|(file, package)| format!("/{file} of the package {package}")).collect();
    ensure!(missing.is_empty(), "the image cannot boot without these, which it does not have: {}", missing.join(", "));
    Ok(())
}

fn put_fstab(tree: &Path, layout: &Layout) -> Result<()> {
    let path = tree.join("etc/fstab");
    let before = if path.exists() { fs::read_to_string(&path)? } else { String::new() };
    let part = |name: &str| layout.identity.uuid(&format!("partition/{name}"));
    fs::write(&path, fstab(&before, part("root"), part("esp")))?;
    fs::create_dir_all(tree.join("boot/efi"))?;
    Ok(())
}

fn put_initramfs(tree: &Path, run: Run, kernel: &str, file: &Path) -> Result<()> {
    fs::hard_link(file, tree.join(format!("boot/initrd.img-{kernel}")))?;
    if file.starts_with(tree) {
        fs::remove_file(file)?;
    }
    run(&[&format!("/{LINKS}")]).context("pointing /vmlinuz and /initrd.img at the kernel")?;
    for (link, wanted) in
        [("vmlinuz", format!("boot/vmlinuz-{kernel}")), ("initrd.img", format!("boot/initrd.img-{kernel}"))]
    {
        let seen = fs::read_link(tree.join(link))?;
        ensure!(seen == Path::new(&wanted), "/{link} points at {}, and {wanted} was wanted", seen.display());
    }
    Ok(())
}

fn bios(tree: &Path, run: Run, layout: &Layout) -> Result<Bios> {
    let boot = fs::read(tree.join("usr/lib/grub/i386-pc/boot.img"))?;
    // An empty disk in the prefix is the one that core.img was loaded from.
    let prefix = format!("(,gpt{ESP})/{FOLDER}");
    // A file and not stdout: grub-mkimage fails where it cannot sync what it writes to.
    let made = tree.join(&CORE[1..]);
    let mut command = vec!["grub-mkimage", "-O", "i386-pc", "-o", CORE, "-p", &prefix];
    command.extend(grub::MODULES);
    run(&command).context("making GRUB's core.img")?;
    let core = fs::read(&made)?;
    fs::remove_file(&made)?;
    let table = Table::lay_out(&layout.identity, layout.esp_size, 0);
    let place = table.partition(1);
    Bios::new(&boot, core, place.first_lba, place.size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::identity::Identity;

    fn layout() -> Layout {
        Layout::new(Identity { namespace: uuid::Uuid::nil(), name: "profile/nuc".to_owned() })
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a folder");
        fs::create_dir(tree.path().join("boot")).expect("a folder");
        for file in files {
            fs::create_dir_all(tree.path().join(file).parent().expect("a folder")).expect("a folder");
            fs::write(tree.path().join(file), "").expect("a file");
        }
        tree
    }

    #[test]
    fn all_that_is_missing_is_named_at_once_before_anything_is_run() {
        let run = |_: &[&str]| -> Result<Vec<u8>> { panic!("nothing is to be run") };
        let tree = tree(&["usr/bin/zstd", "boot/vmlinuz-6.12-a"]);
        let none = || panic!("no initramfs is to be made");
        let said = Boot::install(tree.path(), &run, &layout(), none).expect_err("a bare tree").to_string();
        assert!(
            ["initramfs-tools", "grub-pc-bin", "libarchive13t64", LINKS].iter().all(|name| said.contains(name)),
            "{said}"
        );
        assert!(!said.contains("zstd"), "{said}");
    }
}
