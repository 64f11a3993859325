//! Machines with arrays, groups and file systems, as far as plans can see them: what the tools answer, what they change,
//! and what a power cut may leave of a change.

use crate::disks;
use profiles::act::{Act, Verb};
use profiles::ask::{Answer, Ask, Probe, Ran, Signature, Unit};
use profiles::facts::Facts;
use profiles::file::File;
use profiles::spec::Spec;
use serde_json::json;
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

    fn unit(&self, name: &str) -> Unit {
        let generated = name.starts_with("systemd-cryptsetup@");
        match self.services.get(name) {
            None => {
                Unit { load: "not-found".to_owned(), active: "inactive".to_owned(), condition: true, ..Unit::default() }
            }
            Some(service) => Unit {
                load: "loaded".to_owned(),
                active: service.active.to_owned(),
                file: if generated {
                    "generated"
                } else if service.enabled {
                    "enabled"
                } else {
                    "disabled"
                }
                .to_owned(),
                condition: true,
                stale: service.stale,
                ..Unit::default()
            },
        }
    }

    /// What a command that only reads says.
    fn command(&self, argv: &[&str]) -> Answer {
        let gone = || ran(1, "");
        let said = |out: Option<String>| out.map_or_else(gone, |out| ran(0, out));
        match argv {
            ["mdadm", "--detail", "--scan"] => said(Some(String::new())),
            ["mdadm", "--detail", path] => said(self.array_at(path).map(detail)),
            ["mdadm", "--examine", "--export", path] => {
                let uuid = self.uuid(path, "linux_raid_member");
                let array = self.arrays.values().find(|array| Some(array.uuid.as_str()) == uuid);
                said(array.map(|array| format!("MD_EVENTS={}\n", array.events)))
            }
            ["pvs", devices, ..] => ran(0, self.pvs(devices)),
            ["lvs", devices, ..] => ran(0, self.lvs(devices)),
            ["blockdev", "--getsize64", path] => said(self.size(path).map(|size| format!("{size}\n"))),
            ["findmnt", .., mount] => said(
                self.mounts
                    .get(*mount)
                    .map(|(source, uuid)| json!({"filesystems": [{"source": source, "uuid": uuid}]}).to_string()),
            ),
            ["e2fsck", .., path] => ran(if self.is_torn(path, "ext4") { 8 } else { 0 }, ""),
            ["xfs_repair", .., path] => ran(i32::from(self.is_torn(path, "xfs")), ""),
            ["btrfs", "check", .., path] => ran(i32::from(self.is_torn(path, "btrfs")), ""),
            ["fsck.vfat", .., path] => ran(i32::from(self.is_torn(path, "vfat")), ""),
            ["dumpe2fs", "-h", path] => said(
                self.filled(path, "ext4").map(|bytes| format!("Block count: {}\nBlock size: 4096\n", bytes / 4096)),
            ),
            ["xfs_info", mount] => said(
                self.mounts
                    .get(*mount)
                    .and_then(|(path, _)| self.filled(path, "xfs"))
                    .map(|bytes| format!("data     =      bsize=4096   blocks={}, imaxpct=25\n", bytes / 4096)),
            ),
            ["btrfs", "filesystem", "show", _, mount] => said(self.mounts.get(*mount).and_then(|(path, _)| {
                let bytes = self.filled(path, "btrfs")?;
                Some(format!("\tdevid    1 size {bytes} used 92274688 path {path}\n"))
            })),
            ["stat", .., key] => said(self.keys.get(*key).map(|_| "regular file\n".to_owned())),
            ["dmsetup", "info", .., name] => {
                said(self.crypts.iter().find(|(_, crypt)| crypt.open).map(|(below, _)| {
                    let uuid = self.uuid(below, "crypto_LUKS").unwrap_or("").replace('-', "");
                    format!("CRYPT-LUKS2-{uuid}-{name}\n")
                }))
            }
            ["cryptsetup", "open", "--test-passphrase", "--key-file", key, path] => match self.keys.get(*key) {
                None => ran(1, ""),
                Some(key) => {
                    ran(if self.crypts.get(*path).and_then(|crypt| crypt.key) == Some(key) { 0 } else { 2 }, "")
                }
            },
            ["cryptsetup", "luksDump", .., path] => said(self.crypts.get(*path).map(|crypt| match crypt.tpm {
                true => "{\"tokens\":{\"0\":{\"type\":\"systemd-tpm2\"}}}".to_owned(),
                false => "{\"tokens\":{}}".to_owned(),
            })),
            ["systemd-cryptenroll", "--tpm2-device=list"] => {
                ran(0, if self.has_tpm { "PATH        DEVICE\n/dev/tpmrm0 MSFT0101:00\n" } else { "" })
            }
            other => panic!("nobody asked {other:?} before"),
        }
    }

    fn is_torn(&self, path: &str, kind: &str) -> bool {
        self.uuid(path, kind).is_none_or(|uuid| self.torn.contains(uuid))
    }

    fn filled(&self, path: &str, kind: &str) -> Option<u64> {
        self.filled.get(self.uuid(path, kind)?).copied()
    }

    fn pvs(&self, devices: &str) -> String {
        let mut rows = Vec::new();
        let paths: Vec<&str> = devices.trim_start_matches("--devices=").split(',').collect();
        let labels: Vec<(&str, u64)> =
            paths.iter().filter_map(|path| Some((self.uuid(path, "LVM2_member")?, self.size(path)?))).collect();
        let seen = |vg: &&Vg| vg.pvs.keys().any(|pv| labels.iter().any(|(label, _)| label == pv));
        let row = |pv: &str, size: u64, device: u64, name: &str, vg: &Vg| {
            json!({"pv_uuid": pv, "vg_name": name, "vg_uuid": vg.uuid, "pv_size": size.to_string(),
                "vg_tags": vg.tags.iter().cloned().collect::<Vec<_>>().join(","), "dev_size": device.to_string(),
                "pe_start": MIB.to_string(), "vg_free": vg.free().to_string()})
        };
        for (name, vg) in self.groups.iter().filter(|(_, vg)| seen(vg)) {
            for (pv, size) in &vg.pvs {
                let device = labels.iter().find(|(label, _)| label == pv).map_or(0, |(_, size)| *size);
                rows.push(row(pv, *size, device, name, vg));
            }
        }
        let grouped = |label: &str| self.groups.values().any(|vg| vg.pvs.contains_key(label));
        for (label, size) in labels.iter().filter(|(label, _)| !grouped(label)) {
            rows.push(row(label, *size, *size, "", &Vg::default()));
        }
        json!({"report": [{"pv": rows}], "log": []}).to_string()
    }

    fn lvs(&self, devices: &str) -> String {
        let paths: Vec<&str> = devices.trim_start_matches("--devices=").split(',').collect();
        let labels: Vec<&str> = paths.iter().filter_map(|path| self.uuid(path, "LVM2_member")).collect();
        let groups = self.groups.values().filter(|vg| labels.iter().any(|label| vg.pvs.contains_key(*label)));
        let row = |(name, lv): (&String, &Lv)| {
            json!({"lv_name": name, "lv_uuid": lv.uuid, "lv_size": lv.size.to_string(),
                "lv_tags": lv.tags.iter().cloned().collect::<Vec<_>>().join(","),
                "lv_active": if lv.active { "active" } else { "" }})
        };
        let rows: Vec<_> = groups.flat_map(|vg| &vg.lvs).map(row).collect();
        json!({"report": [{"lv": rows}], "log": []}).to_string()
    }

    /// Does what firstboot would do. Fails as the tool would.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Put(file) => drop(self.files.insert(file.path.clone(), file.clone())),
            Act::Unit { name, verb } => self.drive(name, *verb),
            Act::Run(argv) => self.run(&words(argv)),
            Act::Blank { device } if self.is_ours(device) => self.set(device, disks::BLANK),
            other => self.base.act(other),
        }
    }

    fn drive(&mut self, name: &str, verb: Verb) {
        match verb {
            Verb::Reload => self.reload(),
            Verb::Enable => self.services.get_mut(name).expect("a unit").enabled = true,
            Verb::Start => self.start(name),
            other => panic!("nobody wanted to {other:?} {name} before"),
        }
    }

    fn reload(&mut self) {
        let units = self.files.keys().filter_map(|path| path.strip_prefix("/etc/systemd/system/"));
        let mut known: Vec<String> = units.map(str::to_owned).collect();
        known.extend(self.files.get("/etc/crypttab").map(|_| "systemd-cryptsetup@crypt.service".to_owned()));
        for name in known {
            self.services.entry(name).or_insert(Service { active: "inactive", ..Service::default() }).stale = false;
        }
    }

    fn start(&mut self, name: &str) {
        let active = if let Some(group) = name.strip_prefix("mimg-vg-").and_then(|name| name.strip_suffix(".service")) {
            self.groups.get_mut(group).into_iter().flat_map(|vg| vg.lvs.values_mut()).for_each(|lv| lv.active = true);
            "active"
        } else if name.starts_with("systemd-cryptsetup@") {
            self.open()
        } else {
            self.mount(name)
        };
        self.services.get_mut(name).expect("a unit that was read").active = active;
    }

    /// As its line of crypttab says.
    fn open(&mut self) -> &'static str {
        let crypttab = self.files.get("/etc/crypttab").map_or(String::new(), |file| file.content.clone());
        let line = crypttab.lines().last().expect("a line").split(' ').collect::<Vec<_>>();
        let key = self.keys.get(line[2]).copied();
        let size = self.size(line[1]).unwrap_or(0);
        let Some(crypt) = self.crypts.get_mut(line[1]) else { return "failed" };
        let opens = (key.is_some() && crypt.key == key) || (line[2] == "-" && crypt.tpm && self.has_tpm);
        (crypt.open, crypt.size) = (opens, size.saturating_sub(16 * MIB));
        if opens { "active" } else { "failed" }
    }

    fn mount(&mut self, name: &str) -> &'static str {
        let file = self.files[&format!("/etc/systemd/system/{name}")].content.clone();
        let value = |key: &str| file.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("").to_owned();
        let uuid = value("What=").trim_start_matches("/dev/disk/by-uuid/").to_owned();
        let has = |path: &String| {
            self.probe(path)
                .is_some_and(|probe| probe.signatures.iter().any(|found| found.uuid.as_ref() == Some(&uuid)))
        };
        let Some(path) = self.paths().into_iter().find(has) else { return "inactive" };
        if name.ends_with(".mount") {
            self.mounts.insert(value("Where="), (path, uuid));
        }
        "active"
    }

    /// Every device that is there.
    fn paths(&self) -> Vec<String> {
        let slices =
            self.base.disks.iter().filter_map(|(_, disk)| disk.table.as_ref()).flat_map(|table| &table.partitions);
        let mut paths: Vec<String> = slices.map(|slice| format!("/dev/disk/by-partuuid/{}", slice.guid)).collect();
        paths.extend(self.arrays.keys().map(|name| format!("/dev/md/{name}")));
        paths.extend(
            self.groups.iter().flat_map(|(vg, group)| group.lvs.keys().map(move |lv| format!("/dev/{vg}/{lv}"))),
        );
        paths.push("/dev/mapper/crypt".to_owned());
        paths
    }

    fn run(&mut self, argv: &[&str]) {
        match argv {
            ["mdadm", "--create", path, ..] => self.create_array(path, argv, usize::MAX),
            ["mdadm", "--assemble", path, ..] => {
                let array = self.arrays.get_mut(path.trim_start_matches("/dev/md/")).expect("an array");
                assert!(!array.running, "it runs already");
                array.running = true;
            }
            ["mdadm", path, "--add", member] => {
                let array = self.arrays.get_mut(path.trim_start_matches("/dev/md/")).expect("an array");
                assert!(array.running && array.members.len() < array.count, "nothing is lost");
                array.members.insert(member.to_string());
                let uuid = array.uuid.clone();
                self.set(member, signed("linux_raid_member", &uuid));
            }
            ["pvcreate", .., path] => {
                assert!(self.probe(path).expect("a device").is_empty(), "{path} is not empty");
                self.set(path, signed("LVM2_member", option(argv, "--uuid").expect("a UUID")));
            }
            ["vgcreate", ..] => self.create_group(argv),
            ["vgextend", _, name, path] => {
                let (pv, size) =
                    (self.uuid(path, "LVM2_member").expect("a label").to_owned(), self.size(path).unwrap());
                self.groups.get_mut(*name).expect("a group").pvs.insert(pv, capacity(size));
            }
            ["pvresize", _, path] => {
                let (pv, size) =
                    (self.uuid(path, "LVM2_member").expect("a label").to_owned(), self.size(path).unwrap());
                let group = self.groups.values_mut().find(|vg| vg.pvs.contains_key(&pv)).expect("a group");
                group.pvs.insert(pv, capacity(size));
            }
            ["lvcreate", .., vg] => self.create_lv(vg, argv),
            ["lvextend", .., name] => {
                let bytes = bytes(argv);
                let lv = self.lv(name);
                assert!(bytes > lv.size);
                lv.size = bytes;
            }
            ["lvchange", _, "--activate=y", name] => self.lv(name).active = true,
            ["lvrename", _, vg, old, new] => {
                let group = self.groups.get_mut(*vg).expect("a group");
                let lv = group.lvs.remove(*old).expect("a volume");
                assert!(group.lvs.insert(new.to_string(), lv).is_none());
            }
            ["cryptsetup" | "systemd-cryptenroll", ..] => self.crypt(argv),
            ["resize2fs", path] => self.fill(path, "ext4"),
            ["btrfs", "filesystem", "resize", "max", mount] => self.fill(&self.mounts[*mount].0.clone(), "btrfs"),
            ["xfs_growfs", "-d", mount] => self.fill(&self.mounts[*mount].0.clone(), "xfs"),
            ["wipefs", ..] => panic!("nothing is ever wiped by a plan"),
            _ => self.format(argv),
        }
        let groups = self.groups.values();
        assert!(groups.clone().all(|vg| vg.used() <= vg.pvs.values().sum()), "more volumes than room");
    }

    pub fn lv(&mut self, name: &str) -> &mut Lv {
        let (vg, lv) = name.split_once('/').expect("VG/LV");
        self.groups.get_mut(vg).and_then(|vg| vg.lvs.get_mut(lv)).expect("a volume")
    }

    /// Writes what mdadm writes to the first `written` members, and runs it once all are written.
    fn create_array(&mut self, path: &str, argv: &[&str], written: usize) {
        let uuid = option(argv, "--uuid").expect("a UUID").to_owned();
        let count: usize = option(argv, "--raid-devices").and_then(|text| text.parse().ok()).expect("a number");
        let members: Vec<&str> =
            argv[argv.len() - count..].iter().filter(|word| **word != "missing").copied().collect();
        let least = members.iter().filter_map(|path| self.size(path)).min().expect("members");
        for member in members.iter().take(written) {
            self.set(member, signed("linux_raid_member", &uuid));
        }
        let level = option(argv, "--level").expect("a level");
        let share = match level {
            "1" => 1,
            "5" => count as u64 - 1,
            _ => count as u64,
        };
        let array = Array {
            uuid,
            level: format!("raid{level}"),
            count,
            members: members.iter().take(written).map(|path| path.to_string()).collect(),
            running: written >= members.len(),
            events: if written >= members.len() { 5 } else { 0 },
            size: (least - MIB / 2) * share,
            probe: Probe { signatures: Vec::new(), blank: true },
        };
        self.arrays.insert(path.trim_start_matches("/dev/md/").to_owned(), array);
    }

    fn create_group(&mut self, argv: &[&str]) {
        let paths: Vec<&str> = argv.iter().filter(|word| word.starts_with("/dev/")).copied().collect();
        let name = argv[argv.len() - paths.len() - 1].to_owned();
        let mut vg = Vg { uuid: format!("{name}-made"), ..Vg::default() };
        vg.tags.insert(option(argv, "--addtag").expect("a tag").to_owned());
        for path in paths {
            let label = self.uuid(path, "LVM2_member").expect("a label").to_owned();
            vg.pvs.insert(label, capacity(self.size(path).expect("a device")));
        }
        assert!(self.groups.insert(name, vg).is_none(), "the group is there already");
    }

    fn create_lv(&mut self, vg: &str, argv: &[&str]) {
        let lv = Lv {
            uuid: "made".to_owned(),
            tags: [option(argv, "--addtag").expect("a tag").to_owned()].into(),
            size: bytes(argv),
            active: true,
            // What an earlier volume left where this one is now.
            probe: signed("ext4", "00000000-0000-4000-8000-000000000000"),
        };
        let name = option(argv, "--name").expect("a name").to_owned();
        assert!(self.groups.get_mut(vg).expect("a group").lvs.insert(name, lv).is_none(), "it is there already");
    }

    fn crypt(&mut self, argv: &[&str]) {
        let key = option(argv, "--key-file").and_then(|file| self.keys.get(file)).copied();
        match argv {
            ["cryptsetup", "luksFormat", .., path] => {
                self.set(path, signed("crypto_LUKS", option(argv, "--uuid").expect("a UUID")));
                self.crypts.insert(
                    path.to_string(),
                    Crypt { key, probe: Probe { blank: false, ..Probe::default() }, ..Crypt::default() },
                );
            }
            ["cryptsetup", "luksUUID", .., uuid, path] => self.set(path, signed("crypto_LUKS", uuid)),
            ["cryptsetup", "open", .., path, _] => {
                let size = self.size(path).expect("a device") - 16 * MIB;
                let crypt = self.crypts.get_mut(*path).expect("a header");
                assert_eq!(crypt.key, key);
                (crypt.open, crypt.size) = (true, size);
            }
            ["cryptsetup", "resize", ..] => {
                let path = self.crypts.keys().next().expect("one").clone();
                self.crypts.get_mut(&path).unwrap().size = self.size(&path).unwrap() - 16 * MIB;
            }
            ["systemd-cryptenroll", .., path] => self.crypts.get_mut(*path).expect("a header").tpm = true,
            other => panic!("nobody did {other:?} before"),
        }
    }

    /// Makes a file system, or gives it another UUID.
    fn format(&mut self, argv: &[&str]) {
        let (kind, uuid, path) = match argv {
            ["mkfs.ext4", .., "-U", uuid, path] | ["tune2fs", "-U", uuid, path] => ("ext4", uuid.to_string(), path),
            ["mkfs.xfs", .., id, path] => ("xfs", id.trim_start_matches("uuid=").to_owned(), path),
            ["xfs_admin", "-U", uuid, path] => ("xfs", uuid.to_string(), path),
            ["mkfs.btrfs", .., uuid, path] | ["btrfstune", "-M", uuid, path] => ("btrfs", uuid.to_string(), path),
            ["mkfs.vfat", "-i", id, path] | ["fatlabel", "-i", path, id] => {
                ("vfat", format!("{}-{}", &id[..4], &id[4..]), path)
            }
            ["mkswap" | "swaplabel", "-U", uuid, path] => ("swap", uuid.to_string(), path),
            other => panic!("nobody did {other:?} before"),
        };
        let old = self.probe(path).unwrap_or_else(|| panic!("there is no {path}")).clone();
        let forced = argv.contains(&"-F") || argv.contains(&"-f") || !argv[0].starts_with("mkfs");
        assert!(old.is_empty() || forced || kind == "vfat", "{argv:?} over {}", old.shown());
        self.torn.remove(&uuid);
        self.set(path, signed(kind, &uuid));
        self.fill(path, kind);
    }

    fn fill(&mut self, path: &str, kind: &str) {
        let uuid = self.uuid(path, kind).expect("a file system").to_owned();
        self.filled.insert(uuid, self.size(path).expect("a device"));
    }

    /// What a power cut in the middle of an act may leave, beside nothing of it and all of it.
    pub fn halves(&self, act: &Act) -> Vec<Machine> {
        let Act::Run(argv) = act else { return Vec::new() };
        let argv = words(argv);
        let half = |change: &dyn Fn(&mut Machine)| {
            let mut machine = self.clone();
            change(&mut machine);
            machine
        };
        match argv.as_slice() {
            ["mdadm", "--create", path, ..] => {
                let one = half(&|machine| machine.create_array(path, &argv, 1));
                let all = half(&|machine| {
                    machine.create_array(path, &argv, usize::MAX);
                    let array = machine.arrays.get_mut(path.trim_start_matches("/dev/md/")).unwrap();
                    (array.running, array.events) = (false, 0);
                });
                vec![one, all]
            }
            [tool, .., path] if tool.starts_with("mkfs.") => vec![half(&|machine| {
                machine.act(act);
                let uuid = machine.probe(path).unwrap().signatures[0].uuid.clone().unwrap();
                machine.torn.insert(uuid);
            })],
            ["cryptsetup", "luksFormat", .., path] => vec![half(&|machine| {
                machine.act(act);
                machine.crypts.get_mut(*path).unwrap().key = None;
            })],
            _ => Vec::new(),
        }
    }

    /// The next boot: what comes up by itself.
    pub fn reboot(&mut self) {
        let listed = |array: &Array| {
            let words = |file: &File| file.content.replace(':', "").contains(&array.uuid.replace('-', ""));
            self.files.values().any(|file| file.path.contains("mdadm.conf.d") && words(file))
        };
        let up: Vec<bool> =
            self.arrays.values().map(|array| listed(array) && array.members.len() == array.count).collect();
        self.arrays.values_mut().zip(up).for_each(|(array, up)| array.running = up);
        self.groups.values_mut().flat_map(|vg| vg.lvs.values_mut()).for_each(|lv| lv.active = false);
        self.crypts.values_mut().for_each(|crypt| crypt.open = false);
        self.mounts.clear();
        self.services.values_mut().for_each(|service| service.active = "inactive");
        self.reload();
        let crypts: Vec<String> =
            self.services.keys().filter(|name| name.starts_with("systemd-cryptsetup@")).cloned().collect();
        let enabled: Vec<String> =
            self.services.iter().filter(|(_, s)| s.enabled).map(|(name, _)| name.clone()).collect();
        let groups = enabled.iter().filter(|name| name.starts_with("mimg-vg-"));
        let mounts = enabled.iter().filter(|name| !name.starts_with("mimg-vg-"));
        for name in crypts.iter().chain(groups).chain(mounts) {
            self.start(name);
        }
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

/// As `mdadm --detail` tells of an array.
fn detail(array: &Array) -> String {
    let state = if array.members.len() < array.count { "clean, degraded" } else { "clean" };
    let uuid = array.uuid.replace('-', "");
    format!(
        "/dev/md/x:\n           Version : 1.2\n        Raid Level : {}\n      Raid Devices : {}\n             State : {state} \n    \
         Active Devices : {}\n   Working Devices : {}\n              UUID : {}:{}:{}:{}\n",
        array.level,
        array.count,
        array.members.len(),
        array.members.len(),
        &uuid[..8],
        &uuid[8..16],
        &uuid[16..24],
        &uuid[24..]
    )
}
