//! `[[unit]]`: systemd units that a machine runs, driven over D-Bus.
//!
//! Starting is queued, not waited for: while a job runs, or a service is still starting, the verdict is Wait. So a
//! unit may be ordered after firstboot without a deadlock.

use super::Part;
use crate::act::{Act, Step, Verb};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TYPES: [&str; 7] = ["service", "socket", "timer", "target", "path", "mount", "slice"];

/// A systemd unit that is enabled and started, or kept off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Unit {
    /// With its type, such as "nginx.service".
    #[schemars(
        title = "unit's name",
        regex(pattern = r"^[A-Za-z0-9:_.@\\-]*\.(service|socket|timer|target|path|mount|slice)$")
    )]
    pub name: String,
    /// Started at every boot.
    #[serde(default = "Unit::yes")]
    pub enable: bool,
    /// Running now. Default: as `enable` says.
    #[serde(default)]
    pub start: Option<bool>,
    /// The unit's file, where no package brings it.
    #[serde(default)]
    pub text: Option<String>,
}

impl Unit {
    fn yes() -> bool {
        true
    }

    fn file(&self) -> Option<File> {
        self.text.as_ref().map(|text| File::new(format!("/etc/systemd/system/{}", self.name), text.clone()))
    }
}

impl Part for Unit {
    fn name(&self) -> String {
        format!("unit {}", self.name)
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
    }

    fn files(&self) -> Vec<File> {
        self.file().into_iter().collect()
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        let kind = self.name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let plain = self.name.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.@\\".contains(c));
        if TYPES.contains(&kind) && plain {
            return Vec::new();
        }
        let wanted = format!("a unit's name with its type: one of {}", TYPES.join(", "));
        let cure = format!("write \"{}.service\"", self.name.trim_end_matches(".service"));
        vec![Finding::new(&["unit", &self.name, "name"], format!("{:?}", self.name), wanted, cure)]
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let mut asks = vec![Ask::Unit(self.name.clone())];
        if let Some(file) = self.file() {
            asks.push(Ask::Outdated { unit: self.name.clone(), path: file.path.clone() });
            asks.push(Ask::File(file.path));
        }
        asks
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let file: Vec<File> = self.file().into_iter().collect();
        let mut steps: Vec<Step> = super::differing(&file, facts)
            .into_iter()
            .map(|file| Step::new(Act::Put(file), "its text is not the Spec's"))
            .collect();
        if !steps.is_empty() {
            steps.push(Step::new(Act::unit(&self.name, Verb::Reload), "its file changed"));
            return Verdict::Do(steps);
        }
        let start = self.start.unwrap_or(self.enable);
        let changed = file.iter().any(|file| facts.outdated(&self.name, &file.path));
        if start && changed && facts.unit(&self.name).is_some_and(|unit| unit.active == "active" && !unit.job) {
            let step = Step::new(Act::unit(&self.name, Verb::Restart), "its file changed after it was started");
            return Verdict::Do(vec![step.interrupts(&self.name)]);
        }
        plan(&self.name, self.enable, start, self.text.is_some(), facts)
    }
}

/// What is left to do so that a unit is enabled (or not) and running (or not). `ours`: its file is written by us.
pub(super) fn plan(name: &str, enable: bool, start: bool, ours: bool, facts: &Facts) -> Verdict {
    let Some(unit) = facts.unit(name) else {
        return Verdict::Wait(format!("systemd does not answer about {name}; see `firstboot facts`"));
    };
    if unit.load == "not-found" && !ours {
        let cure = format!("name the package that brings it under packages, or write its text under [[unit]] {name:?}");
        return Verdict::refuse("no such unit", format!("{name} in the image"), cure);
    }
    if unit.stale || unit.load == "not-found" {
        return Verdict::Do(vec![Step::new(Act::unit(name, Verb::Reload), "its file is newer than what systemd read")]);
    }
    let mut steps = Vec::new();
    // Units without an [Install] section (static, generated …) cannot be enabled, and need not be.
    match (enable, unit.file.as_str()) {
        (true, "disabled") => steps.push(Step::new(Act::unit(name, Verb::Enable), "it is disabled")),
        (false, "enabled") => steps.push(Step::new(Act::unit(name, Verb::Disable), "it is enabled")),
        _ => {}
    }
    match (start, unit.active.as_str()) {
        _ if unit.job => return wait_or(steps, format!("systemd still has a job for {name}")),
        (true, "activating" | "reloading" | "deactivating") => {
            return wait_or(steps, format!("{name} is {}; see `systemctl status {name}`", unit.active));
        }
        (true, "failed") => {
            let why = format!(
                "{name} failed ({}); see `journalctl -b -u {name}`, then `systemctl restart {name}`",
                unit.result
            );
            return wait_or(steps, why);
        }
        // A oneshot that is done; or a unit whose own condition says that it is not for this machine, as smartd's in a guest.
        (true, "inactive") if unit.finished || !unit.condition => {}
        (true, "inactive") => steps.push(Step::new(Act::unit(name, Verb::Start), "it is not running")),
        (false, "active" | "activating") => {
            steps.push(Step::new(Act::unit(name, Verb::Stop), "it is running").interrupts(name));
        }
        _ => {}
    }
    Verdict::from_steps(steps)
}

/// The name of the unit that stands for a path, as systemd-escape(1) makes it.
pub(super) fn of_path(path: &str, kind: &str) -> String {
    format!("{}.{kind}", escaped(path.trim_matches('/')))
}

/// Words as a part of a unit's name.
pub(super) fn escaped(words: &str) -> String {
    let escape = |(index, c): (usize, u8)| match c {
        b'/' => "-".to_owned(),
        b'.' if index == 0 => r"\x2e".to_owned(),
        b':' | b'_' | b'.' => char::from(c).to_string(),
        _ if c.is_ascii_alphanumeric() => char::from(c).to_string(),
        _ => format!(r"\x{c:02x}"),
    };
    words.bytes().enumerate().map(escape).collect()
}

/// What follows once the file of a unit was written: steps to enable and start it.
pub(super) fn to_come(name: &str, facts: &Facts) -> Vec<Step> {
    if facts.unit(name).is_some_and(|unit| unit.active == "active") {
        return Vec::new();
    }
    let enable = Step::new(Act::unit(name, Verb::Enable), "for every boot");
    vec![enable, Step::new(Act::unit(name, Verb::Start), "it is not running")]
}

/// Why a unit cannot be driven at this moment: a job of systemd's is still under way.
pub(super) fn busy(name: &str, facts: &Facts) -> Option<Verdict> {
    facts.unit(name).filter(|unit| unit.job).map(|_| Verdict::Wait(format!("systemd still has a job for {name}")))
}

/// The steps first; when there are none, the reason to wait.
fn wait_or(steps: Vec<Step>, why: String) -> Verdict {
    if steps.is_empty() { Verdict::Wait(why) } else { Verdict::Do(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_after_paths_as_systemd_escape_does() {
        for (path, unit) in [
            ("/srv", "srv.mount"),
            ("/srv/my-data/x", r"srv-my\x2ddata-x.mount"),
            ("/srv/.hidden/a.b", r"srv-.hidden-a.b.mount"),
            ("/.x", r"\x2ex.mount"),
            ("/a+b@c:d_e", r"a\x2bb\x40c:d_e.mount"),
        ] {
            assert_eq!(of_path(path, "mount"), unit);
        }
        assert_eq!(of_path("/dev/disk/by-uuid/6F-7", "device"), r"dev-disk-by\x2duuid-6F\x2d7.device");
    }
}
