//! What configuring packages leaves in a tree that no image may hold: identities, keys, logs, caches, backups.

use crate::tree::Tree;
use crate::tree::growth::POLICY;
use crate::tree::root::{Attributes, is_dir};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Removed wherever they are. `*` stands for any text within one name.
const REMOVED: [&str; 30] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "etc/hostname",
    "etc/resolv.conf.dpkg-bak",
    "etc/ssh/ssh_host_*",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/apt/auth.conf",
    "initrd.img.old",
    "vmlinuz.old",
    "root/.*history",
    "root/.rnd",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/ucf/*.[0-9]",
    "var/lib/urandom/random-seed",
];

/// Folders that stay, with their folders, but lose all files.
const EMPTIED: [&str; 4] = ["var/lib/apt/lists", "var/log", "tmp", "var/tmp"];

/// Folders that lose all that is in them.
const CLEARED: [&str; 3] = ["run", "tmp", "var/tmp"];

pub fn finish(tree: &Tree) -> Result<()> {
    tree.root().remove(Path::new(POLICY))?;
    for pattern in REMOVED {
        for path in matches(tree, pattern)? {
            tree.root().remove(&path)?;
        }
    }
    for folder in EMPTIED {
        empty(tree, Path::new(folder))?;
    }
    for folder in CLEARED {
        for name in tree.root().names(Path::new(folder))? {
            tree.root().remove(&Path::new(folder).join(name))?;
        }
    }
    leftovers(tree, Path::new("etc"))?;
    dangling(tree, Path::new("etc/ssl/certs"))?;
    // Empty, not missing: systemd then makes a new one at the first boot, and units of first boot run.
    let attributes = Attributes { uid: 0, gid: 0, mode: 0o444, mtime: tree.epoch() };
    tree.root().write(Path::new("etc/machine-id"), b"", attributes)
}

/// The paths that a pattern names.
fn matches(tree: &Tree, pattern: &str) -> Result<Vec<PathBuf>> {
    let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let folder = Path::new(folder);
    let names = tree.root().names(folder)?.into_iter();
    Ok(names.filter(|name| fits(last, &name.to_string_lossy())).map(|name| folder.join(name)).collect())
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, "")) => name.starts_with(start),
        Some((start, ".[0-9]")) => {
            name.starts_with(start) && name.rsplit_once('.').is_some_and(|(_, end)| end.parse::<u8>().is_ok())
        }
        Some((start, end)) => name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end),
    }
}

fn empty(tree: &Tree, folder: &Path) -> Result<()> {
    for name in tree.root().names(folder)? {
        let path = folder.join(name);
        match tree.root().stat(&path)? {
            Some(stat) if is_dir(&stat) => empty(tree, &path)?,
            _ => tree.root().remove(&path)?,
        }
    }
    Ok(())
}

/// Removes what dpkg and ucf put beside a configuration file that was there already, such as one of an overlay.
fn leftovers(tree: &Tree, folder: &Path) -> Result<()> {
    for name in tree.root().names(folder)? {
        let path = folder.join(&name);
        let name = name.to_string_lossy();
        if [".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".ucf-dist"].iter().any(|end| name.ends_with(end)) {
            tree.root().remove(&path)?;
        } else if tree.root().stat(&path)?.is_some_and(|stat| is_dir(&stat)) {
            leftovers(tree, &path)?;
        }
    }
    Ok(())
}

/// Removes links to nothing, such as the hash of a certificate that is gone.
fn dangling(tree: &Tree, folder: &Path) -> Result<()> {
    for name in tree.root().names(folder)? {
        let path = folder.join(name);
        if tree.root().open_at(&path, nix::fcntl::OFlag::O_PATH).is_err() {
            tree.root().remove(&path)?;
        }
    }
    Ok(())
}
