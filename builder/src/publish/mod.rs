//! What leaves the house: the forms of a finished image, the papers that go with them, and the signature.
//!
//! Everything is made from the raw image, which is whole by then. Each file appears when it is whole itself; the list of
//! digests and its signature come last.

pub mod blockmap;
pub mod compressed;
pub mod free;
pub mod place;
pub mod qcow2;
pub mod sbom;
pub mod signature;
pub mod sums;
pub mod superblock;

use crate::image::direct;
use crate::image::draft::Draft;
use crate::image::manifest::{Manifest, Written};
use crate::image::table::MIB;
use crate::progress::{Progress, Stage, Unit};
use crate::publish::blockmap::{Blockmap, Mapping};
use crate::publish::compressed::Compressed;
use crate::publish::place::{Place, file_name};
use crate::publish::sbom::Loader;
use crate::publish::signature::SigningKey;
use crate::publish::sums::{Digesting, Sums};
use anyhow::{Context, Result};
use clap::ValueEnum;
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The disk as it is, a sparse file.
    Raw,
    /// Compressed by zstd, with a block map for bmaptool.
    Zst,
    /// For QEMU and for clouds that take it.
    Qcow2,
}

/// What is to be made of an image.
pub struct Publication<'a> {
    pub place: &'a Place,
    pub formats: &'a [Format],
    /// Signs the digests.
    pub key: Option<&'a SigningKey>,
    /// How many threads compress.
    pub workers: u32,
}

impl Publication<'_> {
    /// Says before a build of minutes what would be missed after it.
    pub fn check(place: &Place, formats: &[Format]) -> Result<()> {
        let raw = place.raw();
        let end = raw.extension().unwrap_or_default();
        if ["zst", "qcow2"].iter().any(|other| end == *other) {
            let saw = format!("--out {}", raw.display());
            let cure = format!("write --out {} --format {}", raw.with_extension("img").display(), end.display());
            let wanted = "the name of the raw image, from which the others are made";
            return Err(Problems(vec![Problem::of_none(saw, wanted, cure)]).into());
        }
        if formats.contains(&Format::Qcow2) {
            qcow2::check()?;
        }
        Ok(())
    }

    /// Which files of which image, signed by whom: equal for equal ones.
    pub fn what(&self) -> String {
        let key = self.key.map(|key| key.public().id().to_string());
        let raw = std::path::absolute(self.place.raw()).unwrap_or_default();
        format!("{} {:?} {key:?}", raw.display(), self.formats)
    }

    /// All files that `write` made.
    pub fn files(&self, manifest: &Manifest) -> Vec<PathBuf> {
        let place = self.place;
        let folder = place.raw().parent().unwrap_or(Path::new(""));
        let mut files: Vec<PathBuf> = manifest.files.iter().map(|file| folder.join(&file.name)).collect();
        files.extend([place.manifest(), place.sums()]);
        files.extend(self.key.map(|_| place.signature()));
        files
    }

    fn has(&self, format: Format) -> bool {
        self.formats.contains(&format)
    }

    /// Makes all other files of the raw image at `raw`, which is at its place already if it is to stay.
    pub fn write(&self, raw: &Path, mut manifest: Manifest, progress: &Progress) -> Result<Manifest> {
        let place = self.place;
        let disk = fs::File::open(raw)?.into_parts().0;
        let (read, mut files) = self.read(&disk, progress)?;
        if self.has(Format::Raw) {
            files.insert(0, written(place.raw(), "raw", (read.0, read.1.clone())));
        }
        if self.has(Format::Qcow2) {
            files.push(self.convert(raw, progress)?);
        }
        manifest.disk_sha256 = read.1;
        let sbom = sbom::sbom(&place.name(), &manifest, loader(&disk, &manifest)?.as_ref())?;
        files.push(put(&place.sbom(), "spdx", sbom.as_bytes())?);
        manifest.files = files;
        let paper = put(&place.manifest(), "manifest", manifest.json().as_bytes())?;
        let sums = manifest.files.iter().chain([&paper]).map(|file| (file.name.clone(), file.sha256.clone()));
        self.sign(&Sums(sums.collect()), manifest.epoch)?;
        Ok(manifest)
    }

    /// Reads the disk once: size and digest, and on the way the compressed form and the block map.
    fn read(&self, disk: &File, progress: &Progress) -> Result<((u64, String), Vec<Written>)> {
        let size = disk.metadata().context("asking for the image's size")?.len();
        if !self.has(Format::Zst) {
            let stage = progress.stage("hashing");
            let mut hash = Sha256::new();
            each(disk, &stage, |bytes| {
                hash.update(bytes);
                Ok(())
            })?;
            return Ok(((size, hex::encode(hash.finalize())), Vec::new()));
        }
        let stage = progress.stage("compressing");
        let draft = Draft::new(&self.place.zst())?;
        let mut hash = Sha256::new();
        let mut mapping = Mapping::new(free::free(disk)?);
        let mut compressed = Compressed::new(Digesting::new(draft.file()), size, self.workers)?;
        each(disk, &stage, |bytes| {
            hash.update(bytes);
            mapping.take(bytes);
            compressed.take(bytes)
        })?;
        let (length, sha256) = compressed.finish()?.finish();
        draft.publish()?;
        let map: Blockmap = mapping.finish();
        let bmap = put(&self.place.bmap(), "bmap", map.xml().as_bytes())?;
        let zst = written(&self.place.zst(), "zst", (length, sha256));
        stage.done(format!("{}, {} MiB, for {} MiB to write", zst.name, length.div_ceil(MIB), map.bytes() / MIB));
        Ok(((size, hex::encode(hash.finalize())), vec![zst, bmap]))
    }

    fn convert(&self, raw: &Path, progress: &Progress) -> Result<Written> {
        let stage = progress.stage("converting");
        let path = self.place.qcow2();
        let draft = Draft::new(&path)?;
        qcow2::convert(raw, &draft)?;
        let mut file = fs::File::open(draft.path())?;
        let digest = sums::digest(&mut file)?;
        draft.publish()?;
        stage.done(format!("{}, {} MiB", file_name(&path), digest.0.div_ceil(MIB)));
        Ok(written(&path, "qcow2", digest))
    }

    /// The list of digests, and its signature. A signature of an earlier build does not outlive its list.
    fn sign(&self, sums: &Sums, epoch: i64) -> Result<()> {
        let (list, text) = (self.place.sums(), sums.render());
        put(&list, "sums", text.as_bytes())?;
        let path = self.place.signature();
        match self.key {
            Some(key) => {
                let comment = format!("timestamp:{epoch}\tfile:{}\thashed", file_name(&list));
                put(&path, "signature", key.sign(text.as_bytes(), &comment).render().as_bytes())?;
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            },
        }
        Ok(())
    }

    /// The files that hold the image, for people.
    pub fn images(&self) -> Vec<PathBuf> {
        let path = |format: &Format| match format {
            Format::Raw => self.place.raw().to_owned(),
            Format::Zst => self.place.zst(),
            Format::Qcow2 => self.place.qcow2(),
        };
        [Format::Raw, Format::Zst, Format::Qcow2].iter().filter(|format| self.has(**format)).map(path).collect()
    }
}

