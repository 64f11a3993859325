//! What is in the slots and on the ESP of the machine's own disk.

use super::System;
use super::install::{BOOT_ID, COMMAND_LINE, FSTAB, IMAGE, Installation, MACHINE_ID, NAME, STATE};
use super::layout::{Layout, draft};
use super::loader::sums;
use crate::ask::{Ask, Leaf, Probe};
use crate::facts::Facts;
use crate::grub;
use crate::inventory;
use crate::part::disk::Partition;
use crate::spec::Spec;
use std::collections::BTreeMap;

/// What a slot holds.
pub(super) enum Seen {
    /// There is no such partition yet.
    Absent,
    /// It should be there, and is not: its link is on the way.
    Silent,
    Blank,
    /// A file system of ours that is not whole.
    Draft,
    /// A system of ours: its UUID, and its machine-id, where it has one.
    Whole {
        uuid: String,
        machine: Option<String>,
    },
    /// Something else, in words.
    Foreign(String),
}

impl Seen {
    pub fn uuid(&self) -> Option<&String> {
        match self {
            Seen::Whole { uuid, .. } => Some(uuid),
            _ => None,
        }
    }
}

pub(super) type Slots<'a> = [(&'a Partition, Seen); 2];

/// What the ESP holds.
pub(super) enum Esp<'a> {
    /// Nothing, or it is not there yet.
    Blank,
    Silent,
    Ours(&'a BTreeMap<String, Leaf>),
    /// Ours, and it cannot be read.
    Damaged,
    Foreign(String),
}

impl<'a> Esp<'a> {
    pub fn has(&self, path: &str) -> bool {
        matches!(self, Esp::Ours(files) if files.contains_key(path))
    }

    /// A value of GRUB's environment.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        let Esp::Ours(files) = self else { return None };
        let block = files.get(&format!("{}/grubenv", grub::FOLDER))?.text.as_deref()?;
        grub::values(block).get(key).copied()
    }
}

impl System {
    pub(super) fn questions(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        if spec.node.is_none() {
            return Vec::new();
        }
        let mut asks = inventory::asks(facts);
        let drives = inventory::drives(facts).and_then(Result::ok).unwrap_or_default();
        asks.extend(drives.iter().filter(|drive| drive.holds_root).map(|drive| Ask::Gpt(drive.path.clone())));
        if let Ok(Some(installation)) = self.installation(spec, facts) {
            asks.extend(installation.questions());
        }
        asks
    }
}

impl<'a> Installation<'a> {
    fn questions(&self) -> Vec<Ask> {
        let mut asks = vec![Ask::Gpt(self.drive.path.clone()), Ask::run(&STATE), Ask::run(&sums())];
        asks.extend([IMAGE, FSTAB, COMMAND_LINE, BOOT_ID].map(|path| Ask::File(path.to_owned())));
        asks.extend(self.comparisons().into_iter().flatten().map(Ask::Run));
        for (_, slot) in self.layout.slots {
            let path = self.layout.path(self.spec, slot);
            if self.facts.probe(&path).is_some_and(|probe| finds(probe, "ext4").is_some()) {
                asks.extend([NAME, MACHINE_ID].map(|file| Ask::Run(read(file, &path))));
            }
            asks.push(Ask::Probe(path));
        }
        let path = self.layout.path(self.spec, self.layout.esp);
        if self.facts.probe(&path).is_some_and(|probe| finds(probe, "vfat").is_some()) {
            asks.push(Ask::Esp(path.clone()));
        }
        asks.push(Ask::Probe(path));
        asks
    }

    /// The disk has all its partitions: each of them should be seen.
    fn has_partitions(&self) -> bool {
        let Some(table) = self.facts.table(&self.drive.path) else { return false };
        let there = |partition: &Partition| {
            let guid = self.layout.guid(self.spec, partition);
            table.partitions.iter().any(|slice| slice.guid == guid)
        };
        let Layout { bios, esp, slots, .. } = &self.layout;
        [*bios, *esp, slots[0].1, slots[1].1].into_iter().all(there)
    }

    pub(super) fn slots(&self) -> Slots<'a> {
        self.layout.slots.map(|(_, slot)| (slot, self.seen(slot)))
    }

    fn seen(&self, slot: &Partition) -> Seen {
        let path = self.layout.path(self.spec, slot);
        let Some(probe) = self.facts.probe(&path) else {
            return if self.has_partitions() { Seen::Silent } else { Seen::Absent };
        };
        if probe.signatures.is_empty() {
            return Seen::Blank;
        }
        let uuid = finds(probe, "ext4").filter(|_| probe.signatures.len() == 1);
        let said = |file: &str| self.facts.said(&read(file, &path).iter().map(String::as_str).collect::<Vec<_>>());
        // Which system it is it says itself, and its UUID proves it.
        let told = said(NAME).filter(|name| name.starts_with(&format!("slot/{}/", slot.name)));
        let names = told.map(str::to_owned).into_iter().chain(self.name(slot));
        let proofs: Vec<String> = names.map(|name| self.spec.uuid(&name).to_string()).collect();
        match uuid {
            Some(uuid) if *uuid == draft(self.spec, slot) => Seen::Draft,
            Some(uuid) if proofs.contains(uuid) => {
                let digits = |id: &&str| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
                let machine = said(MACHINE_ID).filter(digits).map(str::to_owned);
                Seen::Whole { uuid: uuid.clone(), machine }
            }
            _ => Seen::Foreign(words(probe)),
        }
    }

    pub(super) fn seen_esp(&self, serial: u32) -> Esp<'a> {
        let path = self.layout.path(self.spec, self.layout.esp);
        let Some(probe) = self.facts.probe(&path) else {
            return if self.has_partitions() { Esp::Silent } else { Esp::Blank };
        };
        if probe.signatures.is_empty() {
            return Esp::Blank;
        }
        let wanted = format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
        let ours = probe.signatures.iter().all(|find| find.kind == "vfat" && find.uuid.as_ref() == Some(&wanted));
        match self.facts.esp(&path) {
            _ if !ours => Esp::Foreign(words(probe)),
            Some(files) => Esp::Ours(files),
            None => Esp::Damaged,
        }
    }
}

/// The command that prints a file of a file system that is not mounted.
fn read(file: &str, device: &str) -> Vec<String> {
    ["debugfs", "-R", &format!("cat {file}"), device].map(str::to_owned).to_vec()
}

/// The UUID of a find of this kind.
fn finds<'p>(probe: &'p Probe, kind: &str) -> Option<&'p String> {
    probe.signatures.iter().find(|find| find.kind == kind)?.uuid.as_ref()
}

fn words(probe: &Probe) -> String {
    let words: Vec<String> = probe
        .signatures
        .iter()
        .map(|find| match &find.uuid {
            Some(uuid) => format!("{} (UUID {uuid})", find.kind),
            None => find.kind.clone(),
        })
        .collect();
    words.join(", ")
}
