//! A tree copied to another file system: owners, modes, times, attributes, hard links and holes.

use crate::rules::Rules;
use crate::tree::{Entries, Entry, Kind, Sum, below, blocks, dress, forget, open, special};
use anyhow::{Context, Result};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::HashMap;
use std::fs::{File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// A copy under way.
pub(crate) struct Copy<'a> {
    pub from: &'a Path,
    pub to: &'a Path,
    pub left_out: &'a Rules,
    /// What is in the new tree, as far as it was copied.
    pub entries: &'a mut Entries,
    /// The path of each file that has several names, by its inode.
    names: HashMap<u64, PathBuf>,
}

impl<'a> Copy<'a> {
    pub fn new(from: &'a Path, to: &'a Path, left_out: &'a Rules, entries: &'a mut Entries) -> Self {
        Copy { from, to, left_out, entries, names: HashMap::new() }
    }

    /// Copies what is at `path`, and all that is below it. What vanishes meanwhile was not there.
    pub fn all(&mut self, path: &Path) -> Result<()> {
        let mut folders = vec![path.to_owned()];
        let mut ahead = vec![path.to_owned()];
        while let Some(path) = ahead.pop() {
            let Some(metadata) = self.look(&path)? else { continue };
            let copied = self.one(&path, &metadata).with_context(|| format!("copying {}", path.display()))?;
            if copied && metadata.is_dir() {
                ahead.extend(self.children(&path)?);
                folders.push(path);
            }
        }
        // Adding to a folder sets its time.
        folders.iter().rev().try_for_each(|path| self.stamp(path))
    }

    fn look(&self, path: &Path) -> Result<Option<Metadata>> {
        match std::fs::symlink_metadata(below(self.from, path)) {
            Ok(metadata) => Ok((!self.left_out.mean(path, metadata.is_dir())).then_some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
        }
    }

    /// In an order in which the last one comes first.
    fn children(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(below(self.from, folder))? {
            found.push(folder.join(entry?.file_name()));
        }
        found.sort_by(|one, other| other.cmp(one));
        Ok(found)
    }

    /// Copies one thing; false where there is nothing to copy.
    fn one(&mut self, path: &Path, metadata: &Metadata) -> Result<bool> {
        let (from, to) = (below(self.from, path), below(self.to, path));
        if !metadata.is_dir() && std::fs::symlink_metadata(&to).is_ok() {
            fs_err::remove_file(&to)?;
            forget(path, self.entries);
        }
        if metadata.is_file() {
            return self.file(path, metadata, &from, &to);
        }
        let kind = special(&from, metadata)?;
        match &kind {
            Kind::Folder if to.is_dir() => {}
            Kind::Folder => std::fs::DirBuilder::new().mode(0o700).create(&to)?,
            Kind::Link(target) => fs_err::os::unix::fs::symlink(target, &to)?,
            Kind::Node(device) => {
                let kind = SFlag::from_bits_truncate(metadata.mode() & SFlag::S_IFMT.bits());
                mknod(&to, kind, Mode::S_IRUSR, *device)?;
            }
            // Whoever listens at a socket makes it.
            _ => return Ok(false),
        }
        let entry = dress(&from, metadata, kind)?;
        wear(&to, &entry)?;
        self.entries.insert(path.to_owned(), entry);
        Ok(true)
    }

    fn file(&mut self, path: &Path, metadata: &Metadata, from: &Path, to: &Path) -> Result<bool> {
        if let Some(first) = self.names.get(&metadata.ino()) {
            fs_err::hard_link(below(self.to, first), to)?;
            let kind = Kind::Name(first.clone());
            let entry = self.entries.get(first).map(|entry| Entry { kind, ..entry.clone() });
            self.entries.extend(entry.map(|entry| (path.to_owned(), entry)));
            return Ok(true);
        }
        let source = match open(from) {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).context("opening it"),
        };
        let target = File::options().write(true).create_new(true).mode(0o600).open(to).context("making its copy")?;
        let mut sum = Sum::new();
        let size = blocks(&source, |at, bytes| {
            sum.add(at, bytes);
            target.write_all_at(bytes, at).context("writing its copy")
        })?;
        target.set_len(size)?;
        let entry = dress(from, metadata, Kind::File { size, sum: sum.end() })?;
        wear(to, &entry)?;
        if metadata.nlink() > 1 {
            self.names.insert(metadata.ino(), path.to_owned());
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(true)
    }

    /// Gives a folder the time of its original.
    fn stamp(&self, path: &Path) -> Result<()> {
        let to = below(self.to, path);
        if !to.is_dir() {
            return Ok(());
        }
        let metadata = fs_err::symlink_metadata(below(self.from, path))?;
        set_time(&to, metadata.mtime(), metadata.mtime_nsec())
    }
}

/// Owner first: to change it takes capabilities and setuid bits away.
fn wear(path: &Path, entry: &Entry) -> Result<()> {
    lchown(path, Some(entry.uid), Some(entry.gid)).context("setting its owner")?;
    for (name, value) in &entry.attributes {
        xattr::set(path, name, value).with_context(|| format!("setting its attribute {}", name.display()))?;
    }
    if !matches!(entry.kind, Kind::Link(_)) {
        fs_err::set_permissions(path, Permissions::from_mode(entry.mode))?;
    }
    match entry.time {
        Some((seconds, nanoseconds)) => set_time(path, seconds, nanoseconds),
        None => Ok(()),
    }
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<()> {
    let time = TimeSpec::new(seconds, nanoseconds);
    let here = nix::fcntl::AT_FDCWD;
    utimensat(here, path, &time, &time, UtimensatFlags::NoFollowSymlink).context("setting its time")
}
