//! The disks of a machine: one question, and one name for each disk that does not depend on where it is plugged in.

use crate::ask::Ask;
use crate::facts::Facts;
use crate::part::Part;
use crate::plan::Verdict;
use crate::size::Size;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A disk that udev is not done with has no serial number, or is not there yet: another one could be the only one that
/// matches. Waiting for longer than this helps nobody.
pub(crate) const SETTLE: [&str; 3] = ["udevadm", "settle", "--timeout=20"];
const LSBLK: [&str; 4] = [
    "lsblk",
    "--json",
    "--bytes",
    "--output=NAME,KNAME,PATH,TYPE,SIZE,MODEL,SERIAL,WWN,TRAN,SUBSYSTEMS,ROTA,RO,LOG-SEC,FSTYPE,LABEL,PTTYPE,MOUNTPOINTS",
];
/// Each link of a disk with where it leads.
const BY_PATH: [&str; 6] = ["find", "/dev/disk/by-path", "-type", "l", "-printf", "%f %l\\n"];
/// Devices that drivers of RAID controllers hold. Folders of drivers that are not there are only complained about.
const CONTROLLERS: [&str; 8] = [
    "find",
    "/sys/bus/pci/drivers/megaraid_sas",
    "/sys/bus/pci/drivers/smartpqi",
    "/sys/bus/pci/drivers/hpsa",
    "/sys/bus/pci/drivers/aacraid",
    "/sys/bus/pci/drivers/arcmsr",
    "-name",
    "*:*:*.*",
];

/// How a disk is attached; "scsi" is any SCSI disk that is none of the others, such as a virtual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    Nvme,
    Sata,
    Sas,
    Scsi,
    Virtio,
    Usb,
    Mmc,
}

impl fmt::Display for Bus {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Its device node of this boot, such as /dev/sda.
    pub path: String,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    /// Where it is plugged in: its names below /dev/disk/by-path.
    pub ports: Vec<String>,
    pub bus: Option<Bus>,
    pub rotational: bool,
    pub read_only: bool,
    /// Bytes of a sector, and of the whole disk.
    pub sector: u64,
    pub size: u64,
    /// The machine's root file system is on it, whatever lies between.
    pub holds_root: bool,
    /// The partition of it that is mounted at /.
    pub root: Option<String>,
    /// What uses it or a partition of it: mount points, and devices that are made of it.
    pub users: Vec<String>,
    /// Device nodes of its partitions that the kernel has.
    pub partitions: Vec<String>,
    /// What lsblk has seen on it, in a few words; empty for nothing.
    pub content: String,
}

/// One device of lsblk's answer.
#[derive(Clone, Debug, Deserialize)]
struct Node {
    name: String,
    kname: String,
    path: String,
    #[serde(rename = "type")]
    kind: String,
    size: Option<u64>,
    model: Option<String>,
    serial: Option<String>,
    wwn: Option<String>,
    tran: Option<String>,
    subsystems: Option<String>,
    rota: Option<bool>,
    ro: Option<bool>,
    #[serde(rename = "log-sec")]
    sector: Option<u64>,
    fstype: Option<String>,
    label: Option<String>,
    pttype: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Deserialize)]
struct Nodes {
    blockdevices: Vec<Node>,
}

/// The questions that `drives` and `controllers` read the answers to: the others once udev knows all that is plugged in.
pub fn asks(facts: &Facts) -> Vec<Ask> {
    let settle = Ask::run(&SETTLE);
    match facts.knows(&settle) {
        true => vec![settle, Ask::run(&LSBLK), Ask::run(&BY_PATH), Ask::run(&CONTROLLERS)],
        false => vec![settle],
    }
}

/// All disks that have a size, in the order of lsblk. `None` while it has not answered; an error is what is wrong with
/// its answer.
pub fn drives(facts: &Facts) -> Option<Result<Vec<Drive>, String>> {
    let said = facts.said(&LSBLK)?;
    let nodes: Nodes = match serde_json::from_str(said) {
        Ok(nodes) => nodes,
        Err(error) => return Some(Err(format!("an answer of lsblk that is not as expected: {error}"))),
    };
    let ports = ports(facts);
    let disks = nodes.blockdevices.into_iter().filter(Node::is_disk);
    Some(Ok(disks.map(|node| node.into_drive(&ports)).collect()))
}

/// RAID controllers that may show volumes of their own instead of disks, in a few words each.
pub fn controllers(facts: &Facts) -> Vec<String> {
    // find complains about folders that are not there, and goes on.
    let said = facts.ran(&CONTROLLERS).map_or("", |ran| ran.out.as_str());
    let named = |line: &str| {
        let mut words = line.rsplit('/');
        let (address, driver) = (words.next()?, words.next()?);
        Some(format!("{driver} at {address}"))
    };
    said.lines().filter_map(named).collect()
}

/// Names of ports by the kernel's name of the disk in it.
fn ports(facts: &Facts) -> BTreeMap<String, Vec<String>> {
    let mut ports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in facts.ran(&BY_PATH).map_or("", |ran| ran.out.as_str()).lines() {
        if let Some((port, target)) = line.split_once(' ') {
            let disk = target.rsplit('/').next().unwrap_or(target);
            ports.entry(disk.to_owned()).or_default().push(port.to_owned());
        }
    }
    ports.values_mut().for_each(|ports| ports.sort());
    ports
}

impl Node {
    fn is_root(&self) -> bool {
        self.mountpoints.iter().flatten().any(|place| place == "/")
    }

