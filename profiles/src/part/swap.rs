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
use serde::{Deserialize, Serialize};

const PATH: &str = "/swapfile";
const UNIT: &str = "swapfile.swap";
const STAT: [&str; 4] = ["stat", "--format=%s %a %u", "--", PATH];
const LABEL: [&str; 2] = ["swaplabel", PATH];

/// Swap space in a file, made at first boot. A file that is already larger or smaller is made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Swap {
    pub size: Size,
}

impl Swap {
    fn unit() -> File {
        let text = format!(
            "# Written by mimg from [swap].\n[Unit]\nDescription=Swap file\n\n[Swap]\nWhat={PATH}\n\n[Install]\nWantedBy=swap.target\n"
        );
        File::new(format!("/etc/systemd/system/{UNIT}"), text)
    }

    /// The steps that make the file, from the first that is not done: each leaves a file that `stat` tells apart.
    fn make(&self, facts: &Facts) -> Vec<Step> {
        let bytes = self.size.0.to_string();
        let stat = facts.said(&STAT).unwrap_or("");
        let fields: Vec<&str> = stat.split_whitespace().collect();
        let mut steps = Vec::new();
        let whole = matches!(fields[..], [size, _, "0"] if size == bytes);
        // Not made by fallocate: the mode comes first, so that nobody ever reads swapped memory.
        let empty = fields == ["0", "600", "0"];
        if !whole && !empty && !fields.is_empty() {
            if facts.unit(UNIT).is_some_and(|unit| unit.active == "active") {
                steps.push(Step::new(Act::unit(UNIT, Verb::Stop), "its size changes").interrupts("swap"));
            }
            let why = format!("its size, mode and owner are {stat}, wanted {bytes} 600 0");
            steps.push(Step::new(Act::run(&["rm", "--force", PATH]), why));
        }
        if !whole && !empty {
            steps.push(Step::new(Act::run(&["install", "--mode=0600", "/dev/null", PATH]), "for root only"));
        }
        if !whole {
            steps.push(Step::new(Act::run(&["fallocate", "--length", &bytes, PATH]), format!("swap of {}", self.size)));
        } else if fields[1] != "600" {
            steps.push(Step::new(Act::run(&["chmod", "0600", PATH]), "nobody but root may read swapped memory"));
        }
        if !whole || facts.said(&LABEL).is_none() {
            steps.push(Step::new(Act::run(&["mkswap", PATH]), "it holds no swap area yet"));
        }
        steps
    }
}

impl Part for Swap {
    fn name(&self) -> String {
        "swap".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["root".to_owned()]
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
        vec![Ask::run(&STAT), Ask::run(&LABEL), Ask::File(Self::unit().path), Ask::Unit(UNIT.to_owned())]
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        if facts.unit(UNIT).is_some_and(|unit| unit.job) {
            return Verdict::Wait(format!("systemd still has a job for {UNIT}"));
        }
        let mut steps = self.make(facts);
        for file in super::differing(&[Self::unit()], facts) {
            steps.push(Step::new(Act::Put(file), "so that systemd turns it on at every boot"));
            steps.push(Step::new(Act::unit(UNIT, Verb::Reload), "its file is new"));
        }
        if steps.is_empty() {
            return super::unit::plan_own(UNIT, true, true, facts);
        }
        Verdict::Do(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Answer, Ran, Unit};
    use crate::part::testing::spec;

    fn first_step(stat: &str, label: i32, active: &str, job: bool) -> String {
        let ran = |rc, out: &str| Answer::Ran(Ran { rc, out: out.to_owned(), err: String::new() });
        let mut facts = Facts::default();
        facts.note(Ask::run(&STAT), ran(i32::from(stat.is_empty()), stat));
        facts.note(Ask::run(&LABEL), ran(label, ""));
        facts.note(Ask::File(Swap::unit().path), Answer::File(Some(Swap::unit())));
        let unit =
            Unit { load: "loaded".into(), active: active.into(), file: "enabled".into(), job, ..Unit::default() };
        facts.note(Ask::Unit(UNIT.to_owned()), Answer::Unit(Unit { condition: true, ..unit }));
        match (Swap { size: Size(1 << 20) }).plan(&spec(), &facts) {
            Verdict::Do(steps) => steps[0].act.to_string(),
            verdict => format!("{verdict:?}").chars().take(4).collect(),
        }
    }

    #[test]
    fn each_state_of_the_file_has_a_first_step_that_changes_it() {
        assert_eq!(first_step("", 1, "inactive", false), "run install --mode=0600 /dev/null /swapfile");
        assert_eq!(first_step("0 600 0", 1, "inactive", false), "run fallocate --length 1048576 /swapfile");
        assert_eq!(first_step("4096 600 0", 1, "inactive", false), "run rm --force /swapfile");
        assert_eq!(first_step("4096 600 0", 0, "active", false), "stop swapfile.swap");
        assert_eq!(first_step("4096 600 0", 0, "active", true), "Wait");
        assert_eq!(first_step("1048576 600 7", 0, "inactive", false), "run rm --force /swapfile");
        assert_eq!(first_step("1048576 644 0", 1, "inactive", false), "run chmod 0600 /swapfile");
        assert_eq!(first_step("1048576 600 0", 1, "inactive", false), "run mkswap /swapfile");
        assert_eq!(first_step("1048576 600 0", 0, "inactive", false), "start swapfile.swap");
        assert_eq!(first_step("1048576 600 0", 0, "active", false), "Done");
    }
}
