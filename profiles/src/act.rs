//! What may be done to a machine: the closed seam between deciding (here) and doing (firstboot).

use crate::ask::Slice;
use crate::file::File;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One act. firstboot has one executor for each kind and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A command in a clean environment, without a shell.
    Run(Vec<String>),
    /// A file put in place atomically, with its mode and owner; missing folders are made (root's, 0755).
    Put(File),
    /// A unit driven over D-Bus. A job is queued, never waited for: a unit that is ordered after firstboot
    /// could not start before firstboot's first pass ends. The next observation tells how it went.
    Unit { name: String, verb: Verb },
    /// A partition of a GPT grown to end at LBA `last` (inclusive); the backup table moves to the device's end, the
    /// kernel is told by BLKPG, also while the partition is mounted.
    Grow { disk: String, number: u32, last: u64 },
    /// A GPT of exactly these `slices`; the kernel is told of each by BLKPG, and it ends when the links to them are there.
    /// `fresh`: a new table on a disk that nothing uses, whatever was on it; all between its partitions becomes zeros.
    /// Otherwise every partition that is there stays where it is, and only gets the GUID and name of its slice; the
    /// disk may be in use. Partitions' contents are not touched.
    Table { disk: String, guid: String, slices: Vec<Slice>, fresh: bool },
    /// The first and the last MiB of a device that nothing uses become zeros.
    Blank { device: String },
}

/// What may be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Enable,
    Disable,
    Start,
    Stop,
    Restart,
    /// systemd reads all unit files again; `name` is the unit whose file changed.
    Reload,
}

impl Act {
    pub fn run(argv: &[&str]) -> Self {
        Act::Run(argv.iter().map(|word| word.to_string()).collect())
    }

    pub fn unit(name: &str, verb: Verb) -> Self {
        Act::Unit { name: name.to_owned(), verb }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Act::Run(argv) => write!(out, "run {}", argv.join(" ")),
            Act::Put(file) => write!(out, "put {} ({:04o} {})", file.path, file.mode, file.owner),
            Act::Unit { name, verb: Verb::Reload } => write!(out, "reload systemd for {name}"),
            Act::Unit { name, verb } => write!(out, "{} {name}", format!("{verb:?}").to_lowercase()),
            Act::Grow { disk, number, last } => write!(out, "grow partition {number} of {disk} to end at LBA {last}"),
            Act::Table { disk, slices, fresh, .. } => {
                let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
                let verb = if *fresh { "write a new" } else { "set the" };
                write!(out, "{verb} partition table of {disk}: {}", names.join(", "))
            }
            Act::Blank { device } => write!(out, "write zeros to the first and the last MiB of {device}"),
        }
    }
}

/// What a step may cost those who use the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    #[default]
    None,
    /// What stops working for a moment, such as a service's name.
    Interrupts(String),
    /// The device whose content is gone afterwards.
    Erases(String),
    /// A choice that cannot be taken back, and what it is made for.
    Decides(String),
}

/// One act, its reason, and the harm that it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    pub act: Act,
    pub why: String,
    #[serde(default)]
    pub harm: Harm,
}

impl Step {
    pub fn new(act: Act, why: impl Into<String>) -> Self {
        Step { act, why: why.into(), harm: Harm::None }
    }

    /// The same step, said to stop `what` for a moment.
    pub fn interrupts(mut self, what: &str) -> Self {
        self.harm = Harm::Interrupts(what.to_owned());
        self
    }

    /// The same step, said to take all that is on `device`: what a person knows it by, the same in every boot.
    pub fn erases(mut self, device: impl Into<String>) -> Self {
        self.harm = Harm::Erases(device.into());
        self
    }

    /// The same step, said to be a choice of `what` that cannot be taken back.
    pub fn decides(mut self, what: impl Into<String>) -> Self {
        self.harm = Harm::Decides(what.into());
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}: {}", self.act, self.why)?;
        match &self.harm {
            Harm::None => Ok(()),
            Harm::Interrupts(what) => write!(out, " [interrupts {what}]"),
            Harm::Erases(device) => write!(out, " [ERASES {device}]"),
            Harm::Decides(lineage) => write!(out, " [DECIDES {lineage}]"),
        }
    }
}
