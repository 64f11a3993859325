//! Machines with arrays, groups and file systems, as far as plans can see them: what the tools answer, what they change,
//! and what a power cut may leave of a change.

mod acts;
mod answers;
mod power;

use crate::disks;
use profiles::ask::{Answer, Ask, Probe, Ran, Signature};
use profiles::facts::Facts;
use profiles::file::File;
use profiles::spec::Spec;
use std::collections::{BTreeMap, BTreeSet};

pub const MIB: u64 = 1 << 20;
const EXTENT: u64 = 4 * MIB;

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub uuid: String,
    pub level: String,
    /// How many members it was made for.
    pub count: usize,
    /// Members that work.
    pub members: BTreeSet<String>,
    pub running: bool,
    pub events: u64,
    pub size: u64,
    pub probe: Probe,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Lv {
    pub uuid: String,
    pub tags: BTreeSet<String>,
    pub size: u64,
    pub active: bool,
    pub probe: Probe,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Vg {
    pub uuid: String,
    pub tags: BTreeSet<String>,
    /// UUIDs of its physical volumes, with the bytes that they give.
    pub pvs: BTreeMap<String, u64>,
    pub lvs: BTreeMap<String, Lv>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Crypt {
    /// What opens it: nothing where making it was cut off.
    pub key: Option<&'static str>,
    pub open: bool,
    pub size: u64,
    pub probe: Probe,
    pub tpm: bool,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Service {
    pub enabled: bool,
    pub active: &'static str,
    pub stale: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub base: disks::Machine,
    /// By their names in /dev/md.
    pub arrays: BTreeMap<String, Array>,
    pub groups: BTreeMap<String, Vg>,
    /// By the path of what they are on.
    pub crypts: BTreeMap<String, Crypt>,
    pub files: BTreeMap<String, File>,
    pub services: BTreeMap<String, Service>,
    /// Path and UUID of what is mounted, by where.
    pub mounts: BTreeMap<String, (String, String)>,
    /// Bytes of a file system, by its UUID.
    pub filled: BTreeMap<String, u64>,
    /// UUIDs of file systems that are not whole.
    pub torn: BTreeSet<String>,
    /// Files with keys.
    pub keys: BTreeMap<String, &'static str>,
    pub has_tpm: bool,
}

pub fn signed(kind: &str, uuid: &str) -> Probe {
    let signature = Signature { offset: 0, kind: kind.to_owned(), uuid: Some(uuid.to_owned()), label: None };
    Probe { signatures: vec![signature], blank: false }
}

fn ran(rc: i32, out: impl Into<String>) -> Answer {
    Answer::Ran(Ran { rc, out: out.into(), err: String::new() })
}

/// The value of an option, written `--key=value` or `--key value`.
fn option<'a>(argv: &[&'a str], key: &str) -> Option<&'a str> {
    let joined = argv.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    joined.or_else(|| argv.iter().position(|word| *word == key).and_then(|at| argv.get(at + 1)).copied())
}

fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}

impl Machine {
    pub fn of(disks: Vec<(&str, disks::Disk)>) -> Machine {
        let base = disks.into_iter().fold(disks::Machine::default(), |base, (name, disk)| base.with(name, disk));
        Machine { base, ..Machine::default() }
    }

