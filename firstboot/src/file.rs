//! The one reader and the one writer of files.
//!
//! All paths are below a root folder: "/" on a machine, a tree while an image is made. Links in the way are resolved
//! below that root, as in a chroot, and only where nobody but root could have made them: a user's home may hold a
//! link to anywhere.

use crate::owner::Owners;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, geteuid, unlinkat};
use profiles::file::File;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// The most that is read of a file: more than any file that a Spec could hold.
const LIMIT: u64 = 4 << 20;
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A regular file's text, mode and owner; `None` where there is no file. A link is followed below `root`. What is
/// not UTF-8 is replaced, what is longer than 4 MiB is cut: neither can equal a wanted file.
///
/// Fails where something else than a regular file is there, or it cannot be read.
pub fn read(root: &Path, path: &str) -> Result<Option<File>> {
    let Some((content, stat)) = load(root, path)? else { return Ok(None) };
    let owner = Owners::load(root)?.name(stat.st_uid, stat.st_gid);
    let content = String::from_utf8_lossy(&content).into_owned();
    Ok(Some(File { path: path.to_owned(), content, mode: stat.st_mode & 0o7777, owner }))
}

/// Puts a file in place with its mode and owner, atomically and durably; missing folders are made (0755). Says whether
/// anything changed: a file that is as it should be is not written.
///
/// Fails where the final name is a link, a folder or a device, or its owner is not known to `root`.
pub fn put(root: &Path, file: &File) -> Result<bool> {
    let owner = Owners::load(root)?.ids(&file.owner).with_context(|| format!("putting {}", file.path))?;
    replace(root, &file.path, file.content.as_bytes(), file.mode, Some(owner))
}

/// As `put`, with bytes, and an owner by number; without one it belongs to who runs this.
pub fn replace(root: &Path, path: &str, content: &[u8], mode: u32, owner: Option<(Uid, Gid)>) -> Result<bool> {
    let (folder, name) = parent(root, path).with_context(|| format!("putting {path}"))?;
    let wanted = Wanted { content, mode, owner };
    if wanted.is_there(&folder, &name).with_context(|| format!("putting {path}"))? {
        return Ok(false);
    }
    wanted.write(&folder, &name).with_context(|| format!("putting {path}"))?;
    Ok(true)
}

/// Bytes and state of a regular file below `root`.
pub(crate) fn load(root: &Path, path: &str) -> Result<Option<(Vec<u8>, FileStat)>> {
    let below = relative(path)?;
    let root = fs_err::File::open(root)?;
    // Without O_NONBLOCK a FIFO would hold us up.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let fd = match openat2(&root, &below, how) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening {path}")),
    };
    let stat = fstat(&fd).with_context(|| format!("reading {path}"))?;
    if kind(&stat) != SFlag::S_IFREG {
        bail!("{path} is {}, not a regular file", noun(&stat));
    }
    let mut content = Vec::new();
    fs::File::from(fd).take(LIMIT).read_to_end(&mut content).with_context(|| format!("reading {path}"))?;
    Ok(Some((content, stat)))
}

/// What a file should be.
struct Wanted<'a> {
    content: &'a [u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
}

