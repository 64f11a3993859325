//! Whether there is room for a build, and whether it can be made there at all: told before any work is done.

use crate::archive::cache::{Cache, Content};
use crate::archive::package::Package;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Uid, fchown};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a folder in which a tree cannot be made: its programs have to run there, and its files have many owners.
pub fn check_kind(work: &Path) -> Result<()> {
    let cure = "name a folder on another file system with --cache DIR";
    let flags = statvfs(work).with_context(|| format!("looking at {}", work.display()))?.flags();
    ensure!(
        !flags.contains(FsFlags::ST_NOEXEC),
        "{} is mounted noexec, and packages' programs have to run there: {cure}",
        work.display()
    );
    let file = tempfile::tempfile_in(work).with_context(|| format!("writing into {} ({cure})", work.display()))?;
    let kept = fchown(&file, Some(Uid::from_raw(1)), Some(Gid::from_raw(1))).is_ok()
        && file.metadata().is_ok_and(|data| (data.uid(), data.gid()) == (1, 1));
    ensure!(
        kept,
        "{} keeps no owners of files (a FAT, a network share?), and a system has many: {cure}",
        work.display()
    );
    Ok(())
}

/// Refuses what cannot fit: downloads and the tree in the cache, the image where `out` lies. What packages say about
/// their size is a little less than what they take, so nothing is refused that could have been built.
pub fn check(packages: &[Package], debs: &Cache, cache: &Path, out: &Path) -> Result<()> {
    let absent = packages.iter().filter(|package| {
        let content = Content { sha256: package.sha256.clone(), size: package.size };
        !debs.holds(&content)
    });
    let downloads: u64 = absent.map(|package| package.size).sum();
    let tree: u64 = packages.iter().map(installed).sum();
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = fs_err::metadata(folder)?.dev() == fs_err::metadata(cache)?.dev();
    let shown = format!("{downloads} to download, {tree} for the tree");
    if beside {
        return enough(cache, downloads + 2 * tree, &format!("{shown}, {tree} for the image"), "--cache or --out");
    }
    enough(cache, downloads + tree, &shown, "--cache")?;
    enough(folder, tree, "the image", "--out")
}

fn enough(folder: &Path, needed: u64, of: &str, option: &str) -> Result<()> {
    let stat = statvfs(folder).with_context(|| format!("asking for the free space of {}", folder.display()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    if free >= needed {
        return Ok(());
    }
    bail!(
        "{} has {free} bytes free, and at least {needed} are needed ({of}): free some (`mimg clean --keep SIZE` bounds \
         the cache), or name another place with {option}",
        folder.display()
    );
}

/// Bytes that a package says it takes.
fn installed(package: &Package) -> u64 {
    package.field("Installed-Size").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::package::Why;

    fn package(size: u64, installed: &str) -> Package {
        Package {
            name: "a".to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            size,
            sha256: "00".repeat(32),
            path: String::new(),
            urls: Vec::new(),
            origin: String::new(),
            needs: Default::default(),
            suite: "trixie".to_owned(),
            essential: false,
            priority: "optional".to_owned(),
            control: format!("Package: a\nInstalled-Size: {installed}"),
            why: Why::Essential,
        }
    }

    #[test]
    fn what_is_needed_is_said_in_bytes_with_what_it_is_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let debs = Cache::open(&folder.path().join("debs")).expect("a cache");
        let check = |package| check(&[package], &debs, folder.path(), &folder.path().join("a.img"));
        check(package(3, "4")).expect("there is room for a few bytes");
        let huge = 1_u64 << 50;
        let said = format!("{:#}", check(package(7, &huge.to_string())).expect_err("no disk is so large"));
        let (tree, all) = (huge * 1024, 7 + 2 * huge * 1024);
        assert!(said.contains(&format!("at least {all} are needed (7 to download, {tree} for the tree, ")), "{said}");
        assert!(said.contains("--cache or --out"), "{said}");
        check(package(3, "unknown")).expect("what says no size needs none");
    }

    #[test]
    fn what_keeps_no_owners_or_lets_no_program_run_is_refused() {
        let said = format!("{:#}", check_kind(Path::new("/proc")).expect_err("no tree can be made there"));
        assert!(said.contains("/proc") && said.contains("--cache DIR"), "{said}");
    }
}
