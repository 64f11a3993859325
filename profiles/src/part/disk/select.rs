//! Which disks a `[[disk]]` means, and why others are not meant.

use super::{Disk, Selector};
use crate::facts::Facts;
use crate::inventory::{Drive, amount};
use crate::size::Size;
use crate::spec::Spec;

impl Selector {
    /// Why a disk is not meant; `None` for one that is.
    pub(super) fn mismatch(&self, drive: &Drive) -> Option<String> {
        let differs = |what: &str, wanted: &Option<String>, seen: &Option<String>| {
            let wanted = wanted.as_ref()?;
            let seen = seen.as_deref().unwrap_or("none");
            (seen != wanted).then(|| format!("its {what} is {seen}, not {wanted}"))
        };
        let bus = || {
            let known = drive.bus.is_some_and(|bus| self.bus.contains(&bus));
            let seen = drive.bus.map_or("unknown".to_owned(), |bus| bus.to_string());
            (!self.bus.is_empty() && !known).then(|| format!("its bus is {seen}"))
        };
        let turns = || {
            let wrong = self.rotational.is_some_and(|wanted| wanted != drive.rotational);
            wrong.then(|| if drive.rotational { "it turns".to_owned() } else { "it does not turn".to_owned() })
        };
        let size = || {
            let (bytes, shown) = (drive.size, amount(drive.size));
            let least = self.size_min.filter(|least| bytes < least.0);
            let most = self.size_max.filter(|most| bytes > most.0);
            let small = least.map(|Size(least)| format!("it has {bytes} bytes ({shown}), less than {least}"));
            small.or_else(|| most.map(|Size(most)| format!("it has {bytes} bytes ({shown}), more than {most}")))
        };
        let model = || {
            let wanted = self.model.as_ref()?;
            let seen = drive.model.as_deref().unwrap_or("none");
            (!seen.starts_with(wanted.as_str())).then(|| format!("its model is {seen}"))
        };
        let port = || {
            let wanted = self.path.as_ref()?;
            (!drive.ports.contains(wanted)).then(|| format!("it is not at {wanted}"))
        };
        differs("serial number", &self.serial, &drive.serial)
            .or_else(|| differs("WWN", &self.wwn, &drive.wwn))
            .or_else(bus)
            .or_else(turns)
            .or_else(size)
            .or_else(model)
            .or_else(port)
            .or_else(|| drive.read_only.then(|| "it cannot be written".to_owned()))
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Selector::default()
    }
}

impl Disk {
    pub(crate) fn selects(&self, drive: &Drive) -> bool {
        !self.select.is_empty() && self.select.mismatch(drive).is_none()
    }

    /// One line for each disk of the machine: whether it is meant, and if not, why.
    pub(super) fn candidates(&self, spec: &Spec, facts: &Facts, drives: &[Drive]) -> Vec<String> {
        let marks = self.marks(spec);
        let line = |drive: &Drive| {
            let mut about = drive.to_string();
            if !drive.content.is_empty() {
                about += &format!("; has {}", drive.content);
            }
            if let Some(slot) = marks.slot(facts, drive) {
                about += &format!("; is {}/{slot}", self.name);
            }
            match self.select.mismatch(drive) {
                None => format!("match   {about}"),
                Some(why) => format!("no      {about}: {why}"),
            }
        };
        drives.iter().map(line).collect()
    }
}