impl Wanted<'_> {
    /// Whether the file is as wanted already. Fails where something stands there that is not ours to replace.
    fn is_there(&self, folder: &OwnedFd, name: &str) -> Result<bool> {
        let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if kind(&stat) != SFlag::S_IFREG {
            bail!("it is {}, wanted a regular file or none: look at it, and remove it", noun(&stat));
        }
        let same_owner = self.owner.is_none_or(|(uid, gid)| (uid.as_raw(), gid.as_raw()) == (stat.st_uid, stat.st_gid));
        if !same_owner || stat.st_mode & 0o7777 != self.mode || stat.st_size != self.content.len() as i64 {
            return Ok(false);
        }
        let fd = openat(folder, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut content = Vec::new();
        fs::File::from(fd).take(self.content.len() as u64 + 1).read_to_end(&mut content)?;
        Ok(content == self.content)
    }

    /// The name of the new file is fixed, so that a killed run leaves at most one behind, and the next removes it.
    fn write(&self, folder: &OwnedFd, name: &str) -> Result<()> {
        let next = format!(".{name}.mimg-new");
        match unlinkat(folder, next.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("removing {next}, left by a run that was cut")),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // For its owner alone until it is whole.
        let mut file = fs::File::from(openat(folder, next.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let written = self.fill(&mut file).and_then(|()| Ok(renameat(folder, next.as_str(), folder, name)?));
        if written.is_err() {
            // A full disk is the likely cause: give back what was taken.
            let _ = unlinkat(folder, next.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written?;
        Ok(fsync(folder)?)
    }

    fn fill(&self, file: &mut fs::File) -> Result<()> {
        file.write_all(self.content)?;
        if let Some((uid, gid)) = self.owner {
            let stat = fstat(&*file)?;
            if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
                fchown(&*file, Some(uid), Some(gid)).context("giving it to its owner")?;
            }
        }
        // After the owner: a change of owner takes setuid bits away.
        fchmod(&*file, Mode::from_bits_truncate(self.mode))?;
        Ok(file.sync_all()?)
    }
}

/// A path below the root: absolute, and without "..".
fn relative(path: &str) -> Result<PathBuf> {
    let plain = |part: &Component| matches!(part, Component::RootDir | Component::Normal(_));
    match Path::new(path).strip_prefix("/") {
        Ok(below) if Path::new(path).components().all(|part| plain(&part)) && !path.contains('\0') => {
            Ok(below.to_owned())
        }
        _ => bail!("{path:?} is not an absolute path without \"..\""),
    }
}

/// The folder of `path`, made where it is missing, and the last name.
fn parent(root: &Path, path: &str) -> Result<(OwnedFd, String)> {
    let below = relative(path)?;
    let Some(name) = below.file_name().and_then(|name| name.to_str()) else { bail!("it names no file") };
    let top = fs_err::File::open(root)?;
    let mut folder = openat(&top, ".", FOLDER, Mode::empty())?;
    let mut walked = PathBuf::new();
    for part in below.parent().into_iter().flat_map(Path::components) {
        walked.push(part);
        folder = enter(&top, &folder, &walked)?;
    }
    Ok((folder, name.to_owned()))
}

/// Goes from `folder` into the last part of `walked`, making it where it is missing.
fn enter(top: &fs_err::File, folder: &OwnedFd, walked: &Path) -> Result<OwnedFd> {
    let part = walked.file_name().context("a path that ends in ..")?;
    match openat(folder, part, FOLDER | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(fd) => return Ok(fd),
        Err(Errno::ENOENT) => {
            mkdirat(folder, part, Mode::from_bits_truncate(0o755))
                .with_context(|| format!("making folder /{}", walked.display()))?;
            let made = openat(folder, part, FOLDER | OFlag::O_NOFOLLOW, Mode::empty())?;
            fchmod(&made, Mode::from_bits_truncate(0o755))?;
            fsync(folder)?;
            return Ok(made);
        }
        Err(Errno::ELOOP | Errno::ENOTDIR) => {}
        Err(error) => return Err(error).with_context(|| format!("opening folder /{}", walked.display())),
    }
    let link = fstatat(folder, part, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let holder = fstat(folder)?;
    let trusted = |uid: u32| uid == 0 || uid == geteuid().as_raw();
    if kind(&link) == SFlag::S_IFLNK && !(trusted(link.st_uid) && trusted(holder.st_uid)) {
        bail!("/{} is a link that a user made: not followed; remove it", walked.display());
    }
    let how = OpenHow::new().flags(FOLDER).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    openat2(top, walked, how).with_context(|| format!("opening folder /{}", walked.display()))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn noun(stat: &FileStat) -> &'static str {
    match kind(stat) {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFREG => "a regular file",
        _ => "a device, socket or pipe",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::getegid;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use tempfile::{TempDir, tempdir};

    /// A root in which the user who runs the tests is known as ana.
    fn root() -> TempDir {
        let root = tempdir().unwrap();
        fs_err::create_dir(root.path().join("etc")).unwrap();
        fs_err::write(root.path().join("etc/passwd"), format!("ana:x:{}:0::/:\n", geteuid())).unwrap();
        fs_err::write(root.path().join("etc/group"), format!("people:x:{}:\n", getegid())).unwrap();
        root
    }

    fn wanted(path: &str, mode: u32) -> File {
        File { path: path.to_owned(), content: "text\n".to_owned(), mode, owner: "ana:people".to_owned() }
    }

    fn refusal(root: &TempDir, path: &str) -> String {
        format!("{:#}", put(root.path(), &wanted(path, 0o644)).unwrap_err())
    }

    #[test]
    fn what_is_put_is_read_back_alike() {
        let root = root();
        for mode in [0o644, 0o600, 0o440, 0o4755] {
            let file = wanted("/a/b/c.conf", mode);
            assert!(put(root.path(), &file).unwrap());
            assert_eq!(read(root.path(), "/a/b/c.conf").unwrap(), Some(file));
        }
        assert_eq!(fs_err::metadata(root.path().join("a/b")).unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_file_that_is_as_it_should_be_is_not_written_again() {
        let root = root();
        let file = wanted("/f", 0o644);
        assert!(put(root.path(), &file).unwrap());
        let before = fs_err::metadata(root.path().join("f")).unwrap();
        assert!(!put(root.path(), &file).unwrap());
        let after = fs_err::metadata(root.path().join("f")).unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
        fs_err::set_permissions(root.path().join("f"), PermissionsExt::from_mode(0o666)).unwrap();
        assert!(put(root.path(), &file).unwrap(), "another mode is another file");
    }

    #[test]
    fn a_link_or_folder_at_the_final_name_is_neither_followed_nor_replaced() {
        let root = root();
        fs_err::write(root.path().join("target"), "kept").unwrap();
        symlink("target", root.path().join("link")).unwrap();
        assert!(refusal(&root, "/link").contains("a symbolic link, wanted a regular file"));
        assert!(refusal(&root, "/etc").contains("a folder, wanted a regular file"));
        assert_eq!(fs_err::read_to_string(root.path().join("target")).unwrap(), "kept");
    }

    #[test]
    fn links_in_the_way_stay_below_the_root() {
        let root = root();
        let outside = tempdir().unwrap();
        symlink("/", root.path().join("up")).unwrap();
        symlink(format!("../../../..{}", outside.path().display()), root.path().join("out")).unwrap();
        assert!(put(root.path(), &wanted("/up/f", 0o644)).unwrap());
        assert_eq!(fs_err::read_to_string(root.path().join("f")).unwrap(), "text\n");
        assert!(read(root.path(), "/up/etc/passwd").unwrap().is_some());
        assert!(refusal(&root, "/out/f").contains("No such file"));
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_a_user_made_is_not_followed() {
        if !geteuid().is_root() {
            return;
        }
        let root = root();
        fs_err::create_dir_all(root.path().join("home/ana")).unwrap();
        symlink("/etc", root.path().join("home/ana/.ssh")).unwrap();
        let link = root.path().join("home/ana/.ssh");
        std::os::unix::fs::lchown(link, Some(1234), Some(1234)).unwrap();
        assert!(refusal(&root, "/home/ana/.ssh/authorized_keys").contains("a link that a user made"));
    }

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let root = root();
        for path in ["relative", "/../etc/f", "/a/../../f", "", "/"] {
            assert!(put(root.path(), &wanted(path, 0o644)).is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_unknown_owner_is_named_and_nothing_is_written() {
        let root = root();
        for (owner, why) in [("bob:people", "no user bob"), ("root:crew", "no group crew"), ("root", "user:group")] {
            let file = File { owner: owner.to_owned(), ..wanted("/f", 0o644) };
            assert!(format!("{:#}", put(root.path(), &file).unwrap_err()).contains(why));
        }
        assert_eq!(read(root.path(), "/f").unwrap(), None);
    }

    #[test]
    fn what_a_killed_run_left_behind_is_replaced_and_nothing_else_stays() {
        let root = root();
        fs_err::write(root.path().join(".f.mimg-new"), "torn").unwrap();
        assert!(put(root.path(), &wanted("/f", 0o644)).unwrap());
        let names: Vec<_> = fs_err::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn what_is_no_text_or_too_long_never_equals_a_wanted_file() {
        let root = root();
        fs_err::write(root.path().join("f"), [b'a', 0xff]).unwrap();
        assert_eq!(read(root.path(), "/f").unwrap().unwrap().content, "a\u{fffd}");
        fs_err::write(root.path().join("f"), vec![b'a'; LIMIT as usize + 5]).unwrap();
        assert_eq!(read(root.path(), "/f").unwrap().unwrap().content.len() as u64, LIMIT);
        assert!(format!("{:#}", read(root.path(), "/etc").unwrap_err()).contains("is a folder"));
    }

    #[test]
    fn kernel_files_are_read_whatever_size_they_claim() {
        let file = read(Path::new("/"), "/proc/sys/kernel/ostype").unwrap().unwrap();
        assert_eq!((file.content.as_str(), file.mode), ("Linux\n", 0o444));
    }
}
