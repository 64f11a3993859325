//! A file system in an image, read in process: ext4 and FAT. Nothing is mounted, and whoever can read the image can do
//! this.

use crate::publish::superblock::Superblock;
use anyhow::{Context, Result, ensure};
use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType};
use firstboot::window::Window;
use hadris_fat::{FatDir, FatVolume};
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;

/// No path of a system is longer, or leads through more folders.
const LONGEST_PATH: usize = 4096;
const DEEPEST: usize = 128;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    File,
    Folder,
    Link,
    Device,
    Pipe,
    Socket,
}

/// A file, folder or link as its file system has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    pub kind: Kind,
    /// Bytes of a file's content.
    pub size: u64,
    /// Its permissions in octal digits; FAT has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner and group as numbers; FAT has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// By path from the volume's root, with a slash in front.
pub type Entries = BTreeMap<Vec<u8>, Entry>;

/// A file system, open for reading.
pub struct Volume<'a> {
    reader: Reader<'a>,
    /// It has room for so many folders at most: a damaged one leads in a circle.
    folders: u64,
}

enum Reader<'a> {
    Ext4(Ext4),
    Fat(Box<FatVolume<Window<'a>>>),
}

impl<'a> Volume<'a> {
    /// Opens what begins at byte `start` of `disk`; `None` where no such file system does.
    pub fn open(disk: &'a File, start: u64, size: u64) -> Result<Option<Volume<'a>>> {
        let mut head = [0; 2048];
        if size < head.len() as u64 {
            return Ok(None);
        }
        disk.read_exact_at(&mut head, start).context("reading the image")?;
        // What it says of its size is looked at first: the reader makes room for as many groups as it is told.
        if let Some(superblock) = Superblock::read(&head[1024..], size) {
            let stretch = Stretch { disk: disk.try_clone().context("opening the image again")?, start, size };
            let ext4 = Ext4::load(Box::new(stretch)).context("opening the ext4 file system")?;
            return Ok(Some(Volume { reader: Reader::Ext4(ext4), folders: superblock.inodes }));
        }
        let is_fat = head[510..512] == [0x55, 0xaa] && (head[54..57] == *b"FAT" || head[82..85] == *b"FAT");
        if !is_fat {
            return Ok(None);
        }
        let volume = FatVolume::open(Window::new(disk, start, size)).context("opening the FAT volume")?;
        Ok(Some(Volume { reader: Reader::Fat(Box::new(volume)), folders: size / 512 }))
    }

    /// All that is in it, its root too.
    pub fn entries(&self) -> Result<Entries> {
        let mut list = List { entries: Entries::new(), folders: self.folders };
        match &self.reader {
            Reader::Ext4(ext4) => {
                let root = ext4.symlink_metadata("/").context("reading the root folder")?;
                list.entries.insert(b"/".to_vec(), entry(&root, None));
                let mut ahead = vec![b"/".to_vec()];
                while let Some(folder) = ahead.pop() {
                    list.ext4(ext4, &folder, &mut ahead).with_context(|| format!("reading {}", shown(&folder)))?;
                }
            }
            Reader::Fat(fat) => list.fat(fat, &fat.root_dir(), "")?,
        }
        Ok(list.entries)
    }

    /// Is there a file at this path, to which folders and no links lead?
    pub fn has(&self, path: &[u8]) -> Result<bool> {
        let Reader::Ext4(ext4) = &self.reader else { return Ok(self.entries()?.contains_key(path)) };
        let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            let found = match ext4.symlink_metadata(&path[..end]) {
                Err(Ext4Error::NotFound) => return Ok(false),
                found => found?,
            };
            if end < path.len() && !found.is_dir() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The content of the file at `path`, one of `entries`.
    pub fn file(&self, path: &[u8]) -> Result<Box<dyn Read + '_>> {
        Ok(match &self.reader {
            Reader::Ext4(ext4) => Box::new(ext4.open(path)?),
            Reader::Fat(fat) => {
                let path = std::str::from_utf8(path).context("its name is not UTF-8")?;
                Box::new(Cursor::new(fat.open_file_path(path)?.read_to_vec()?))
            }
        })
    }
}

/// What was found so far, and how many folders there may still be.
struct List {
    entries: Entries,
    folders: u64,
}

impl List {
    /// Takes in what is at a path, unless that cannot be.
    fn take(&mut self, path: Vec<u8>, entry: Entry) -> Result<()> {
        let deep = path.len() >= LONGEST_PATH || path.iter().filter(|byte| **byte == b'/').count() > DEEPEST;
        if entry.kind == Kind::Folder {
            ensure!(!deep && self.folders > 0, "folders lie in one another without an end: the file system is damaged");
            self.folders -= 1;
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    fn ext4(&mut self, ext4: &Ext4, folder: &[u8], ahead: &mut Vec<Vec<u8>>) -> Result<()> {
        for found in ext4.read_dir(folder)? {
            let found = found?;
            if [&b"."[..], b".."].contains(&found.file_name().as_ref()) {
                continue;
            }
            let (path, metadata) = (found.path().as_ref().to_vec(), found.metadata()?);
            // The reader makes room for as long a target as the file system tells.
            let too_long = metadata.is_symlink() && metadata.len() >= LONGEST_PATH as u64;
            ensure!(!too_long, "{} is a link of {} bytes: the file system is damaged", shown(&path), metadata.len());
            let target =
                if metadata.is_symlink() { Some(shown(ext4.read_link(path.as_slice())?.as_ref())) } else { None };
            if metadata.is_dir() {
                ahead.push(path.clone());
            }
            self.take(path, entry(&metadata, target))?;
        }
        Ok(())
    }

    fn fat(&mut self, fat: &FatVolume<Window>, folder: &FatDir<Window>, at: &str) -> Result<()> {
        for found in folder.entries() {
            let found = found.with_context(|| format!("reading {at}/"))?;
            let Some(found) = found.as_entry() else { continue };
            let name = found.name();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{at}/{name}");
            let kind = if found.is_directory() { Kind::Folder } else { Kind::File };
            let size = if kind == Kind::File { found.len() } else { 0 };
            self.take(path.clone().into_bytes(), Entry { kind, size, mode: None, owner: None, target: None })?;
            if kind == Kind::Folder {
                self.fat(fat, &fat.open_dir_entry(found)?, &path)?;
            }
        }
        Ok(())
    }
}

fn entry(metadata: &ext4_view::Metadata, target: Option<String>) -> Entry {
    let kind = match metadata.file_type() {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::BlockDevice | FileType::CharacterDevice => Kind::Device,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
    };
    Entry {
        kind,
        size: if kind == Kind::File { metadata.len() } else { 0 },
        mode: Some(format!("{:04o}", metadata.mode())),
        owner: Some(format!("{}:{}", metadata.uid(), metadata.gid())),
        target,
    }
}

/// A path for people: what is no text, or would move a terminal's cursor, is written as an escape.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The bytes of a volume, as the ext4 reader asks for them.
struct Stretch {
    disk: File,
    start: u64,
    size: u64,
}

impl Ext4Read for Stretch {
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err("it reaches beyond its partition".into());
        }
        Ok(self.disk.read_exact_at(bytes, self.start + at)?)
    }
}
