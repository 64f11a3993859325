//! `[system]`: the root file system's slot on the disk.

use crate::size::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large the system's slot is, and what becomes of the rest of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct System {
    /// The size that the root file system grows to at first boot; on a smaller disk it takes what there is. Default: 8G.
    pub slot_size: Option<Size>,
    /// What the root file system takes of its disk. Default: "slot".
    pub root: Option<Extent>,
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
}
