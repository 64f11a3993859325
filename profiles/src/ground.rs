//! What a Part stands on, as the machine shows it.

use crate::ask::{Answer, Ask, Probe};
use crate::device::Device;
use crate::facts::Facts;
use crate::inventory::SETTLE;
use crate::plan::Verdict;
use crate::spec::Spec;

/// What is at a device's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground<'a> {
    /// It was not asked for yet, or does not answer.
    Unknown,
    /// It is not there: the Part that offers it has yet to make it.
    ToCome,
    /// It is not there, though it was made before: it has to be opened first.
    Closed,
    There(&'a Probe),
}

/// A device at one of its paths.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub device: &'a Device,
    pub path: String,
    pub ground: Ground<'a>,
}

/// Asks for the bytes of a device.
pub fn size_ask(path: &str) -> Ask {
    Ask::run(&size(path))
}

fn size(path: &str) -> [&str; 3] {
    ["blockdev", "--getsize64", path]
}

/// The answer to `size_ask`.
pub fn size_of(path: &str, facts: &Facts) -> Option<u64> {
    facts.said(&size(path))?.parse().ok()
}

impl Place<'_> {
    /// The device and its path, for a person.
    pub fn shown(&self) -> String {
        format!("{} ({})", self.device, self.path)
    }

    /// Refuses what is there of somebody's.
    pub fn foreign(&self, probe: &Probe, wanted: impl Into<String>) -> Verdict {
        let cure =
            format!("take its data away, and `wipefs --all {}`, which ERASES it; or name another device", self.path);
        Verdict::refuse(format!("{} with {}", self.shown(), probe.shown()), wanted, cure)
    }

    /// Why nothing can be said: it does not answer, or has to be opened first.
    pub fn wait(&self) -> Option<Verdict> {
        match self.ground {
            Ground::Unknown => Some(Verdict::Wait(format!("{} does not answer; see `firstboot facts`", self.shown()))),
            Ground::Closed => Some(Verdict::Wait(format!("{} is not there yet", self.shown()))),
            Ground::ToCome | Ground::There(_) => None,
        }
    }
}

impl Spec {
    /// What is at all paths of `devices`, in their order.
    pub fn places<'a>(&self, devices: impl IntoIterator<Item = &'a Device>, facts: &'a Facts) -> Vec<Place<'a>> {
        let place = |device: &'a Device, path: String| {
            let ground = self.ground(device, &path, facts);
            Place { device, path, ground }
        };
        let paths = |device: &'a Device| self.devices(device).into_iter().map(move |path| place(device, path));
        devices.into_iter().flat_map(paths).collect()
    }

    fn ground<'a>(&self, device: &Device, path: &str, facts: &'a Facts) -> Ground<'a> {
        match facts.answer(&Ask::Probe(path.to_owned())) {
            Some(Answer::Probe(Some(probe))) => Ground::There(probe),
            Some(Answer::Probe(None)) if self.is_to_come(device, facts) => Ground::ToCome,
            Some(Answer::Probe(None)) => Ground::Closed,
            _ => Ground::Unknown,
        }
    }

    /// Whether a device that is not there has yet to be made.
    fn is_to_come(&self, device: &Device, facts: &Facts) -> bool {
        let name = device.part();
        self.parts().iter().find(|part| part.name() == name).is_none_or(|part| part.makes(device, self, facts))
    }

    /// What `places` has to know: what is at each path, and, where there is nothing, what the Part that offers it sees.
    pub fn place_asks<'a>(&self, devices: impl IntoIterator<Item = &'a Device>, facts: &Facts) -> Vec<Ask> {
        // Until udev is done, what it is about to assemble and to open would seem to be left to us.
        let mut asks = vec![Ask::run(&SETTLE)];
        if !facts.knows(&asks[0]) {
            return asks;
        }
        for device in devices {
            let probes: Vec<Ask> = self.devices(device).into_iter().map(Ask::Probe).collect();
            let gone = |ask: &Ask| facts.answer(ask) == Some(&Answer::Probe(None));
            // A partition that is not there is never closed: a table's partitions are all there.
            if probes.iter().any(gone) && !matches!(device, Device::Disk { .. }) {
                let name = device.part();
                let below = self.parts().into_iter().find(|part| part.name() == name);
                asks.extend(below.map_or(Vec::new(), |part| part.asks(self, facts)));
            }
            asks.extend(probes);
        }
        asks
    }
}
