//! A Debian package file: its control members, and its data as a stream of entries.
//!
//! ```text
//! ar: debian-binary | control.tar.{xz,zst,gz,} | data.tar.{xz,zst,gz,}
//! ```
//! Nothing in it is trusted: names, types and sizes are checked before anything is written.

use crate::tree::root;
use crate::tree::shelf;
use anyhow::{Context, Result, bail, ensure};
use deb822_fast::Paragraph;
use fs_err::File;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// An opened package: all of control.tar is in memory, data.tar is read when asked for.
pub struct Deb {
    /// Where the file is.
    pub path: PathBuf,
    /// Of the file, in hexadecimal digits.
    pub sha256: String,
    /// The control file as it stands, without the newline at its end.
    pub control: String,
    /// Every other file of control.tar, by name: md5sums, conffiles, preinst, triggers …
    pub members: BTreeMap<String, Member>,
    fields: Paragraph,
}

/// One file of control.tar.
pub struct Member {
    /// The file's content.
    pub content: Vec<u8>,
    /// Permission bits, and time of change in seconds.
    pub mode: u32,
    pub mtime: i64,
}

/// One entry of data.tar, its path relative to the root and checked.
pub struct Entry<'a> {
    /// Relative to the root, the root's own is empty.
    pub path: PathBuf,
    /// What it is; only a file has content.
    pub kind: Kind,
    pub uid: u32,
    pub gid: u32,
    /// Names of owner and group, empty if the archive has none.
    pub user: String,
    pub group: String,
    pub mode: u32,
    /// Seconds.
    pub mtime: i64,
    /// The file's content, to be read within the visit.
    pub content: &'a mut dyn Read,
}

/// What an entry is. A symbolic link's target is text, a hard link's a checked path like the entry's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Dir,
    File,
    Link(PathBuf),
    HardLink(PathBuf),
}

/// Beyond these a package is taken for a bomb: the densest package of the archive unpacks to some 40 times its size.
const RATIO: u64 = 300;
const FLOOR: u64 = 64 << 20;
const CONTROL: u64 = 64 << 20;
const XZ_MEMORY: u64 = 256 << 20;

impl Deb {
    /// Opens a package and reads its control members. Errors name the file and what was wrong in it.
    pub fn open(path: &Path) -> Result<Deb> {
        Self::read(path).with_context(|| format!("opening the package {}", path.display()))
    }

    fn read(path: &Path) -> Result<Deb> {
        let mut archive = ar::Archive::new(BufReader::new(File::open(path)?));
        let mut version = String::new();
        member(&mut archive, "debian-binary")?.1.take(64).read_to_string(&mut version)?;
        ensure!(version.starts_with("2."), "its format is {:?}; wanted 2.0", version.trim_end());
        let (name, content) = member(&mut archive, "control.tar")?;
        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(Limited { inner: decoder(&name, content)?, left: CONTROL }).entries()? {
            let mut entry = entry.context("reading control.tar")?;
            let name = root::inside(&entry.path()?)?;
            if entry.header().entry_type().is_dir() && name.as_os_str().is_empty() {
                continue;
            }
            let name = member_name(&name, &entry)?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).with_context(|| format!("reading {name} of control.tar"))?;
            let (mode, mtime) = (entry.header().mode()? & 0o777, entry.header().mtime()? as i64);
            members.insert(name, Member { content, mode, mtime });
        }
        let control = members.remove("control").context("control.tar has no file `control`")?;
        let control = String::from_utf8(control.content).context("reading control as UTF-8")?.trim().to_owned();
        ensure!(!control.lines().any(|line| line.trim().is_empty()), "control has more than one paragraph");
        let fields = control.parse().map_err(|error| anyhow::anyhow!("control cannot be parsed: {error}"))?;
        let sha256 = shelf::digest(&mut File::open(path)?)?;
        let deb = Deb { path: path.to_owned(), sha256, control, members, fields };
        deb.check()?;
        Ok(deb)
    }

    /// Name, version and architecture become file names and lines of dpkg's database.
    fn check(&self) -> Result<()> {
        let plain = |text: &str, more: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        for (field, more) in [("Package", "+-."), ("Version", "+-.~:"), ("Architecture", "-")] {
            let value = self.field(field);
            ensure!(plain(value, more) && value.len() < 200, "control's {field} is {}", root::quoted(value));
        }
        let mut seen = BTreeSet::new();
        for (field, _) in self.fields.iter() {
            ensure!(seen.insert(field.to_ascii_lowercase()), "control has the field {} twice", root::quoted(field));
        }
        for field in ["Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited"] {
            ensure!(
                !seen.contains(&field.to_ascii_lowercase()),
                "control has the field {field}, which belongs to dpkg's status"
            );
        }
        Ok(())
    }

    /// A field of the control file, or an empty text.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default().trim()
    }

    /// The package's name, without its architecture.
    pub fn name(&self) -> &str {
        self.field("Package")
    }

    /// When it was built: the newest time of its control members, in seconds.
    pub fn built(&self) -> i64 {
        self.members.values().map(|member| member.mtime).max().unwrap_or_default()
    }

    /// Whether it has a part in the initramfs: a kernel, or a package that asks for a new one when it is installed.
    pub fn boots(&self) -> bool {
        let asks = |member: &str| self.text(member).is_ok_and(|text| text.contains("update-initramfs"));
        self.name().starts_with("linux-image-")
            || self.name() == "initramfs-tools"
            || asks("triggers")
            || asks("postinst")
    }

    /// Its size when installed, in KiB, as its control file says.
    pub fn installed_size(&self) -> u64 {
        self.field("Installed-Size").parse().unwrap_or_default()
    }

    /// The name of its files in dpkg's info/: `name`, or `name:arch` where several architectures may be installed.
    pub fn info_name(&self) -> String {
        match self.field("Multi-Arch") {
            "same" => format!("{}:{}", self.name(), self.field("Architecture")),
            _ => self.name().to_owned(),
        }
    }

    /// A control member as text, an empty one if it is not there.
    pub fn text(&self, member: &str) -> Result<&str> {
        let content = self.members.get(member).map_or(&[][..], |member| &member.content);
        std::str::from_utf8(content).with_context(|| format!("reading {member} of {} as UTF-8", self.name()))
    }

    /// The conffiles, relative to the root, in the package's order, and whether each is marked `remove-on-upgrade`:
    /// such a one the package does not ship.
    pub fn conffiles(&self) -> Result<Vec<(PathBuf, bool)>> {
        let lines = self.text("conffiles")?.lines().map(str::trim).filter(|line| !line.is_empty());
        let conffile = |line: &str| {
            let (path, remove) = line.strip_prefix("remove-on-upgrade ").map_or((line, false), |path| (path, true));
            let path = path
                .trim_start()
                .strip_prefix('/')
                .with_context(|| format!("the conffile {} is no path", root::quoted(line)))?;
            Ok((root::inside(Path::new(path))?, remove))
        };
        let found: Result<_> = lines.map(conffile).collect();
        found.with_context(|| format!("reading conffiles of {}", self.path.display()))
    }

    /// Calls `visit` for each entry of data.tar in its order; the content can be read only within the call.
    pub fn each_entry(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.visit_data(visit).with_context(|| format!("unpacking {}", self.path.display()))
    }

    fn visit_data(&self, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let file = File::open(&self.path)?;
        let most = file.metadata()?.len().saturating_mul(RATIO).max(FLOOR);
        let mut archive = ar::Archive::new(BufReader::with_capacity(1 << 16, file));
        member(&mut archive, "debian-binary")?;
        member(&mut archive, "control.tar")?;
        let (name, content) = member(&mut archive, "data.tar")?;
        let mut data = tar::Archive::new(Limited { inner: decoder(&name, content)?, left: most });
        let mut last = PathBuf::new();
        for entry in data.entries()? {
            // Also an entry that is cut short is noticed here, after it was visited.
            let mut entry = entry.with_context(|| format!("reading data.tar from ./{} on", last.display()))?;
            let path = root::inside(&entry.path()?)?;
            let kind = kind(&entry, &path)?;
            last.clone_from(&path);
            let header = entry.header();
            let numbers = || -> Result<(u32, u32, u32, i64)> {
                let (uid, gid) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
                Ok((uid, gid, header.mode()? & 0o7777, i64::try_from(header.mtime()?)?))
            };
            let (uid, gid, mode, mtime) =
                numbers().with_context(|| format!("reading {}, its owner, mode and date", path.display()))?;
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let (user, group) = (text(header.username_bytes()), text(header.groupname_bytes()));
            visit(Entry { path, kind, uid, gid, user, group, mode, mtime, content: &mut entry })?;
        }
        Ok(())
    }
}

