//! The journal's limits, so that it never fills a disk.

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
use std::fmt::Write;

const PATH: &str = "/etc/systemd/journald.conf.d/50-mimg.conf";
const SERVICE: &str = "systemd-journald.service";

/// The journal's limits, so that it never fills a disk; see journald.conf(5) for what each setting does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Journald {
    /// SystemMaxUse: the most that the journal on disk may take.
    pub system_max_use: Option<Size>,
    /// RuntimeMaxUse: the most that the journal in memory may take.
    pub runtime_max_use: Option<Size>,
    /// MaxRetentionSec: how long entries are kept: one number and a unit of systemd.time(7), such as "14day".
    #[schemars(
        title = "time span",
        regex(pattern = r"^[0-9]+\s*(s|sec|min|h|hours?|d|days?|w|weeks?|months?|y|years?)$")
    )]
    pub max_retention: Option<String>,
    /// ForwardToSyslog: write each line once more, through syslog.
    pub forward_to_syslog: Option<bool>,
}

impl Journald {
    fn wanted(&self) -> File {
        let mut text = "# Written by mimg from [journald].\n[Journal]\nStorage=persistent\n".to_owned();
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                writeln!(text, "{key}={value}").expect("a String takes all that is written");
            }
        };
        line("SystemMaxUse", self.system_max_use.map(|size| size.to_string()));
        line("RuntimeMaxUse", self.runtime_max_use.map(|size| size.to_string()));
        line("MaxRetentionSec", self.max_retention.clone());
        line("ForwardToSyslog", self.forward_to_syslog.map(|yes| if yes { "yes" } else { "no" }.to_owned()));
        File::new(PATH, text)
    }
}

/// A time span of systemd.time(7), of one number and unit: what people write for a retention.
fn is_span(text: &str) -> bool {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = text[digits..].trim_start();
    let units = ["s", "sec", "min", "h", "hour", "hours", "d", "day", "days", "w", "week", "weeks", "month", "months"];
    digits > 0 && (units.contains(&unit) || ["y", "year", "years"].contains(&unit))
}

impl Part for Journald {
    fn name(&self) -> String {
        "journald".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
    }

    fn files(&self) -> Vec<File> {
        vec![self.wanted()]
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, size) in [("system-max-use", self.system_max_use), ("runtime-max-use", self.runtime_max_use)] {
            // journald keeps at least one file of 8 MiB, whatever it is told.
            if size.is_some_and(|size| size < Size(8 << 20)) {
                findings.push(Finding::new(
                    &["journald", key],
                    size.map(|s| s.to_string()).unwrap_or_default(),
                    "at least 8M, the size of the smallest journal file that journald makes",
                    "write \"64M\" or more",
                ));
            }
        }
        if let Some(span) = self.max_retention.as_ref().filter(|span| !is_span(span)) {
            findings.push(Finding::new(
                &["journald", "max-retention"],
                format!("{span:?}"),
                "a number and a unit of systemd.time(7)",
                "write \"14day\" or \"3month\"",
            ));
        }
        findings
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let outdated = Ask::Outdated { unit: SERVICE.to_owned(), path: PATH.to_owned() };
        vec![Ask::File(PATH.to_owned()), Ask::Unit(SERVICE.to_owned()), outdated]
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let mut steps: Vec<Step> = super::differing(&[self.wanted()], facts)
            .into_iter()
            .map(|file| Step::new(Act::Put(file), "its limits are not the Spec's"))
            .collect();
        if let (true, Some(wait)) = (steps.is_empty(), super::unit::busy(SERVICE, facts)) {
            return wait;
        }
        if !steps.is_empty() || facts.outdated(SERVICE, PATH) {
            steps.push(Step::new(Act::unit(SERVICE, Verb::Restart), "it reads its limits when it starts"));
        }
        Verdict::from_steps(steps)
    }
}
