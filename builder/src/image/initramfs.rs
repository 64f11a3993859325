//! The initramfs: made in a tree of its own, as soon as the packages with a part in it are configured, beside whatever
//! else is done meanwhile. Packages without a part in it do not change it, nor do most files of a machine's own.

use crate::progress::Progress;
use crate::tree::Stem;
use crate::tree::sandbox::Sandbox;
use crate::tree::shelf::{self, Shelf};
use anyhow::{Context, Result, anyhow, bail, ensure};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// An initramfs in the making.
pub struct Initramfs(JoinHandle<Result<Made>>);

/// A finished one.
pub struct Made {
    /// The version of its kernel, as in `/lib/modules/VERSION`.
    pub kernel: String,
    pub file: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Index {
    kernel: String,
    sha256: String,
}

/// What neither initramfs-tools nor any package's hook for it reads. Below /etc it is for the scripts themselves to say.
const UNREAD: [&str; 12] = [
    "boot",
    // Ours has its own: its hook for fsck looks for the type of the root file system there.
    "etc/fstab",
    "home",
    "initrd.img",
    "opt",
    "root",
    "srv",
    "usr/bin/firstboot",
    "usr/share/doc",
    // mkinitramfs sets a PATH without it.
    "usr/local",
    "usr/share/mimg",
    "var",
];

/// Names in /etc that programs read which the scripts call: the loader, kmod, udev, LVM, mdadm, blkid, setupcon, ZFS …
const READ: [&str; 26] = [
    "blkid.conf",
    "console-setup",
    "cryptsetup-initramfs",
    "crypttab",
    "default",
    "dropbear",
    "e2fsck.conf",
    "group",
    "hostid",
    "initramfs-tools",
    "iscsi",
    "kernel",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "lvm",
    "mdadm",
    "modprobe.d",
    "modules",
    "modules-load.d",
    "multipath",
    "nsswitch.conf",
    "passwd",
    "udev",
    "vconsole.conf",
    "zfs",
];

/// Where the scripts are that make an initramfs.
const SCRIPTS: [&str; 3] = ["usr/share/initramfs-tools", "etc/initramfs-tools", "usr/sbin/mkinitramfs"];

/// Its place in the tree that it is made in: in a folder that travels empty.
const OUT: &str = "var/tmp/initramfs";

impl Initramfs {
    /// Begins to make the one of `stem`, in `work`, unless `shelf` has it.
    pub fn begin(stem: Stem, shelf: &Shelf, work: &Path, progress: &Progress) -> Initramfs {
        let (shelf, work, progress) = (shelf.clone(), work.to_owned(), *progress);
        Initramfs(std::thread::spawn(move || find_or_make(&stem, &shelf, &work, &progress)))
    }

    /// Waits until it is made.
    pub fn end(self) -> Result<Made> {
        let made = self.0.join().unwrap_or_else(|_| bail!("a thread panicked"));
        made.context("making the initramfs")
    }
}

/// Whether an initramfs made in `tree` after changes at `paths` could be another.
pub fn reads<'a>(tree: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<bool> {
    let scripts = LazyCell::new(|| scripts(tree));
    for path in paths {
        if path == Path::new("vmlinuz") || UNREAD.iter().any(|unread| path.starts_with(unread)) {
            continue;
        }
        let Ok(below) = path.strip_prefix("etc") else { return Ok(true) };
        let mut names = below.iter().map(|name| name.to_string_lossy());
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        let texts = scripts.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        if READ.contains(&first.as_ref()) || texts.iter().any(|text| mentions(text, &first, second.as_deref())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The texts of all scripts that make an initramfs.
fn scripts(tree: &Path) -> Result<Vec<String>> {
    let mut ahead: Vec<PathBuf> = SCRIPTS.iter().map(|script| tree.join(script)).collect();
    let mut texts = Vec::new();
    while let Some(script) = ahead.pop() {
        if script.is_dir() {
            ahead.extend(fs::read_dir(&script)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
        } else if script.is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(&script)?).into_owned());
        }
    }
    Ok(texts)
}

/// Whether a script names `/etc/FIRST`, or in it SECOND or what it does not say.
fn mentions(text: &str, first: &str, second: Option<&str>) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    text.split(&format!("etc/{first}")).skip(1).any(|rest| match rest.strip_prefix('/') {
        Some(rest) => {
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            name.is_empty() || second.is_none_or(|second| second == name)
        }
        None => !rest.starts_with(is_name),
    })
}

