//! A directory that stands for `/`: every path is resolved inside it, as a process chrooted there would, by the
//! kernel (openat2, RESOLVE_IN_ROOT), so that no link and no `..` leads a write to the host.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// An open root directory. Paths given to it may be absolute or relative: both start at the root.
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// A place in a root: the directory that holds it, open, and the last component of its name.
pub struct Place<'a> {
    /// The directory, open for resolving names in it only.
    pub dir: OwnedFd,
    /// One component, neither `.` nor `..`.
    pub name: &'a OsStr,
}

/// Who owns an entry, its permission bits, and its time of change in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub mtime: i64,
}

impl Root {
    /// Opens the directory `path`, which has to exist.
    pub fn open(path: &Path) -> Result<Root> {
        let path = fs_err::canonicalize(path)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd =
            openat(AT_FDCWD, &path, flags, Mode::empty()).with_context(|| format!("opening {}", path.display()))?;
        Ok(Root { fd, path })
    }

    /// Where the root is on the host, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what `path` resolves to within the root.
    pub fn open_at(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.fd, if path.as_os_str().is_empty() { Path::new(".") } else { path }, how)
    }

    /// The directory `path`, links followed within the root.
    pub fn dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// The directory `path`, made with its parents (0755, root's) where missing.
    pub fn make_dirs(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.dir(path) {
            Err(Errno::ENOENT) => {}
            answer => return answer,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
        let parent = self.make_dirs(parent)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => self.dir(path),
            Err(error) => Err(error),
        }
    }

    /// The place that `path` names: its parent directory must exist, it itself need not.
    pub fn place<'a>(&self, path: &'a Path) -> Result<Place<'a>, Errno> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        Ok(Place { dir: self.dir(path.parent().unwrap_or(Path::new("/")))?, name })
    }

    /// What `path` is, its last component not followed; None if there is nothing.
    pub fn stat(&self, path: &Path) -> Result<Option<FileStat>> {
        match self.place(path) {
            Ok(place) => place.stat(),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
        .with_context(|| format!("looking at {} in the tree", path.display()))
    }

    /// The content of a regular file, links followed within the root; None if there is none.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        match self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => File::from(fd).read_to_end(&mut content).map(|_| Some(content)).map_err(anyhow::Error::from),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
        .with_context(|| format!("reading {} in the tree", path.display()))
    }

    /// The content of a text file, or an empty text if there is none.
    pub fn text(&self, path: &str) -> Result<String> {
        let content = self.read(Path::new(path))?.unwrap_or_default();
        String::from_utf8(content).with_context(|| format!("reading {path} in the tree as text"))
    }

    /// Writes a file anew, whatever was there (a directory is refused), making missing parents.
    pub fn write(&self, path: &Path, content: &[u8], attributes: Attributes) -> Result<()> {
        self.make_dirs(path.parent().unwrap_or(Path::new("/")))
            .map_err(anyhow::Error::from)
            .and_then(|_| Ok(self.place(path)?))
            .and_then(|place| place.write(&mut &content[..], attributes))
            .with_context(|| format!("writing {} in the tree", path.display()))
    }

    /// Removes a file, a link or a whole directory; nothing there is fine.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let Some(stat) = self.stat(path)? else { return Ok(()) };
        let place = self.place(path)?;
        // The parent is resolved in the root; from there on remove_dir_all follows no link.
        let held = place.held();
        if is_dir(&stat) {
            fs_err::remove_dir_all(held)?
        } else {
            fs_err::remove_file(held)?
        }
        Ok(())
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub fn names(&self, path: &Path) -> Result<Vec<std::ffi::OsString>> {
        let dir = match self.dir(path) {
            Ok(dir) => dir,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
            Err(error) => bail!("opening {} in the tree: {error}", path.display()),
        };
        let mut names =
            fs_err::read_dir(held(&dir))?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// `path` without links among its parents, relative to the root: two names of one place give one answer.
    pub fn canonical(&self, place: &Place) -> Result<PathBuf> {
        let parent = readlinkat(AT_FDCWD, &held(&place.dir))?;
        let inside = Path::new(&parent)
            .strip_prefix(&self.path)
            .with_context(|| format!("{} leads out of the tree to {}", place.name.display(), parent.display()))?;
        Ok(inside.join(place.name))
    }
}

