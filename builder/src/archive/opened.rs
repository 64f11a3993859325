//! Archives that were opened in this run.

use crate::archive::Archive;
use crate::archive::source::Source;
use anyhow::Result;
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

/// By all that is known of their sources: what is opened once is the same for all who ask in one run.
#[derive(Default)]
pub struct Opened(HashMap<String, Archive>);

impl Opened {
    /// The archive of these sources; `open` is called where it was not opened yet.
    pub fn archive(&mut self, sources: &[Source], open: impl FnOnce(&[Source]) -> Result<Archive>) -> Result<&Archive> {
        match self.0.entry(format!("{sources:?}")) {
            Occupied(there) => Ok(there.into_mut()),
            Vacant(place) => Ok(place.insert(open(sources)?)),
        }
    }
}
