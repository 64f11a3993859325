//! How an array spreads its data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Level {
    #[serde(rename = "0")]
    Stripe,
    #[serde(rename = "1")]
    Mirror,
    #[serde(rename = "5")]
    Parity,
    #[serde(rename = "6")]
    TwoParities,
    #[serde(rename = "10")]
    StripedMirrors,
}

impl Level {
    pub(super) fn digits(self) -> &'static str {
        match self {
            Level::Stripe => "0",
            Level::Mirror => "1",
            Level::Parity => "5",
            Level::TwoParities => "6",
            Level::StripedMirrors => "10",
        }
    }

    pub(super) fn fewest(self) -> usize {
        match self {
            Level::Stripe | Level::Mirror | Level::StripedMirrors => 2,
            Level::Parity => 3,
            Level::TwoParities => 4,
        }
    }

    /// How many of `members` may be lost, whichever they are.
    pub(super) fn spare(self, members: usize) -> usize {
        match self {
            Level::Stripe => 0,
            Level::Mirror => members.saturating_sub(1),
            Level::Parity | Level::StripedMirrors => 1,
            Level::TwoParities => 2,
        }
    }

    /// Bytes of an array of `members`, each with room for `component` bytes of data.
    pub(super) fn size(self, members: u64, component: u64) -> u64 {
        match self {
            Level::Stripe => component.saturating_mul(members),
            Level::Mirror => component,
            Level::Parity => component.saturating_mul(members.saturating_sub(1)),
            Level::TwoParities => component.saturating_mul(members.saturating_sub(2)),
            Level::StripedMirrors => component.saturating_mul(members) / 2,
        }
    }
}
