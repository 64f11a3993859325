//! Machines with disks, as far as plans can see them: what they answer, and what an act changes in their answers.

use profiles::act::Act;
use profiles::ask::{Answer, Ask, Consent, Probe, Ran, Signature, Slice, Table};
use profiles::facts::Facts;
use profiles::inventory;
use profiles::spec::Spec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A disk, wherever it is plugged in.
#[derive(Clone, Debug)]
pub struct Disk {
    pub model: &'static str,
    pub serial: Option<&'static str>,
    pub wwn: Option<&'static str>,
    /// As lsblk says: "sata", "nvme", "sas", "usb", or nothing.
    pub transport: Option<&'static str>,
    pub subsystems: &'static str,
    pub rotational: bool,
    pub sector: u64,
    pub size: u64,
    /// Its name below /dev/disk/by-path; empty for none.
    pub port: &'static str,
    pub table: Option<Table>,
    pub whole: Probe,
    /// What partitions hold, by their number.
    pub parts: BTreeMap<u32, Probe>,
    /// Where partitions are mounted.
    pub mounts: BTreeMap<u32, &'static str>,
}

pub const BLANK: Probe = Probe { signatures: Vec::new(), blank: true };

impl Disk {
    pub fn sata(model: &'static str, serial: &'static str, size: u64) -> Disk {
        Disk {
            model,
            serial: Some(serial),
            wwn: None,
            transport: Some("sata"),
            subsystems: "block:scsi:pci",
            rotational: false,
            sector: 512,
            size,
            port: "",
            table: None,
            whole: BLANK,
            parts: BTreeMap::new(),
            mounts: BTreeMap::new(),
        }
    }

    pub fn nvme(model: &'static str, serial: &'static str, size: u64) -> Disk {
        let (transport, subsystems) = (Some("nvme"), "block:nvme:pci");
        Disk { transport, subsystems, wwn: Some("eui.0025385b91b0c1d2"), ..Disk::sata(model, serial, size) }
    }

    pub fn sas(model: &'static str, serial: &'static str, size: u64) -> Disk {
        Disk { transport: Some("sas"), rotational: true, ..Disk::sata(model, serial, size) }
    }

    pub fn usb(model: &'static str, serial: &'static str, size: u64) -> Disk {
        Disk { transport: Some("usb"), subsystems: "block:scsi:usb:pci", ..Disk::sata(model, serial, size) }
    }

    /// As a cloud server has it: neither model nor serial number, and older lsblk knows no transport.
    pub fn virtio(size: u64, port: &'static str) -> Disk {
        let (transport, subsystems) = (None, "block:virtio:pci");
        Disk { model: "", serial: None, transport, subsystems, rotational: true, port, ..Disk::sata("", "", size) }
    }

    /// Something of somebody's on the whole disk.
    pub fn holding(mut self, kind: &str, label: Option<&str>) -> Disk {
        self.whole = found(kind, label);
        self
    }

    /// The table and partitions that a slot's disk has: what `act` makes of it.
    pub fn after(mut self, act: &Act) -> Disk {
        self.change(act);
        self
    }

    fn change(&mut self, act: &Act) {
        let sectors = self.size / self.sector;
        match act {
            Act::Table { guid, slices, fresh, .. } => {
                let table = |slices: &[Slice]| Table {
                    guid: guid.clone(),
                    primary: true,
                    sector: self.sector,
                    sectors,
                    backup: sectors - 1,
                    partitions: slices.to_vec(),
                };
                self.table = Some(table(slices));
                let finds = ["PMBR", "gpt", "gpt"].iter().flat_map(|kind| found(kind, None).signatures);
                if *fresh {
                    self.parts.clear();
                }
                self.whole = Probe { signatures: finds.collect(), blank: false };
                for slice in slices {
                    let dust = Probe { signatures: Vec::new(), blank: slice.number % 2 == 0 };
                    self.parts.entry(slice.number).or_insert(dust);
                }
            }
            Act::Grow { number, last, .. } => {
                let table = self.table.as_mut().expect("a table");
                table.partitions[*number as usize - 1].last = *last;
                (table.sectors, table.backup) = (sectors, sectors - 1);
            }
            other => panic!("{other} is no act on a whole disk"),
        }
    }

