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
    /// The running system copied to a new file system on a device.
    Install(Install),
    /// Files put on an EFI system partition that is not mounted, in this order. With `make` all of it is made anew first,
    /// for these files alone, and nobody finds a file system there before it is whole.
    Esp { device: String, make: Option<Fat>, files: Vec<EspFile> },
}

/// A copy of the running system's root file system, one file system only, on a device that nothing uses. Whatever was
/// there is gone. It is read back from the disk; only when all is as it was written does it get its UUID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Install {
    pub device: String,
    /// The new file system's label, its UUID until it is whole, and its UUID from then on.
    pub label: String,
    pub draft: String,
    pub uuid: String,
    /// What is not copied. `/a/b` is that file or folder; `/a/b*` all in `/a` whose names begin with b; `/a/**` all files
    /// in /a and in its folders, which stay.
    pub left_out: Vec<String>,
    /// What is taken over from another system.
    pub kept: Option<Kept>,
    /// Files that are put there last.
    pub files: Vec<File>,
}

/// Files and folders of the root file system on another device, which is only read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    pub device: String,
    /// What is copied, where it is there: `/a/b`, or `/a/b*` for all in `/a` whose names begin with b.
    pub paths: Vec<String>,
    /// What of that is not.
    pub left_out: Vec<String>,
}

/// A FAT file system to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fat {
    pub label: String,
    pub serial: u32,
}

/// A file to be put on an EFI system partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EspFile {
    /// Its path, without a `/` in front.
    pub path: String,
    pub from: Source,
}

/// Where a file's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Text(String),
    /// A file of the running system.
    File(String),
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
            Act::Install(Install { device, label, kept: None, .. }) => {
                write!(out, "copy this system to a new file system {label} on {device}")
            }
            Act::Install(Install { device, label, kept: Some(kept), .. }) => {
                write!(
                    out,
                    "copy this system to a new file system {label} on {device}, with the identity in {}",
                    kept.device
                )
            }
            Act::Esp { device, make, files } => {
                let verb = if make.is_some() { "make the ESP" } else { "put on the ESP" };
                let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                write!(out, "{verb} {device}: {}", names.join(", "))
            }
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
