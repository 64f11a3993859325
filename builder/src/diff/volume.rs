//! A file system in an image, read in process: ext4 and FAT. Nothing is mounted, and whoever can read the image can do
//! this.

use crate::image::window::Window;
use crate::publish::superblock::Superblock;
use anyhow::{Context, Result, bail, ensure};
use ext4_view::{Ext4, Ext4Read, FileType};
use hadris_fat::{FatDir, FatVolume};
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::FileExt;

/// A damaged file system may lead in a circle.
const LONGEST_PATH: usize = 4096;

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
pub enum Volume<'a> {
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
        if Superblock::read(&head[1024..], size).is_some() {
            let stretch = Stretch { disk: disk.try_clone().context("opening the image again")?, start, size };
            return Ok(Some(Volume::Ext4(Ext4::load(Box::new(stretch)).context("opening the ext4 file system")?)));
        }
        let is_fat = head[510..512] == [0x55, 0xaa] && (head[54..57] == *b"FAT" || head[82..85] == *b"FAT");
        if !is_fat {
            return Ok(None);
        }
        let volume = FatVolume::open(Window::new(disk, start, size)).context("opening the FAT volume")?;
        Ok(Some(Volume::Fat(Box::new(volume))))
    }

    /// All that is in it, its root too.
    pub fn entries(&self) -> Result<Entries> {
        let mut entries = Entries::new();
        match self {
            Volume::Ext4(ext4) => {
                let root = ext4.symlink_metadata("/").context("reading the root folder")?;
                entries.insert(b"/".to_vec(), entry(&root, None));
                let mut ahead = vec![b"/".to_vec()];
                while let Some(folder) = ahead.pop() {
                    list_ext4(ext4, &folder, &mut entries, &mut ahead)
                        .with_context(|| format!("reading {}", shown(&folder)))?;
                }
            }
            Volume::Fat(fat) => list_fat(fat, &fat.root_dir(), "", &mut entries)?,
        }
        Ok(entries)
    }

    /// Is there anything at this path?
    pub fn has(&self, path: &[u8]) -> Result<bool> {
        match self {
            Volume::Ext4(ext4) => Ok(ext4.exists(path)?),
            Volume::Fat(_) => Ok(self.entries()?.contains_key(path)),
        }
    }

    /// The content of the file at `path`, one of `entries`.
    pub fn file(&self, path: &[u8]) -> Result<Box<dyn Read + '_>> {
        Ok(match self {
            Volume::Ext4(ext4) => Box::new(ext4.open(path)?),
            Volume::Fat(fat) => {
                let path = std::str::from_utf8(path).context("its name is not UTF-8")?;
                Box::new(Cursor::new(fat.open_file_path(path)?.read_to_vec()?))
            }
        })
    }
}

fn list_ext4(ext4: &Ext4, folder: &[u8], entries: &mut Entries, ahead: &mut Vec<Vec<u8>>) -> Result<()> {
    for found in ext4.read_dir(folder)? {
        let found = found?;
        if [&b"."[..], b".."].contains(&found.file_name().as_ref()) {
            continue;
        }
        let path = found.path().as_ref().to_vec();
        ensure!(path.len() < LONGEST_PATH, "a path is longer than {LONGEST_PATH} bytes: the file system is damaged");
        let metadata = found.metadata()?;
        let target = if metadata.is_symlink() { Some(shown(ext4.read_link(path.as_slice())?.as_ref())) } else { None };
        if metadata.is_dir() {
            ahead.push(path.clone());
        }
        entries.insert(path, entry(&metadata, target));
    }
    Ok(())
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

fn list_fat(fat: &FatVolume<Window>, folder: &FatDir<Window>, at: &str, entries: &mut Entries) -> Result<()> {
    for found in folder.entries() {
        let found = found.with_context(|| format!("reading {at}/"))?;
        let Some(found) = found.as_entry() else { continue };
        let name = found.name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{at}/{name}");
        if path.len() >= LONGEST_PATH || path.matches('/').count() > 64 {
            bail!("folders lie too deep in one another: the FAT volume is damaged");
        }
        let kind = if found.is_directory() { Kind::Folder } else { Kind::File };
        let size = if kind == Kind::File { found.len() } else { 0 };
        entries.insert(path.clone().into_bytes(), Entry { kind, size, mode: None, owner: None, target: None });
        if kind == Kind::Folder {
            list_fat(fat, &fat.open_dir_entry(found)?, &path, entries)?;
        }
    }
    Ok(())
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