/// The next ar member, whose name has to begin with `wanted`.
fn member<'a, R: Read>(archive: &'a mut ar::Archive<R>, wanted: &str) -> Result<(String, ar::Entry<'a, R>)> {
    let found = archive.next_entry().with_context(|| format!("the archive ends before {wanted}"))?;
    let found = found.with_context(|| format!("looking for {wanted}"))?;
    let name = String::from_utf8_lossy(found.header().identifier()).into_owned();
    ensure!(name.starts_with(wanted), "its member {name:?} stands where {wanted} was wanted");
    Ok((name, found))
}

fn decoder<'a>(name: &str, content: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let ending = name.split_once(".tar").map_or(name, |(_, ending)| ending);
    Ok(match ending {
        "" => Box::new(content),
        ".gz" => Box::new(flate2::read::GzDecoder::new(content)),
        ".xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(content, stream))
        }
        ".zst" => Box::new(zstd::Decoder::new(content)?),
        _ => bail!("{name} is compressed in a way that is not known; wanted .xz, .zst, .gz or none"),
    })
}

fn member_name(path: &Path, entry: &tar::Entry<impl Read>) -> Result<String> {
    let name = path.to_str().unwrap_or_default();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    ensure!(plain && !name.is_empty() && !name.starts_with('.'), "control.tar holds {name:?}, no name of a member");
    ensure!(entry.header().entry_type().is_file(), "control.tar's {name} is not a regular file");
    Ok(name.to_owned())
}

fn kind(entry: &tar::Entry<impl Read>, path: &Path) -> Result<Kind> {
    use tar::EntryType as Type;
    let target = || {
        let target = entry.link_name()?.with_context(|| format!("{} links to nothing", path.display()))?;
        ensure!(!target.as_os_str().is_empty(), "{} links to nothing", path.display());
        Ok(target.into_owned())
    };
    Ok(match entry.header().entry_type() {
        Type::Directory => Kind::Dir,
        _ if path.as_os_str().is_empty() => bail!("the root itself is shipped as something other than a directory"),
        Type::Regular => Kind::File,
        Type::Symlink => Kind::Link(target()?),
        Type::Link => Kind::HardLink(root::inside(&target()?)?),
        other => bail!("{} is of type {other:?}; wanted a file, a directory or a link", path.display()),
    })
}

/// A stream that fails once more than `left` bytes have come out of it.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other("it unpacks to far more than its size allows: taken for a decompression bomb")
        })?;
        Ok(n)
    }
}
