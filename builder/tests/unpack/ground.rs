//! Where attacks take place: a tree, and a canary beside it.

use builder::progress::Progress;
use builder::tree::deb::Deb;
use builder::tree::dpkg;
use builder::tree::payload::Payloads;
use builder::tree::root::Root;
use builder::tree::shelf::Shelf;
use builder::tree::unpack::{Conffiles, Unpacker};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What comes of an attack.
#[derive(Clone, Copy)]
pub enum End {
    /// It is refused with these words, the path among them.
    Refused(&'static [&'static str]),
    /// It succeeds, and only the tree changes.
    Contained,
}
use End::{Contained, Refused};

/// A tree and a canary in a folder beside it.
pub struct Ground {
    pub folder: tempfile::TempDir,
    pub root: Root,
}

/// All there is outside of the tree: mode, owner, time of change, and what is in it.
type Outside = BTreeMap<PathBuf, (u32, u32, i64, Vec<u8>)>;

impl Ground {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["tree", "beside", "evil"] {
            fs::create_dir(folder.path().join(name)).expect("making a folder");
        }
        fs::write(folder.path().join("beside/canary"), "sings").expect("writing the canary");
        let root = Root::open(&folder.path().join("tree")).expect("opening the tree");
        dpkg::create(&root, 0).expect("making a database");
        Ground { folder, root }
    }

    fn outside(&self) -> Outside {
        let mut outside = Outside::new();
        let mut open = vec![self.folder.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("reading a folder") {
                let path = entry.expect("reading a folder").path();
                let seen = path.symlink_metadata().expect("looking at what is outside");
                // What it points at, or holds; a terabyte is not read for that.
                let content = match seen.file_type() {
                    kind if kind.is_symlink() => fs::read_link(&path).expect("a link").as_os_str().as_bytes().to_vec(),
                    kind if kind.is_file() && seen.len() < 1 << 30 => fs::read(&path).expect("a file"),
                    _ => Vec::new(),
                };
                outside.insert(path.clone(), (seen.mode(), seen.uid(), seen.mtime(), content));
                if seen.is_dir() && path != self.root.path() {
                    open.push(path);
                }
            }
        }
        // The tree itself may change its time.
        outside.remove(self.root.path());
        outside
    }

    pub fn unpack(&self, packages: usize) -> anyhow::Result<()> {
        let path = |at| self.folder.path().join(format!("package{at}.deb"));
        let debs = (0..packages).map(|at| Deb::open(&path(at))).collect::<anyhow::Result<Vec<_>>>()?;
        // Not beside the tree: all that is there is watched.
        let store = tempfile::tempdir()?;
        let shelf = Shelf::new(store.path(), &store.path().join("work"));
        let payloads = Payloads::new(debs, shelf, Progress::quiet());
        let unpacker = Unpacker::new(&self.root, &payloads);
        for (at, deb) in payloads.debs.iter().enumerate() {
            let unpacked = unpacker.unpack(&[at], Conffiles::New, &Progress::quiet().stage("unpacking"))?;
            dpkg::record(&self.root, 0, &[(deb, &unpacked[0])])?;
        }
        Ok(())
    }

    /// The attack, and that nothing outside has changed by it.
    pub fn suffer(&self, end: End, named: &[&str], attack: impl FnOnce() -> anyhow::Result<()>) -> Result<(), String> {
        let before = self.outside();
        let came = attack();
        if self.outside() != before {
            return Err("it changed something outside of the tree".to_owned());
        }
        match (came, end) {
            (Ok(()), Contained) => Ok(()),
            (Ok(()), Refused(words)) => Err(format!("it succeeded, but was to be refused with {words:?}")),
            (Err(error), Contained) => Err(format!("it was to succeed within the tree, but: {error:#}")),
            (Err(error), Refused(words)) => {
                let said = format!("{error:#}");
                let named = named.iter().any(|name| said.contains(name));
                let missing = words.iter().find(|word| !said.contains(**word));
                match missing {
                    Some(word) => Err(format!("wanted {word:?} in: {said}")),
                    None if !named => Err(format!("it does not say whose it is: {said}")),
                    None if said.len() > 2000 => Err(format!("it takes {} bytes to say so", said.len())),
                    None => Ok(()),
                }
            }
        }
    }
}

pub fn report(attacks: usize, failed: Vec<String>) {
    assert!(failed.is_empty(), "{} of {attacks} attacks:\n{}", failed.len(), failed.join("\n"));
}