    /// All that it answers to the Parts of storage.
    pub fn facts(&self, spec: &Spec) -> Facts {
        let mut facts = Facts::default();
        let parts: Vec<_> = spec.parts().into_iter().filter(|part| crate::is_storage(&part.name())).collect();
        loop {
            let asks: BTreeSet<Ask> = parts.iter().flat_map(|part| part.asks(spec, &facts)).collect();
            let new: Vec<Ask> = asks.into_iter().filter(|ask| !facts.knows(ask)).collect();
            if new.is_empty() {
                return facts;
            }
            for ask in new {
                let answer = self.answer(&ask);
                facts.note(ask, answer);
            }
        }
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Probe(path) if self.is_ours(path) => Answer::Probe(self.probe(path).cloned()),
            Ask::File(path) => Answer::File(self.files.get(path).cloned()),
            Ask::Unit(name) => Answer::Unit(self.unit(name)),
            Ask::Run(argv) if !["udevadm", "lsblk", "find"].contains(&argv[0].as_str()) => self.command(&words(argv)),
            other => self.base.answer(other),
        }
    }

    /// Not a whole disk, nor a partition by the kernel's name.
    fn is_ours(&self, path: &str) -> bool {
        path.matches('/').count() > 2
    }

    /// The disk and number of a partition.
    fn partition(&self, path: &str) -> Option<(usize, u32)> {
        let guid = path.strip_prefix("/dev/disk/by-partuuid/")?;
        self.base.disks.iter().enumerate().find_map(|(index, (_, disk))| {
            let slice = disk.table.as_ref()?.partitions.iter().find(|slice| slice.guid == guid)?;
            Some((index, slice.number))
        })
    }

    pub fn probe(&self, path: &str) -> Option<&Probe> {
        if let Some((disk, number)) = self.partition(path) {
            return self.base.disks[disk].1.parts.get(&number);
        }
        self.array_at(path).map(|array| &array.probe).or_else(|| {
            let crypt = self.crypts.values().find(|crypt| crypt.open && path == "/dev/mapper/crypt");
            crypt.map(|crypt| &crypt.probe).or_else(|| self.lv_at(path).map(|lv| &lv.probe))
        })
    }

    fn array_at(&self, path: &str) -> Option<&Array> {
        self.arrays.get(path.strip_prefix("/dev/md/")?).filter(|array| array.running)
    }

    fn lv_at(&self, path: &str) -> Option<&Lv> {
        let (vg, lv) = path.strip_prefix("/dev/")?.split_once('/')?;
        self.groups.get(vg)?.lvs.get(lv).filter(|lv| lv.active)
    }

    pub fn set(&mut self, path: &str, probe: Probe) {
        if let Some((disk, number)) = self.partition(path) {
            self.base.disks[disk].1.parts.insert(number, probe);
        } else if let Some(array) = path.strip_prefix("/dev/md/").and_then(|name| self.arrays.get_mut(name)) {
            array.probe = probe;
        } else if path == "/dev/mapper/crypt" {
            self.crypts.values_mut().for_each(|crypt| crypt.probe = probe.clone());
        } else {
            let (vg, lv) = path.strip_prefix("/dev/").and_then(|name| name.split_once('/')).expect("a device");
            self.groups.get_mut(vg).and_then(|vg| vg.lvs.get_mut(lv)).expect("a volume").probe = probe;
        }
    }

    pub fn size(&self, path: &str) -> Option<u64> {
        if let Some((disk, number)) = self.partition(path) {
            let disk = &self.base.disks[disk].1;
            let slice = disk.table.as_ref()?.partitions.iter().find(|slice| slice.number == number)?;
            return Some((slice.last + 1 - slice.first) * disk.sector);
        }
        let crypt = self.crypts.values().find(|crypt| crypt.open && path == "/dev/mapper/crypt");
        crypt
            .map(|crypt| crypt.size)
            .or_else(|| Some(self.array_at(path)?.size))
            .or_else(|| Some(self.lv_at(path)?.size))
    }

    fn uuid(&self, path: &str, kind: &str) -> Option<&str> {
        self.probe(path)?.find(kind)?.uuid.as_deref()
    }
}

impl Vg {
    fn used(&self) -> u64 {
        self.lvs.values().map(|lv| lv.size).sum()
    }

    fn free(&self) -> u64 {
        self.pvs.values().sum::<u64>() - self.used()
    }
}

/// What a physical volume of `size` bytes gives.
pub fn capacity(size: u64) -> u64 {
    (size - MIB) / EXTENT * EXTENT
}

fn bytes(argv: &[&str]) -> u64 {
    let bytes: u64 = option(argv, "--size").and_then(|text| text.strip_suffix('b')?.parse().ok()).expect("a size");
    assert!(bytes.is_multiple_of(EXTENT), "LVM would round {bytes} up by itself");
    bytes
}