/// Hands over the whole of a disk, whole blocks at a time.
fn each(disk: &File, stage: &Stage, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let size = disk.metadata().context("asking for the image's size")?.len();
    stage.total(size, Unit::Bytes);
    direct::each(disk, size, &mut |bytes| {
        stage.add(bytes.len() as u64);
        take(bytes)
    })
    .context("reading the image")
}

/// What mimg wrote for the BIOS; `None` where the image has no such partition.
fn loader(disk: &File, manifest: &Manifest) -> Result<Option<Loader>> {
    let Some(bios) = manifest.image.table.partitions.iter().find(|partition| partition.name == "bios") else {
        return Ok(None);
    };
    let digest = |at: u64, length: u64| -> Result<String> {
        let mut bytes = vec![0; usize::try_from(length)?];
        disk.read_exact_at(&mut bytes, at).context("reading the boot loader back")?;
        Ok(hex::encode(Sha256::digest(&bytes)))
    };
    Ok(Some(Loader { boot_sha256: digest(0, 440)?, core_sha256: digest(bios.start(), bios.size())? }))
}

/// Writes a small file; it appears when it is whole.
fn put(path: &Path, format: &str, bytes: &[u8]) -> Result<Written> {
    let draft = Draft::new(path)?;
    let mut file = draft.file();
    file.write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    draft.publish()?;
    Ok(written(path, format, (bytes.len() as u64, hex::encode(Sha256::digest(bytes)))))
}

fn written(path: &Path, format: &str, (size, sha256): (u64, String)) -> Written {
    Written { name: file_name(path), format: format.to_owned(), size, sha256 }
}
