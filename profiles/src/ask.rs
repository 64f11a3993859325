//! What may be asked of a machine: the closed seam between thinking (here) and looking (firstboot).
//!
//! A question has one typed answer, as the machine said it; the Part that asked reads it. Nothing here
//! changes a machine.

use crate::file::File;
use serde::{Deserialize, Serialize};

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
}

/// How a command ended: `rc` is 127 when there is no such command, 128 + n after signal n.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ran {
    pub rc: i32,
    pub out: String,
    pub err: String,
}

/// A GUID partition table as its header and entries say. All addresses are LBAs of `sector` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Table {
    pub guid: String,
    pub sector: u64,
    /// How many sectors the device has now; more than `backup + 1` when it has grown.
    pub sectors: u64,
    /// Where the backup header stands. 0 where it is not valid, or where growing was cut off: the table is to be
    /// written again.
    pub backup: u64,
    pub partitions: Vec<Slice>,
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
