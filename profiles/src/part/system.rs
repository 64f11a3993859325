//! `[system]`: where the system of a machine lives, and how it gets there.
//!
//! ```text
//! no slots:  it stays on the disk that its image was written to
//! slots:     medium --copied--> one of two slots of the machine's own disk --restart--> it runs from there
//! ```
//! The boot pointer, `slot` in grubenv on the ESP, names the slot that is booted. A new system goes to the other one.

mod check;
mod install;
mod layout;
mod loader;
mod place;
mod slot;
mod words;

use super::Part;
use crate::ask::Ask;
use crate::device::{Device, Use};
use crate::facts::Facts;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
pub(super) use place::Where;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the system lives. Without slots on the disk that its image was written to; with them on the machine's own disk,
/// to which a medium copies it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct System {
    /// The size that the root file system grows to at first boot where its image was written to the disk; on a smaller
    /// disk it takes what there is. Default: 8G.
    pub slot_size: Option<Size>,
    /// What the root file system takes of its disk. Default: "slot".
    pub root: Option<Extent>,
    /// Two partitions of the machine's own disk, such as `disk:system/root-a`: the system is copied to one of them from
    /// the medium, and a later one to the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Device>,
    /// The EFI system partition of that disk: its second partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<Device>,
    /// The partition for the BIOS boot loader: the first one of that disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<Device>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// Its slot; the rest of the disk stays free for volumes.
    Slot,
    /// All that there is.
    Rest,
}

impl System {
    pub const SLOT_SIZE: Size = Size(8 << 30);

    pub fn slot_size(&self) -> Size {
        self.slot_size.unwrap_or(Self::SLOT_SIZE)
    }

    /// Whether it is copied from a medium to the machine's own disk.
    pub fn has_slots(&self) -> bool {
        !self.slots.is_empty() || self.esp.is_some() || self.bios.is_some()
    }

    /// Each device that is named, with its keys.
    fn devices(&self) -> Vec<Use> {
        let slots = self.slots.iter().enumerate();
        let slots = slots.map(|(index, slot)| Use::new(slot, &["system", "slots", &index.to_string()]));
        let esp = self.esp.iter().map(|esp| Use::new(esp, &["system", "esp"]));
        let bios = self.bios.iter().map(|bios| Use::new(bios, &["system", "bios"]));
        slots.chain(esp).chain(bios).collect()
    }
}

impl Part for System {
    fn name(&self) -> String {
        "system".to_owned()
    }

    fn about(&self) -> String {
        "copied to one of its slots".to_owned()
    }

    fn after(&self) -> Vec<String> {
        self.devices().iter().map(|wish| wish.device.part()).collect()
    }

    fn uses(&self) -> Vec<Use> {
        self.devices()
    }

    fn packages(&self) -> Vec<&'static str> {
        let loader = ["grub-efi-amd64-signed", "shim-signed", "shim-helpers-amd64-signed"];
        ["e2fsprogs", "util-linux", "diffutils", "coreutils", "systemd"].into_iter().chain(loader).collect()
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        self.findings(spec)
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        self.questions(spec, facts)
    }

    fn notes(&self, spec: &Spec, facts: &Facts) -> Vec<String> {
        self.remarks(spec, facts)
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        self.conclude(spec, facts)
    }
}