/// Makes one in the finished tree at `tree`, with all that is in it.
pub fn make(tree: &Path, epoch: i64, progress: &Progress) -> Result<Made> {
    let stage = progress.stage("initramfs");
    let kernel = kernel(tree)?;
    // With SOURCE_DATE_EPOCH it sorts, clamps times and compresses in one thread: the same bytes each time.
    Sandbox::new(tree, epoch).run(&["mkinitramfs", "-o", &format!("/{OUT}"), &kernel])?;
    let file = tree.join(OUT);
    ensure!(fs::metadata(&file)?.len() > 0, "mkinitramfs ended well, and wrote nothing");
    stage.done(kernel.clone());
    Ok(Made { kernel, file })
}

fn find_or_make(stem: &Stem, shelf: &Shelf, work: &Path, progress: &Progress) -> Result<Made> {
    let key = shelf::key(&["initramfs", &stem.key]);
    if let Some(folder) = shelf.find("initramfs", &key) {
        match open(&folder) {
            Ok(made) => return Ok(made),
            Err(damage) => shelf.quarantine("initramfs", &key, "a kernel", &damage, progress)?,
        }
    }
    let tree = work.join("initramfs");
    fs::create_dir(&tree)?;
    stem.restore(&tree)?;
    // The hook that brings fsck asks which type the root file system has.
    fs::write(tree.join("etc/fstab"), "none / ext4 defaults 0 1\n")?;
    let Made { kernel, file } = make(&tree, stem.epoch, progress)?;
    let draft = shelf.draft()?;
    fs::rename(&file, draft.path().join("initramfs"))?;
    let sha256 = shelf::digest(&mut fs::File::open(draft.path().join("initramfs"))?)?;
    shelf::write_index(draft.path(), &Index { kernel, sha256 })?;
    open(&shelf.keep("initramfs", &key, draft)?)
}

fn open(folder: &Path) -> Result<Made> {
    let index: Index = shelf::read_index(folder)?;
    let file = folder.join("initramfs");
    let seen = shelf::digest(&mut fs::File::open(&file)?)?;
    ensure!(seen == index.sha256, "its SHA-256 is {seen}: wanted {}", index.sha256);
    Ok(Made { kernel: index.kernel, file })
}

/// The version of the tree's only kernel.
pub fn kernel(tree: &Path) -> Result<String> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(tree.join("boot"))? {
        let name = entry?.file_name();
        versions.extend(name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")).map(str::to_owned));
    }
    versions.sort();
    match versions.as_slice() {
        [version] => Ok(version.clone()),
        [] => Err(anyhow!("no kernel in the image's /boot: a profile has to ask for linux-image-amd64")),
        many => bail!(
            "an image has one kernel, and its /boot has {}: {}: ask for one of them alone",
            many.len(),
            many.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a folder");
        fs::create_dir(tree.path().join("boot")).expect("a folder");
        files.iter().for_each(|file| fs::write(tree.path().join(file), "").expect("a file"));
        tree
    }

    #[test]
    fn an_image_has_exactly_one_kernel() {
        let none = kernel(tree(&[]).path()).expect_err("no kernel").to_string();
        assert!(none.contains("linux-image-amd64"), "{none}");
        let two =
            kernel(tree(&["boot/vmlinuz-6.12-b", "boot/vmlinuz-6.12-a"]).path()).expect_err("two kernels").to_string();
        assert!(two.contains("6.12-a, 6.12-b"), "{two}");
        let one = tree(&["boot/vmlinuz-6.12-a", "boot/config-6.12-a"]);
        assert_eq!(kernel(one.path()).expect("one kernel"), "6.12-a");
    }

    #[test]
    fn hooks_and_modules_options_change_an_initramfs_and_a_motd_does_not() {
        let tree = tree(&[]);
        let hooks = tree.path().join("etc/initramfs-tools/hooks");
        fs::create_dir_all(&hooks).expect("a folder");
        let hook = "cp /etc/own.conf \"$DESTDIR\"\nfor f in /etc/systemd/network/*.link /etc/all/*; do :; done";
        fs::write(hooks.join("own"), hook).expect("a hook");
        let read = |path: &str| reads(tree.path(), [Path::new(path)].into_iter()).expect("an answer");
        for path in [
            "etc/initramfs-tools/hooks/own",
            "etc/modprobe.d/x.conf",
            "etc/crypttab",
            "usr/bin/x",
            "etc/own.conf",
            "etc/systemd/network/1.link",
            "etc/all/x",
        ] {
            assert!(read(path), "{path}");
        }
        for path in [
            "etc/motd",
            "etc/own",
            "etc/systemd/system/x.service",
            "etc/ssh/sshd_config.d/x",
            "vmlinuz",
            "var/lib/x",
            "usr/local/sbin/x",
        ] {
            assert!(!read(path), "{path}");
        }
    }
}