impl Place<'_> {
    /// A name of the place that other interfaces can open while `self` lives.
    pub fn held(&self) -> PathBuf {
        held(&self.dir).join(self.name)
    }

    /// What is here, not followed; None if nothing is.
    pub fn stat(&self) -> Result<Option<FileStat>> {
        match fstatat(&self.dir, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a new file here from `content`; a file or link that was here is replaced, a directory is an error.
    pub fn write(&self, content: &mut dyn Read, attributes: Attributes) -> Result<()> {
        let mut file = self.create()?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                n => file.write_all(&buffer[..n])?,
            }
        }
        // Owner before mode: chown clears set-user-id.
        fchown(&file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
        fchmod(&file, Mode::from_bits_truncate(attributes.mode & 0o7777))?;
        let time = TimeSpec::new(attributes.mtime, 0);
        Ok(futimens(&file, &time, &time)?)
    }

    /// Gives an existing file, which is on the same file system, one more name here; what was here is replaced.
    pub fn link_file(&self, from: &Path) -> Result<()> {
        let link = || linkat(AT_FDCWD, from, &self.dir, self.name, AtFlags::empty());
        match link() {
            Err(Errno::EEXIST) => {
                self.unlink()?;
                Ok(link()?)
            }
            answer => Ok(answer?),
        }
    }

    fn create(&self) -> Result<File, Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let make = || openat(&self.dir, self.name, flags, Mode::from_bits_truncate(0o600)).map(File::from);
        match make() {
            Err(Errno::EEXIST) => {
                self.unlink()?;
                make()
            }
            answer => answer,
        }
    }

    /// Makes a symbolic link here; a file or link that was here is replaced.
    pub fn link_to(&self, target: &OsStr, attributes: Attributes) -> Result<()> {
        if let Err(Errno::EEXIST) = symlinkat(target, &self.dir, self.name) {
            self.unlink()?;
            symlinkat(target, &self.dir, self.name)?;
        }
        self.own(attributes)?;
        Ok(self.date(attributes.mtime)?)
    }

    /// Removes the file or link that is here; nothing there is fine.
    pub fn unlink(&self) -> Result<(), Errno> {
        match unlinkat(&self.dir, self.name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            answer => answer,
        }
    }

    /// Gives a directory its owner, mode and time.
    pub fn dress(&self, attributes: Attributes) -> Result<()> {
        self.own(attributes)?;
        let mode = Mode::from_bits_truncate(attributes.mode & 0o7777);
        fchmodat(&self.dir, self.name, mode, FchmodatFlags::FollowSymlink)?;
        Ok(self.date(attributes.mtime)?)
    }

    fn own(&self, attributes: Attributes) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchownat(&self.dir, self.name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn date(&self, mtime: i64) -> Result<(), Errno> {
        let time = TimeSpec::new(mtime, 0);
        utimensat(&self.dir, self.name, &time, &time, UtimensatFlags::NoFollowSymlink)
    }
}

/// Does `work` in a folder, and gives the folder its time of change back: what is done there for our own sake must not
/// show.
pub fn unnoticed<T>(folder: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let meta = fs_err::metadata(folder)?;
    let done = work()?;
    let time = |seconds: i64, nanoseconds: i64| TimeSpec::new(seconds, nanoseconds);
    use std::os::unix::fs::MetadataExt;
    let (atime, mtime) = (time(meta.atime(), meta.atime_nsec()), time(meta.mtime(), meta.mtime_nsec()));
    utimensat(AT_FDCWD, folder, &atime, &mtime, UtimensatFlags::FollowSymlink)?;
    Ok(done)
}

/// The kernel's name for an open directory.
pub fn held(dir: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

/// Whether it is a directory.
pub fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// Whether it is a symbolic link.
pub fn is_link(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFLNK
}

/// A name from an archive or an overlay, made relative to the root (`./usr/bin/` becomes `usr/bin`); refused if it
/// could name a place outside, or no one place: `..`, control characters, names the kernel does not take.
pub fn inside(name: &Path) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if part.len() > 255 => bail!("{} has a name over 255 bytes", shown(name)),
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::Prefix(_) => bail!("{} is absolute; wanted a path below ./", shown(name)),
            Component::ParentDir => bail!("{} holds `..`", shown(name)),
        }
    }
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", shown(name)))?;
    if text.chars().any(char::is_control) {
        bail!("{} holds a control character", shown(name));
    }
    if text.len() > 4000 {
        bail!("{}… is longer than 4000 bytes", &text.chars().take(60).collect::<String>());
    }
    Ok(path)
}

fn shown(name: &Path) -> String {
    quoted(&name.to_string_lossy())
}

/// A text of unknown length as a message can have it.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(200) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}
