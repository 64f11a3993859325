//! Packages, and the files of dpkg's that say where a package's files go.

use crate::with_text;
use builder::progress::Progress;
use builder::tree::deb::Deb;
use builder::tree::dpkg::{self, Rules};
use builder::tree::payload::Payloads;
use builder::tree::root::Root;
use builder::tree::shelf::Shelf;
use builder::tree::unpack::{Conffiles, Unpacker};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CONTROL: &str =
    "Package: fuzz\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: made\n";
/// Bytes of a tar's header and of what it counts in.
const BLOCK: usize = 512;

thread_local! {
    /// A package is a file to its reader: one place in memory, written again for each.
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// A whole package, as it came.
pub fn deb(bytes: &[u8]) {
    opened(bytes, |deb| read_through(&deb));
}

/// A package's control.tar, not packed.
pub fn control(bytes: &[u8]) {
    opened(&archive(&repaired(bytes), &[0; 2 * BLOCK]), |deb| read_through(&deb));
}

/// A package's data.tar, not packed, read through.
pub fn data(bytes: &[u8]) {
    opened(&archive(&control_tar(), &repaired(bytes)), |deb| read_through(&deb));
}

/// A package's data.tar, not packed, unpacked into a tree: nothing beside the tree is touched.
pub fn unpack(bytes: &[u8]) {
    opened(&archive(&control_tar(), &repaired(bytes)), |deb| {
        let folder = folder();
        let _ = unpacked(folder.path(), deb);
        let beside: Vec<_> = std::fs::read_dir(folder.path()).into_iter().flatten().flatten().collect();
        assert!(beside.len() == 2, "it wrote beside the tree: {beside:?}");
        let canary = std::fs::read(folder.path().join("canary"));
        assert!(canary.is_ok_and(|content| content == b"sings"), "it changed a file beside the tree");
    });
}

fn unpacked(folder: &Path, deb: Deb) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::write(folder.join("canary"), "sings")?;
    std::fs::create_dir(folder.join("tree"))?;
    let root = Root::open(&folder.join("tree"))?;
    dpkg::create(&root, 0)?;
    let store = self::folder();
    let shelf = Shelf::new(store.path(), &store.path().join("work"));
    let payloads = Payloads::new(vec![deb], shelf, Progress::quiet());
    let unpacked =
        Unpacker::new(&root, &payloads).unpack(&[0], Conffiles::New, &Progress::quiet().stage("unpacking"))?;
    let packages: Vec<_> = payloads.debs.iter().zip(&unpacked).collect();
    Ok(dpkg::record(&root, 0, &packages)?)
}

/// Four files of a tree, one after the other: users, groups, diversions, overrides.
pub fn rules(bytes: &[u8]) {
    with_text(bytes, |text| {
        let mut files = text.split("---\n");
        let mut next = || files.next().unwrap_or_default();
        if let Ok(rules) = Rules::parse(next(), next(), next(), next()) {
            let _ = rules.place(Path::new("bin/sh"), "dash");
            let _ = (rules.overridden(Path::new("bin/sh")), rules.user("#0"), rules.group("adm"));
        }
    });
}

/// A folder that is gone with its owner, in memory where the machine has such a place.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

fn opened(bytes: &[u8], read: impl FnOnce(Deb)) {
    let path: PathBuf = PLACE.with_borrow_mut(|place| place.get_or_insert_with(folder).path().join("package.deb"));
    std::fs::write(&path, bytes).expect("writing a package");
    if let Ok(deb) = Deb::open(&path) {
        read(deb);
    }
}

fn read_through(deb: &Deb) {
    let _ = (deb.conffiles(), deb.text("md5sums"), deb.info_name());
    let _ = deb.each_entry(&mut |entry| {
        assert!(entry.path.is_relative() && !entry.path.iter().any(|part| part == ".."), "{:?}", entry.path);
        std::io::copy(entry.content, &mut std::io::sink())?;
        Ok(())
    });
}

/// A package of two tars that are not packed.
fn archive(control: &[u8], data: &[u8]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", control), ("data.tar", data)] {
        let header = ar::Header::new(name.into(), content.len() as u64);
        archive.append(&header, content).expect("writing to memory");
    }
    archive.into_inner().expect("writing to memory")
}

fn control_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(CONTROL.len() as u64);
    tar.append_data(&mut header, "control", CONTROL.as_bytes()).expect("writing to memory");
    tar.into_inner().expect("writing to memory")
}

/// The tar with the checksum of each header made right: it is what a header says that has to be judged.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        let mut size = 0;
        if block.iter().any(|byte| *byte != 0) {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            let _ = (&mut block[148..156]).write_all(format!("{sum:06o}\0 ").as_bytes());
            size = tar::Header::from_byte_slice(block).entry_size().unwrap_or(0);
        }
        let blocks = usize::try_from(size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX);
        at = at.saturating_add(BLOCK).saturating_add(blocks.saturating_mul(BLOCK)).min(bytes.len());
    }
    bytes
}
