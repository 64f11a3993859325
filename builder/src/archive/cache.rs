//! Files that were fetched and verified, kept by the SHA-256 of what they hold.
//!
//! ```text
//! sha256/<first two digits>/<digest>   complete and verified; comes here only by rename
//! part/<digest>                        being fetched; locked by the process that writes it
//! quarantine/<digest>                  was found to hold something else
//! kept/<name>                          small texts, such as the last InRelease of a suite
//! ```

use crate::progress::Progress;
use crate::turn;
use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::File;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a file has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Lower-case hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// Is it a SHA-256 as it is written everywhere? A digest becomes a file's name, so nothing else may pass for one.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A folder of verified files. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A file that is being fetched, locked against other processes. It may hold the beginning from an earlier run.
pub struct Part {
    file: File,
    content: Content,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if need be. Errors: a folder in which nothing can be written.
    pub fn open(folder: &Path) -> Result<Self> {
        let cache = Cache { folder: folder.to_owned() };
        let writable = || -> Result<()> {
            for part in ["sha256", "part", "quarantine", "kept"] {
                fs::create_dir_all(folder.join(part))?;
            }
            tempfile::tempfile_in(folder.join("part")).context("writing a first file there")?;
            Ok(())
        };
        writable().with_context(|| {
            format!("opening the cache in {} (cure: make it writable, or name another folder)", folder.display())
        })?;
        Ok(cache)
    }

    /// The verified file with this content, if the cache has it. A file that turns out to hold something else is moved
    /// into quarantine, named, and counts as absent. `what` is how messages call it.
    pub fn get(&self, content: &Content, what: &str, progress: &Progress) -> Result<Option<PathBuf>> {
        let path = self.path(content);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Under a shared lock, for `mimg clean` takes an exclusive one: what it removed counts as absent, and what is in
        // use says so by its time of change (reading changes none that could be relied on).
        file.file().lock_shared().context("locking a file in the cache")?;
        if file.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        let Err(damage) = verify(&mut file, content) else {
            // Somebody else's file: then the one who may remove it is another, too.
            let _ = file.file().set_modified(SystemTime::now());
            return Ok(Some(path));
        };
        let quarantine = self.folder.join("quarantine").join(&content.sha256);
        match fs::rename(&path, &quarantine) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None), // another process was faster
            other => other?,
        }
        progress.say(&format!("the cached {what} is damaged ({damage:#}): moved to {}", quarantine.display()));
        Ok(None)
    }

    /// The file with this content, written by `write` if the cache does not have it. `write` gets the part as far as it
    /// is; what it leaves is verified before it comes under its name. Waits while another process writes the same file.
    pub fn fill(
        &self,
        content: &Content,
        what: &str,
        progress: &Progress,
        write: impl FnOnce(&mut Part) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.folder.join("part").join(&content.sha256);
        let mut part = Part { file: lock(&place, what, progress)?, content: content.clone() };
        if let Some(path) = self.get(content, what, progress)? {
            fs::remove_file(&place)?;
            return Ok(path);
        }
        let written = self
            .room_left_for(&part)
            .and_then(|()| write(&mut part))
            .and_then(|()| part.verify().with_context(|| format!("verifying {what}")));
        if let Err(error) = written {
            if !part.is_beginning() || is_full(&error) {
                fs::remove_file(&place)?;
            }
            if is_full(&error) {
                let (folder, size) = (self.folder.display(), content.size);
                return Err(error.context(format!("the disk of {folder} ran full, and {what} needs {size} bytes")));
            }
            return Err(error);
        }
        self.admit(&part, &place)
    }

    /// Refuses to start what cannot fit: `bytes` more are needed.
    pub fn room_for(&self, bytes: u64) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)
            .with_context(|| format!("asking for the free space of {}", self.folder.display()))?;
        let free = stat.blocks_available() * stat.fragment_size();
        if free < bytes {
            bail!(
                "{} has {free} bytes free, and {bytes} more are needed: free some, or name another folder for the cache",
                self.folder.display()
            );
        }
        Ok(())
    }

    fn room_left_for(&self, part: &Part) -> Result<()> {
        self.room_for(part.size().saturating_sub(part.len()?))
    }

    /// Is there a file of this name and size? It is not read.
    pub fn holds(&self, content: &Content) -> bool {
        fs::metadata(self.path(content)).is_ok_and(|there| there.len() == content.size)
    }

    /// Forgets the file with this content.
    pub fn forget(&self, content: &Content) -> Result<()> {
        match fs::remove_file(self.path(content)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Keeps a small text under a name, until it is replaced.
    pub fn keep(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.folder.join("kept");
        let mut file = tempfile::NamedTempFile::new_in(&folder).context("writing into the cache")?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).context("writing into the cache")?;
        file.persist(folder.join(name)).context("writing into the cache")?;
        Ok(())
    }

    /// The text kept under a name.
    pub fn kept(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("kept").join(name)).ok()
    }

    fn path(&self, content: &Content) -> PathBuf {
        let digits = content.sha256.get(..2).unwrap_or("00");
        self.folder.join("sha256").join(digits).join(&content.sha256)
    }

    /// On the disk first, under its name then: a crash leaves the one or the other.
    fn admit(&self, part: &Part, place: &Path) -> Result<PathBuf> {
        let path = self.path(&part.content);
        let folder = path.parent().context("finding the cache's folder")?;
        fs::create_dir_all(folder)?;
        part.file.sync_all()?;
        fs::rename(place, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }
}

impl Part {
    /// Bytes that are there.
    pub fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Is nothing there yet?
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes that have to be there in the end.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Keeps the first `length` bytes and writes on from there.
    pub fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }

    /// Is the file what it has to be? The error says what was seen and what was wanted.
    pub fn verify(&mut self) -> Result<()> {
        verify(&mut self.file, &self.content)
    }

    /// Shorter than wanted, so that a later run may add the rest?
    fn is_beginning(&self) -> bool {
        self.len().is_ok_and(|length| length < self.content.size && length > 0)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Is a full disk (or quota) among the causes?
pub fn is_full(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

fn verify(file: &mut File, content: &Content) -> Result<()> {
    let length = file.metadata()?.len();
    if length != content.size {
        bail!("it has {length} bytes: wanted {}", content.size);
    }
    let seen = digest(file)?;
    if seen != content.sha256 {
        bail!("its SHA-256 is {seen}: wanted {}", content.sha256);
    }
    Ok(())
}

/// The SHA-256 of a file from its first byte on, in hexadecimal digits.
fn digest(file: &mut File) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Opens and locks a part. Whoever held the lock may have renamed the file away meanwhile: then it is opened again.
fn lock(place: &Path, what: &str, progress: &Progress) -> Result<File> {
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(place)?;
        turn::take(file.file(), &format!("fetches {what}"), progress)?;
        let is_ours =
            fs::metadata(place).is_ok_and(|there| file.metadata().is_ok_and(|here| here.ino() == there.ino()));
        if is_ours {
            return Ok(file);
        }
    }
}