    /// Compressed memory, network and loop devices are no disks, nor are readers without a medium.
    fn is_disk(&self) -> bool {
        let pretends = ["zram", "nbd", "ram", "fd"].iter().any(|prefix| self.kname.starts_with(prefix));
        self.kind == "disk" && !pretends && self.size.is_some_and(|size| size > 0)
    }

    fn into_drive(self, ports: &BTreeMap<String, Vec<String>>) -> Drive {
        let text =
            |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let mut mounts = BTreeSet::new();
        let mut holders = BTreeSet::new();
        self.used(&mut mounts, &mut holders);
        Drive {
            model: text(&self.model),
            serial: text(&self.serial),
            wwn: text(&self.wwn),
            ports: ports.get(&self.kname).cloned().unwrap_or_default(),
            bus: self.bus(),
            rotational: self.rota.unwrap_or(false),
            read_only: self.ro.unwrap_or(false),
            sector: self.sector.unwrap_or(512),
            size: self.size.unwrap_or(0),
            holds_root: mounts.contains("/"),
            root: self.children.iter().find(|node| node.kind == "part" && node.is_root()).map(|node| node.path.clone()),
            users: mounts.into_iter().chain(holders).collect(),
            partitions: self.children.iter().filter(|node| node.kind == "part").map(|node| node.path.clone()).collect(),
            content: self.content(),
            path: self.path,
        }
    }

    /// By its transport; where lsblk knows none, by the subsystems that it belongs to.
    fn bus(&self) -> Option<Bus> {
        let subsystems = self.subsystems.as_deref().unwrap_or("");
        match self.tran.as_deref().unwrap_or("") {
            "nvme" => Some(Bus::Nvme),
            "sata" | "ata" => Some(Bus::Sata),
            "sas" => Some(Bus::Sas),
            "usb" => Some(Bus::Usb),
            "virtio" => Some(Bus::Virtio),
            "mmc" => Some(Bus::Mmc),
            _ => [
                ("block:virtio", Bus::Virtio),
                ("block:nvme", Bus::Nvme),
                ("block:mmc", Bus::Mmc),
                ("block:scsi:usb", Bus::Usb),
                ("block:scsi", Bus::Scsi),
            ]
            .into_iter()
            .find(|(prefix, _)| subsystems.starts_with(prefix))
            .map(|(_, bus)| bus),
        }
    }

    /// Where it, and all that is made of it, is mounted; and what is made of it that is no partition.
    fn used(&self, mounts: &mut BTreeSet<String>, holders: &mut BTreeSet<String>) {
        mounts.extend(self.mountpoints.iter().flatten().cloned());
        for child in &self.children {
            if child.kind != "part" {
                holders.insert(format!("{} {}", child.kind, child.name));
            }
            child.used(mounts, holders);
        }
    }

    fn content(&self) -> String {
        let labelled = |node: &Node| {
            let label = node.label.as_ref().map(|label| format!(" {label:?}")).unwrap_or_default();
            node.fstype.as_ref().map(|kind| format!("{kind}{label}"))
        };
        let table = self.pttype.as_ref().map(|kind| format!("{kind} table"));
        let parts = self.children.iter().filter(|node| node.kind == "part").filter_map(labelled);
        labelled(self).into_iter().chain(table).chain(parts).collect::<Vec<_>>().join(", ")
    }
}

impl Drive {
    /// What it is told apart by, wherever it is plugged in and whatever the kernel calls it: the order of slots.
    pub fn key(&self) -> (&str, &str, &str, &str) {
        let port = self.ports.first().map_or("", String::as_str);
        (self.wwn.as_deref().unwrap_or(""), self.serial.as_deref().unwrap_or(""), port, &self.path)
    }

    /// Model and serial number, or what else a person can tell it apart by; the same in every boot.
    pub fn identity(&self) -> String {
        let model = self.model.as_deref().unwrap_or("a disk");
        let mark = match (&self.serial, &self.wwn, self.ports.first()) {
            (Some(serial), _, _) => format!("serial {serial}"),
            (_, Some(wwn), _) => format!("WWN {wwn}"),
            (_, _, Some(port)) => format!("at {port}"),
            _ => format!("{} bytes", self.size),
        };
        format!("{model} ({mark})")
    }
}

impl fmt::Display for Drive {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let bus = self.bus.map(|bus| format!(", {bus}")).unwrap_or_default();
        write!(out, "{} {}, {}{bus}", self.path, self.identity(), amount(self.size))
    }
}

/// A size as a person takes it in: "223.6G", in the units of `Size`.
pub fn amount(bytes: u64) -> String {
    let unit = [(1u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, _)) if bytes.is_multiple_of(unit) => Size(bytes).to_string(),
        Some((unit, letter)) => format!("{:.1}{letter}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// The kernel's name of a disk's partition: vda3, but nvme0n1p3, with a p where the disk's name ends in a digit.
pub fn partition(disk: &str, number: u32) -> String {
    let joint = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{joint}{number}")
}

/// A Part that wants nothing, and asks all that any Part could want to know of disks: what a recording holds beside the
/// Spec's own questions, so that another Spec can be planned from it.
pub struct Survey;

impl Part for Survey {
    fn name(&self) -> String {
        "survey".to_owned()
    }

    fn asks(&self, _: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = asks(facts);
        asks.push(Ask::Consent);
        for drive in drives(facts).and_then(Result::ok).unwrap_or_default() {
            asks.extend(drive.partitions.iter().cloned().map(Ask::Probe));
            asks.extend([Ask::Gpt(drive.path.clone()), Ask::Probe(drive.path)]);
        }
        asks
    }

    fn plan(&self, _: &Spec, _: &Facts) -> Verdict {
        Verdict::Done
    }
}
