//! What may be asked of a machine: the closed seam between thinking (here) and looking (firstboot).
//!
//! A question has one typed answer, as the machine said it; the Part that asked reads it. Nothing here
//! changes a machine.

use crate::file::File;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A question. Ordered, so that transcripts are stable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// A command that only reads, without a shell: `Answer::Ran`.
    Run(Vec<String>),
    /// A regular file's text, mode and owner: `Answer::File`.
    File(String),
    /// The GUID partition table of a block device such as `/dev/vda`: `Answer::Gpt`.
    Gpt(String),
    /// A systemd unit's state: `Answer::Unit`.
    Unit(String),
    /// Whether a file was changed after the running unit was started, so that the unit has not read it: `Answer::Outdated`.
    Outdated { unit: String, path: String },
    /// What is on a device such as `/dev/vda` or `/dev/disk/by-partuuid/…`: `Answer::Probe`.
    Probe(String),
    /// The files of an EFI system partition that is not mounted: `Answer::Esp`.
    Esp(String),
    /// What a person allowed for this run alone: `Answer::Consent`.
    Consent,
}

impl Ask {
    pub fn run(argv: &[&str]) -> Self {
        Ask::Run(argv.iter().map(|word| word.to_string()).collect())
    }
}

/// An answer, of the kind that its question names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Ran(Ran),
    File(Option<File>),
    Gpt(Option<Table>),
    Unit(Unit),
    Outdated(bool),
    /// `None` where there is no such device, or no medium in it.
    Probe(Option<Probe>),
    /// By their paths, without a `/` in front. `None` where there is no such device.
    Esp(Option<BTreeMap<String, Leaf>>),
    Consent(BTreeSet<Consent>),
}

/// How a command ended: `rc` is 127 when there is no such command, 128 + n after signal n.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ran {
    pub rc: i32,
    pub out: String,
    pub err: String,
}

/// What is on a device, as wipefs(8) and its bytes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// Everything that libblkid knows there, in the order of its places.
    pub signatures: Vec<Signature>,
    /// The first and the last MiB are zeros.
    pub blank: bool,
}

impl Probe {
    /// Nothing that libblkid knows is on it.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// The first find of this kind.
    pub fn find(&self, kind: &str) -> Option<&Signature> {
        self.signatures.iter().find(|signature| signature.kind == kind)
    }

    /// What is on it, in words: each kind once, with its label and UUID.
    pub fn shown(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for Signature { kind, uuid, label, .. } in &self.signatures {
            let label = label.as_ref().filter(|label| !label.is_empty());
            let label = label.map(|label| format!(" {label:?}")).unwrap_or_default();
            let uuid = uuid.as_ref().map(|uuid| format!(" (UUID {uuid})")).unwrap_or_default();
            let word = format!("{kind}{label}{uuid}");
            if !words.contains(&word) {
                words.push(word);
            }
        }
        if words.is_empty() { "nothing known".to_owned() } else { words.join(", ") }
    }
}

/// One find of libblkid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signature {
    /// Bytes from the device's start.
    pub offset: u64,
    /// As libblkid calls it: ext4, LVM2_member, linux_raid_member, crypto_LUKS, zfs_member, gpt, dos …
    pub kind: String,
    pub uuid: Option<String>,
    pub label: Option<String>,
}

/// A file of an EFI system partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Leaf {
    /// Of its content, in hex.
    pub sha256: String,
    /// Its content, where it is a text of at most 64 KiB.
    pub text: Option<String>,
}

impl Leaf {
    pub const LONGEST: usize = 64 << 10;

    pub fn new(content: &[u8]) -> Self {
        let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = Some(content).filter(|content| content.len() <= Self::LONGEST);
        Leaf { sha256, text: text.and_then(|content| String::from_utf8(content.to_vec()).ok()) }
    }
}

/// One thing that a person allowed, by a command and for its run alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// The disk in this slot, written `GROUP/SLOT`, is gone for good: another one may take its place.
    Replace(String),
}

/// A GUID partition table as its header and entries say. All addresses are LBAs of `sector` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Table {
    pub guid: String,
    /// False where only the header at the disk's end can be read: the primary one is missing or damaged.
    #[serde(default = "Table::whole")]
    pub primary: bool,
    pub sector: u64,
    /// How many sectors the device has now; more than `backup + 1` when it has grown.
    pub sectors: u64,
    /// Where the backup header stands. 0 where it is not valid, or where writing was cut off: the table is to be
    /// written again.
    pub backup: u64,
    /// Empty where neither header's entries can be read: then the first write of a new table was cut off.
    pub partitions: Vec<Slice>,
}

impl Table {
    fn whole() -> bool {
        true
    }
}

/// One entry of a table. GUIDs are lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Slice {
    pub number: u32,
    pub guid: String,
    pub kind: String,
    pub name: String,
    pub first: u64,
    pub last: u64,
}

/// A unit as systemd's D-Bus properties tell it (org.freedesktop.systemd1(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unit {
    /// LoadState: loaded, not-found, masked, bad-setting …
    pub load: String,
    /// ActiveState: active, inactive, activating, failed …
    pub active: String,
    /// UnitFileState: enabled, disabled, static, masked …; empty when there is no file.
    pub file: String,
    /// Result of the last run of a service: success, exit-code, timeout …; empty for other units.
    pub result: String,
    /// A job (start, stop …) is queued or running.
    pub job: bool,
    /// False when a Condition…= of the unit kept it from starting (ConditionResult, once it was tried).
    pub condition: bool,
    /// The unit has been started since boot and came to an end by itself (a oneshot that is done).
    pub finished: bool,
    /// The unit's files changed since systemd read them: NeedDaemonReload.
    pub stale: bool,
}
