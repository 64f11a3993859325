//! What is wrong with a `[[disk]]` before any machine is seen.

use super::{ALIGN, Disk, Extent};
use crate::device::{NAME, is_name};
use crate::problem::Finding;
use crate::size::Size;

/// Entries of a partition table.
const MOST: usize = 128;
/// How often a disk may be made anew: all its former GUIDs are recognised.
const MOST_GENERATIONS: u32 = 99;
/// Disks of a group: more is a slip.
const MOST_DISKS: u32 = 1024;

impl Disk {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.names();
        findings.extend(self.counts());
        findings.extend(self.rules());
        findings.extend(self.sizes());
        findings.extend(self.erase.iter().enumerate().filter(|(_, text)| !is_fingerprint(text)).map(
            |(index, text)| {
                self.finding(
                    &["erase", &index.to_string()],
                    format!("{text:?}"),
                    "foreign: and 16 hex digits",
                    "copy it from the refusal that `firstboot plan` shows",
                )
            },
        ));
        findings
    }

    fn finding(&self, keys: &[&str], saw: impl Into<String>, wanted: impl Into<String>, cure: &str) -> Finding {
        let all: Vec<&str> = ["disk", self.name.as_str()].into_iter().chain(keys.iter().copied()).collect();
        Finding::new(&all, saw, wanted, cure)
    }

    fn names(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !is_name(&self.name) {
            findings.push(self.finding(&["name"], format!("{:?}", self.name), NAME, "write another name"));
        }
        for partition in self.partition.iter().filter(|partition| !is_name(&partition.name)) {
            let keys = ["partition", &partition.name, "name"];
            findings.push(self.finding(&keys, format!("{:?}", partition.name), NAME, "write another name"));
        }
        let count = self.partition.len();
        if count == 0 || count > MOST {
            let wanted = format!("1 to {MOST} of them");
            findings.push(self.finding(
                &["partition"],
                format!("{count} partitions"),
                wanted,
                "write [[disk.partition]] with a name, a type and a size",
            ));
        }
        findings
    }

    fn counts(&self) -> Vec<Finding> {
        let (count, absent) = (self.count(), self.absent());
        if count == 0 || count > MOST_DISKS {
            let wanted = format!("1 to {MOST_DISKS}");
            return vec![self.finding(&["count"], count.to_string(), wanted, "leave it out for one disk")];
        }
        if let Some(generation) = self.generation.filter(|generation| *generation > MOST_GENERATIONS) {
            let wanted = format!("0 to {MOST_GENERATIONS}");
            return vec![self.finding(&["generation"], generation.to_string(), wanted, "raise it by one at a time")];
        }
        if absent >= count {
            let wanted = format!("fewer than the {count} of the group");
            return vec![self.finding(&["absent"], absent.to_string(), wanted, "leave it out when all are there")];
        }
        Vec::new()
    }

    fn rules(&self) -> Vec<Finding> {
        let select = &self.select;
        if select.is_empty() {
            let wanted = "at least one rule: a disk is never taken by chance";
            return vec![self.finding(&["select"], "no rule", wanted, "write bus, size-min and size-max, or serial")];
        }
        match (select.size_min, select.size_max) {
            (Some(least), Some(most)) if least > most => {
                let wanted = format!("at least size-min, {least}");
                vec![self.finding(&["select", "size-max"], most.to_string(), wanted, "exchange the two")]
            }
            _ => Vec::new(),
        }
    }

    fn sizes(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let count = self.partition.len();
        for (index, partition) in self.partition.iter().enumerate() {
            let keys = ["partition", partition.name.as_str(), "size"];
            match partition.size {
                Extent::Rest if index + 1 < count => findings.push(self.finding(
                    &keys,
                    "\"rest\", and another partition behind it",
                    "\"rest\" for the last partition alone",
                    "write a size, or put it last",
                )),
                Extent::Size(size) if size.0 < ALIGN => findings.push(self.finding(
                    &keys,
                    size.to_string(),
                    "at least 1M: partitions begin and end at a MiB",
                    "write \"1M\" or more",
                )),
                _ => {}
            }
        }
        let rest = self.partition.iter().filter(|partition| partition.size == Extent::Rest).count() as u64;
        let needed = self.fixed().saturating_add((2 + rest) * ALIGN);
        let smallest = self.select.size_min.or(self.select.size_max).filter(|size| size.0 < needed);
        if let Some(smallest) = smallest.filter(|_| findings.is_empty()) {
            findings.push(self.finding(
                &["partition"],
                format!("partitions that need {needed} bytes, on disks that may have {}", smallest.0),
                format!("room for all of them on the smallest disk that `select` lets in, {smallest}"),
                &format!("write smaller sizes, or size-min = \"{}\"", Size(needed.next_multiple_of(1 << 30))),
            ));
        }
        findings
    }
}

fn is_fingerprint(text: &str) -> bool {
    let digits = text.strip_prefix("foreign:").unwrap_or("");
    digits.len() == 16 && digits.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}
