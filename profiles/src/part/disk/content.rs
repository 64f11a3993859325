//! What is on a disk that is not ours: in words, and as a fingerprint that stands for exactly this find.

use crate::ask::{Probe, Signature};
use crate::facts::Facts;
use crate::inventory::Drive;
use sha2::{Digest, Sha256};

/// Finds of libblkid that only say that there is a partition table. Which one it is tells its GUID: while a new table
/// is being written they come and go, and a fingerprint must not.
const TABLES: [&str; 2] = ["gpt", "PMBR"];

/// What was found on a disk and its partitions.
pub(super) struct Content<'a> {
    drive: &'a Drive,
    table: Option<String>,
    whole: &'a Probe,
    parts: Vec<(&'a str, &'a Probe)>,
}

impl<'a> Content<'a> {
    /// `None` where the disk does not answer.
    pub(super) fn of(drive: &'a Drive, facts: &'a Facts) -> Option<Self> {
        let table = facts.table(&drive.path).map(|table| {
            let guids = table.partitions.iter().map(|slice| format!("{} {}", slice.number, slice.guid));
            [table.guid.clone()].into_iter().chain(guids).collect::<Vec<_>>().join(", ")
        });
        let parts = drive.partitions.iter().filter_map(|path| Some((path.as_str(), facts.probe(path)?)));
        Some(Content { drive, table, whole: facts.probe(&drive.path)?, parts: parts.collect() })
    }

    /// Nothing at all: no signature, and zeros at both ends.
    pub(super) fn is_blank(&self) -> bool {
        self.whole.blank && self.whole.signatures.is_empty() && self.drive.partitions.is_empty()
    }

    /// There is something that tells it from another disk with the like on it.
    pub(super) fn is_told_apart(&self) -> bool {
        let (wwn, serial, port, _) = self.drive.key();
        let all = self.signatures().chain(self.parts.iter().flat_map(|(_, probe)| &probe.signatures));
        [wwn, serial, port].iter().any(|word| !word.is_empty()) || all.into_iter().any(|found| found.uuid.is_some())
    }

    /// Finds on the whole disk that are no partition table of GPT.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &Signature> {
        self.whole.signatures.iter().filter(|signature| !TABLES.contains(&signature.kind.as_str()))
    }

    /// In words, the same kind in the same place once.
    pub(super) fn shown(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.table.is_some() {
            words.push("a partition table".to_owned());
        }
        words.extend(kinds(self.signatures()));
        for (path, probe) in &self.parts {
            let kinds = kinds(probe.signatures.iter());
            let on = path.trim_start_matches("/dev/");
            words.extend((!kinds.is_empty()).then(|| format!("{} on {on}", kinds.join(" and "))));
        }
        if !words.is_empty() {
            return words.join(", ");
        }
        let seen = (self.whole.signatures.is_empty(), self.whole.blank);
        match seen {
            (false, _) => "what is left of a partition table".to_owned(),
            (true, true) => "partitions that the kernel still has".to_owned(),
            (true, false) => "data without a known signature".to_owned(),
        }
    }

    /// SHA-256, cut to 16 hex digits, of what the disk is told apart by, and of all that was found.
    pub(super) fn fingerprint(&self) -> String {
        let (wwn, serial, port, _) = self.drive.key();
        let port = if wwn.is_empty() && serial.is_empty() { port } else { "" };
        let mut text =
            format!("{wwn}\n{serial}\n{port}\n{}\n{}\n", self.drive.size, self.table.as_deref().unwrap_or(""));
        let whole = self.signatures().map(|signature| (0, signature));
        let number =
            |path: &str| path.trim_start_matches(&self.drive.path).trim_start_matches('p').parse().unwrap_or(0);
        let parts = self.parts.iter().flat_map(|(path, probe)| probe.signatures.iter().map(move |s| (number(path), s)));
        let mut found: Vec<(u32, &Signature)> = whole.chain(parts).collect();
        found.sort();
        for (number, Signature { offset, kind, uuid, label }) in found {
            let word = |text: &Option<String>| text.clone().unwrap_or_default();
            text += &format!("{number} {offset} {kind} {} {}\n", word(uuid), word(label));
        }
        Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn kinds<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for signature in signatures {
        let label = signature.label.as_ref().filter(|label| !label.is_empty());
        let kind = signature.kind.clone() + &label.map(|label| format!(" {label:?}")).unwrap_or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
