//! What is wrong with a `[[lv]]` before any machine is seen.

use super::Lv;
use crate::device::{Device, NAME, is_name};
use crate::lvm::EXTENT;
use crate::part::vg::Vg;
use crate::problem::{Finding, nearest};
use crate::spec::Spec;

/// Words that LVM keeps for volumes of its own.
const RESERVED: [&str; 16] = [
    "snapshot", "pvmove", "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_mimage", "_mlog", "_pmspare",
    "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata",
];

impl Lv {
    pub(super) fn findings(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        let saw = format!("{:?}", self.name);
        if !is_name(&self.name) {
            findings.push(self.finding(spec, "name", saw, NAME.to_owned(), "write another name".to_owned()));
        } else if let Some(word) = RESERVED.iter().find(|word| self.name.contains(**word)) {
            let wanted = format!("a name without {word:?}, which LVM keeps for itself");
            findings.push(self.finding(spec, "name", saw, wanted, "write another name".to_owned()));
        }
        if self.size.0 == 0 {
            let (saw, cure) = ("no size".to_owned(), "write \"20G\"".to_owned());
            findings.push(self.finding(spec, "size", saw, "at least 4M".to_owned(), cure));
        }
        match self.group(spec) {
            None => findings.push(self.no_group(spec)),
            Some(vg) => findings.extend(self.too_much(spec, vg)),
        }
        findings
    }

    /// Where it is in the settings.
    fn keys(&self, spec: &Spec, key: &str) -> [String; 3] {
        let index = spec.settings.lv.iter().position(|lv| lv == self).unwrap_or(0);
        ["lv".to_owned(), index.to_string(), key.to_owned()]
    }

    fn finding(&self, spec: &Spec, key: &str, saw: String, wanted: String, cure: String) -> Finding {
        Finding { keys: self.keys(spec, key).to_vec(), saw, wanted, cure }
    }

    fn no_group(&self, spec: &Spec) -> Finding {
        let known: Vec<&str> = spec.settings.vg.iter().map(|vg| vg.name.as_str()).collect();
        let cure = match nearest(&self.vg, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "define it with [[vg]]".to_owned(),
        };
        let wanted = if known.is_empty() {
            "one that [[vg]] defines".to_owned()
        } else {
            format!("one of: {}", known.join(", "))
        };
        self.finding(spec, "vg", format!("no vg {}", self.vg), wanted, cure)
    }

    /// With the volumes before it in the settings, it is more than the group has on the least machine that they let in.
    fn too_much(&self, spec: &Spec, vg: &Vg) -> Option<Finding> {
        if vg.devices.is_empty() || !vg.devices.iter().all(|device| spec.offers(device)) {
            return None;
        }
        let mates = spec.settings.lv.iter().filter(|lv| lv.vg == self.vg);
        let before: u64 = mates.take_while(|lv| *lv != self).fold(0, |sum, lv| sum.saturating_add(lv.bytes()));
        let needed = before.saturating_add(self.bytes());
        let least = |device: &Device| {
            // The first MiB of a physical volume is LVM's own.
            let size = spec.least(device)?.0.saturating_sub(1 << 20) / EXTENT * EXTENT;
            Some(size * spec.devices(device).len() as u64)
        };
        let Some(room) = vg.devices.iter().map(least).sum::<Option<u64>>() else {
            let wanted = "devices whose least size the settings tell, so that what does not fit is found before a disk is touched";
            let saw = format!("lv {} on vg {}, and no word of how large that is at least", self.name, vg.name);
            let cure = "write size-min in `select` of its [[disk]]";
            return (before == 0).then(|| self.finding(spec, "size", saw, wanted.to_owned(), cure.to_owned()));
        };
        (needed > room && before <= room).then(|| {
            let saw = format!("volumes of vg {} that need {needed} bytes with lv {}", vg.name, self.name);
            let wanted = format!("at most {room} bytes: what there is of it on the smallest disks that are let in");
            let cure = "write smaller sizes, or raise size-min in `select` of its [[disk]]".to_owned();
            self.finding(spec, "size", saw, wanted, cure)
        })
    }
}