    fn node(&self, name: &str) -> Value {
        let word = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let first = |probe: &Probe| probe.signatures.first().map(|s| s.kind.clone());
        let joint = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        let slices = self.table.iter().filter(|table| table.primary).flat_map(|table| &table.partitions);
        let child = |slice: &Slice| {
            let name = format!("{name}{joint}{}", slice.number);
            json!({"name": name, "kname": name, "path": format!("/dev/{name}"), "type": "part",
                "size": (slice.last + 1 - slice.first) * self.sector, "model": null, "serial": null, "wwn": self.wwn,
                "tran": self.transport.filter(|kind| *kind == "nvme"), "subsystems": self.subsystems,
                "rota": self.rotational, "ro": false, "log-sec": self.sector,
                "fstype": self.parts.get(&slice.number).and_then(first), "label": null, "pttype": "gpt",
                "mountpoints": [self.mounts.get(&slice.number)]})
        };
        let children: Vec<Value> = slices.map(child).collect();
        let kind = first(&self.whole).filter(|kind| !["gpt", "PMBR", "dos"].contains(&kind.as_str()));
        let mut node = json!({"name": name, "kname": name, "path": format!("/dev/{name}"), "type": "disk",
            "size": self.size, "model": word(self.model), "serial": self.serial, "wwn": self.wwn, "tran": self.transport,
            "subsystems": self.subsystems, "rota": self.rotational, "ro": false, "log-sec": self.sector,
            "fstype": kind, "label": null, "pttype": self.table.as_ref().map(|_| "gpt"), "mountpoints": [null]});
        if !children.is_empty() {
            node["children"] = json!(children);
        }
        node
    }
}

pub fn found(kind: &str, label: Option<&str>) -> Probe {
    let label = label.map(str::to_owned);
    Probe { signatures: vec![Signature { offset: 1080, kind: kind.to_owned(), uuid: None, label }], blank: false }
}

/// What every inventory asks: whether udev is done, for disks, for ports, for controllers.
fn questions() -> [Ask; 4] {
    let mut facts = Facts::default();
    facts.note(inventory::asks(&facts).remove(0), Answer::Ran(Ran::default()));
    inventory::asks(&facts).try_into().expect("four questions")
}

/// A machine: disks by the kernel's names, in the order in which lsblk shows them.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub disks: Vec<(String, Disk)>,
    pub consents: BTreeSet<Consent>,
    /// What find says of RAID controllers.
    pub controllers: &'static str,
}

impl Machine {
    pub fn with(mut self, name: &str, disk: Disk) -> Machine {
        self.disks.push((name.to_owned(), disk));
        self
    }

    pub fn allowing(mut self, slot: &str) -> Machine {
        self.consents.insert(Consent::Replace(slot.to_owned()));
        self
    }

    /// All that it answers to `part`, and nothing else.
    pub fn facts(&self, spec: &Spec) -> Facts {
        let mut facts = Facts::default();
        let parts = spec.parts();
        let storage = || parts.iter().filter(|part| part.name().starts_with("disk "));
        loop {
            let asks: BTreeSet<Ask> = storage().flat_map(|part| part.asks(spec, &facts)).collect();
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

    pub fn answer(&self, ask: &Ask) -> Answer {
        let [settle, lsblk, by_path, controllers] = questions();
        let ran = |out: String| Answer::Ran(Ran { rc: 0, out, err: String::new() });
        match ask {
            ask if *ask == settle => ran(String::new()),
            ask if *ask == lsblk => {
                let nodes: Vec<Value> = self.disks.iter().map(|(name, disk)| disk.node(name)).collect();
                ran(format!("{:#}", json!({ "blockdevices": nodes })))
            }
            ask if *ask == by_path => {
                let ports = self.disks.iter().filter(|(_, disk)| !disk.port.is_empty());
                ran(ports.map(|(name, disk)| format!("{} ../../{name}\n", disk.port)).collect())
            }
            ask if *ask == controllers => ran(self.controllers.to_owned()),
            Ask::Consent => Answer::Consent(self.consents.clone()),
            Ask::Gpt(path) => Answer::Gpt(self.find(path).and_then(|(disk, _)| disk.table.clone())),
            Ask::Probe(path) => Answer::Probe(match self.find(path) {
                Some((disk, None)) => Some(disk.whole.clone()),
                Some((disk, Some(number))) => disk.parts.get(&number).cloned(),
                None => None,
            }),
            other => panic!("nobody asked {other:?} of a disk before"),
        }
    }

    /// The disk of a device, and the number of the partition.
    fn find(&self, path: &str) -> Option<(&Disk, Option<u32>)> {
        self.disks.iter().find_map(|(name, disk)| {
            let rest = path.strip_prefix("/dev/")?.strip_prefix(name.as_str())?;
            let rest = rest.trim_start_matches('p');
            if rest.is_empty() { Some((disk, None)) } else { Some((disk, Some(rest.parse().ok()?))) }
        })
    }

    /// Does what firstboot would do.
    pub fn act(&mut self, act: &Act) {
        let path = match act {
            Act::Table { disk, .. } | Act::Grow { disk, .. } => disk,
            Act::Blank { device } => device,
            other => panic!("{other} is no act on a disk"),
        };
        let (name, number) = match self.find(path) {
            Some((found, number)) => {
                (self.disks.iter().position(|(_, disk)| std::ptr::eq(disk, found)).expect("it was found"), number)
            }
            None => panic!("there is no {path}"),
        };
        let disk = &mut self.disks[name].1;
        match number {
            Some(number) => drop(disk.parts.insert(number, BLANK)),
            None => disk.change(act),
        }
    }
}
