//! The Report: all verdicts, and what was done. What a person, a test or `mimg status` reads of a machine.

use crate::act::Step;
use crate::plan::Plan;
use crate::spec::Spec;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A machine's own account of itself after a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// `Spec::FORMAT` of the firstboot that wrote it.
    pub format: u32,
    /// `None` while a bare profile image waits for its seed.
    pub node: Option<String>,
    pub profile: String,
    pub fleet: Option<String>,
    /// SHA-256 of the Spec's JSON, in hex.
    pub spec: String,
    /// Where the Spec was found: a path, or the medium's label.
    pub source: String,
    /// Every verdict is Done.
    pub ready: bool,
    pub plan: Plan,
    /// `Plan::hash`, where steps are left that may be done; empty otherwise.
    #[serde(default)]
    pub hash: String,
    /// What this pass did, in order.
    pub done: Vec<Step>,
    /// What stopped the pass, where something did: the act that failed and why.
    pub failure: Option<String>,
    /// Version of firstboot.
    pub version: String,
}

impl Report {
    /// The exit code of the house: 0 done, 1 failed, 3 refused, 4 still waiting.
    pub fn code(&self) -> u8 {
        match (self.plan.refused(), &self.failure, self.ready) {
            (true, _, _) => 3,
            (_, Some(_), _) => 1,
            (_, _, false) => 4,
            _ => 0,
        }
    }

    /// One line: who this machine is and how it stands.
    pub fn headline(&self) -> String {
        let who = self.node.as_deref().unwrap_or("no node yet");
        let state = match self.code() {
            0 => "ready",
            1 => "FAILED",
            3 => "REFUSED",
            _ => "waiting",
        };
        format!("{who} (profile {}): {state}", self.profile)
    }

    /// The same report with what is left to do.
    pub fn with_plan(self, spec: &Spec, plan: Plan) -> Self {
        let hash = if plan.refused() || !plan.has_steps() { String::new() } else { plan.hash(spec) };
        Report { ready: plan.ready(), hash, plan, ..self }
    }

    /// An empty report of a machine that has `spec`, before any pass.
    pub fn new(spec: &Spec, source: &str, version: &str) -> Self {
        Report {
            format: Spec::FORMAT,
            node: spec.node.clone(),
            profile: spec.profile.clone(),
            fleet: spec.fleet.as_ref().map(|fleet| fleet.name.clone()),
            spec: spec.digest(),
            source: source.to_owned(),
            ready: false,
            plan: Plan::default(),
            hash: String::new(),
            done: Vec::new(),
            failure: None,
            version: version.to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        writeln!(out, "{}", self.headline())?;
        write!(out, "{}", self.plan)?;
        if let Some(failure) = &self.failure {
            writeln!(out, "FAILED  {failure}")?;
        }
        if !self.hash.is_empty() {
            writeln!(
                out,
                "This is plan {0}: `firstboot apply --plan {0}` erases nothing that is not in it.",
                self.hash
            )?;
        }
        Ok(())
    }
}
