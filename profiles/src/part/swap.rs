//! `[swap]`: a swap file on the root file system.
//!
//! Each step is judged by what is there: a file of the right size, a swap signature in it, a unit that is active.

use super::Part;
use crate::act::{Act, Step, Verb};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const PATH: &str = "/swapfile";
const UNIT: &str = "swapfile.swap";
const STAT: [&str; 4] = ["stat", "--format=%s %a %u", "--", PATH];
/// Bytes free on the root file system for root.
const ROOM: [&str; 5] = ["df", "--block-size=1", "--output=avail", "--", "/"];
const LABEL: [&str; 2] = ["swaplabel", PATH];

/// Swap space in a file, made at first boot. A file that is already larger or smaller is made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Swap {
    /// How large it is: at most half of the system's slot.
    pub size: Size,
}

impl Swap {
    fn unit() -> File {
        let text = format!(
            "# Written by mimg from [swap].\n[Unit]\nDescription=Swap file\n\n[Swap]\nWhat={PATH}\n\n[Install]\nWantedBy=swap.target\n"
        );
        File::new(format!("/etc/systemd/system/{UNIT}"), text)
    }

    /// The steps that make the file: what is missing of size, mode and signature.
    fn make(&self, facts: &Facts) -> Vec<Step> {
        let bytes = self.size.0.to_string();
        let mut steps = Vec::new();
        let stat = facts.said(&STAT).unwrap_or("absent");
        let size = stat.split(' ').next().unwrap_or("");
        if size != bytes {
            if stat != "absent" && size != "0" {
                steps.push(Step::new(Act::run(&["rm", PATH]), format!("it has {size} bytes, wanted {bytes}")));
            }
            if size != "0" {
                // Its mode comes before its size, so that nobody ever reads swapped memory.
                steps.push(Step::new(Act::run(&["install", "--mode=0600", "/dev/null", PATH]), "for root only"));
            }
            steps.push(Step::new(Act::run(&["fallocate", "--length", &bytes, PATH]), format!("swap of {}", self.size)));
        } else if stat != format!("{bytes} 600 0") {
            steps.push(Step::new(Act::run(&["chmod", "0600", PATH]), "nobody but root may read swapped memory"));
        }
        if size != bytes || facts.said(&LABEL).is_none() {
            steps.push(Step::new(Act::run(&["mkswap", PATH]), "it holds no swap area yet"));
        }
        steps
    }

    /// Not a refusal: the root file system grows first, and what fills it may go.
    fn lacks_room(&self, facts: &Facts) -> Option<Verdict> {
        let size: u64 = facts.said(&STAT).and_then(|said| said.split(' ').next()?.parse().ok()).unwrap_or(0);
        let free: u64 = facts.said(&ROOM)?.lines().last()?.trim().parse().ok()?;
        let room = free + size;
        // A file system that is filled to its last block serves nobody.
        let spare = 256 << 20;
        (size != self.size.0 && room < self.size.0 + spare).then(|| {
            let wanted = self.size.0 + spare;
            Verdict::Wait(format!(
                "a swap file of {} needs {wanted} bytes with what is to stay free, / has {room}: write a smaller size in \
                 [swap], or use a larger disk",
                self.size
            ))
        })
    }
}

impl Part for Swap {
    fn name(&self) -> String {
        "swap".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned(), "root".to_owned()]
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["util-linux"]
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        let room = match &spec.settings.system {
            Some(system) if system.root != Some(super::system::Extent::Rest) => system.slot_size(),
            _ => Size(u64::MAX),
        };
        let keys = ["swap", "size"];
        if self.size < Size(1 << 20) {
            return vec![Finding::new(
                &keys,
                self.size.to_string(),
                "at least 1M",
                "write \"1G\", or leave [swap] out",
            )];
        }
        if self.size.0 > room.0 / 2 {
            let wanted = format!("at most half of the system's slot of {room}");
            return vec![Finding::new(
                &keys,
                self.size.to_string(),
                wanted,
                "raise slot-size in [system], or write less",
            )];
        }
        Vec::new()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        vec![
            Ask::run(&STAT),
            Ask::run(&ROOM),
            Ask::run(&LABEL),
            Ask::File(Self::unit().path),
            Ask::Unit(UNIT.to_owned()),
        ]
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let mut steps = self.make(facts);
        let unit = facts.unit(UNIT);
        // A file in use is not made again: it is taken out of use first.
        if !steps.is_empty() && unit.is_some_and(|unit| unit.job || unit.active == "deactivating") {
            return Verdict::Wait(format!("systemd still has a job for {UNIT}"));
        }
        if let Some(wait) = self.lacks_room(facts) {
            return wait;
        }
        if !steps.is_empty() && unit.is_some_and(|unit| unit.active == "active") {
            steps.insert(0, Step::new(Act::unit(UNIT, Verb::Stop), "its file is made again").interrupts("swap"));
        }
        for file in super::differing(&[Self::unit()], facts) {
            steps.push(Step::new(Act::Put(file), "so that systemd turns it on at every boot"));
            steps.push(Step::new(Act::unit(UNIT, Verb::Reload), "its file is new"));
        }
        if steps.is_empty() { super::unit::plan(UNIT, true, true, true, facts) } else { Verdict::Do(steps) }
    }
}
