//! A pass from end to end: find the Spec, observe, plan, apply, report.

use crate::apply::{Agreed, Outcome, Pass, Witness};
use crate::find::{Found, find};
use crate::machine::Machine;
use crate::place::LOCK;
use crate::{medium, record};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use profiles::ask::Ask;
use profiles::facts::Facts;
use profiles::inventory::Survey;
use profiles::plan::{Line, Verdict};
use profiles::report::Report;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

/// What may be done in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing is written at all.
    Look,
    /// The same, and all is asked that any Part could want to know of disks.
    Survey,
    /// Only the Report is written.
    Report,
    /// A seed is adopted, steps are done, the Report is written.
    Apply,
}

impl Extent {
    fn writes(self) -> bool {
        matches!(self, Extent::Report | Extent::Apply)
    }
}

/// How a pass ended, and what was seen.
#[derive(Debug)]
pub struct Ended {
    pub report: Report,
    pub facts: Facts,
    /// Questions that the machine did not answer, and why.
    pub unanswered: Vec<String>,
    /// Units that the Parts look at.
    pub units: BTreeSet<String>,
    /// What was agreed to, for the next pass of the same run.
    pub agreed: Agreed,
}

/// One pass. Fails where the image's Spec cannot be read, or the Report not be written; all else is in the Report.
pub async fn pass(machine: &Machine, extent: Extent, agreed: Agreed, witness: &mut dyn Witness) -> Result<Ended> {
    let root = machine.root();
    let _lock = if extent.writes() { Some(lock(root)?) } else { None };
    let mut found = find(root, medium::read)?;
    if extent == Extent::Apply {
        found.adopt(root)?;
    }
    pass_of(machine, found, extent, agreed, witness).await
}

/// A pass of what was found. Of a Spec that is not this machine's own nothing but `Look` and `Survey` makes sense.
pub async fn pass_of(
    machine: &Machine,
    found: Found,
    extent: Extent,
    agreed: Agreed,
    witness: &mut dyn Witness,
) -> Result<Ended> {
    let mut parts = found.spec.parts();
    if extent == Extent::Survey {
        parts.push(Box::new(Survey));
    }
    let mut pass = Pass { machine, spec: &found.spec, parts: &parts, witness, agreed };
    let applies = extent == Extent::Apply && found.refusal.is_none();
    let mut outcome = if applies { pass.apply().await } else { pass.look().await };
    if let Some(refusal) = found.refusal {
        outcome.plan.0.insert(0, Line::new("seed", Verdict::Refuse(refusal)));
    }
    let asks = parts.iter().flat_map(|part| part.asks(&found.spec, &outcome.seen.facts));
    let units = asks.filter_map(|ask| if let Ask::Unit(name) = ask { Some(name) } else { None }).collect();
    let empty = Report::new(&found.spec, &found.source, env!("CARGO_PKG_VERSION"));
    let report = report(empty.with_plan(&found.spec, outcome.plan.clone()), &outcome);
    if extent.writes() {
        record::store(machine.root(), &report).context("storing the report")?;
    }
    let Outcome { seen, agreed, .. } = outcome;
    Ok(Ended { report, facts: seen.facts, unanswered: seen.unanswered, units, agreed })
}

/// A step that failed, with nothing left to do afterwards, did not fail: what the machine says counts.
fn report(report: Report, outcome: &Outcome) -> Report {
    let failure = outcome.failure.clone().filter(|_| !report.ready);
    Report { failure, done: outcome.done.clone(), ..report }
}

/// Waits until no other firstboot is in a pass.
fn lock(root: &Path) -> Result<Flock<File>> {
    let path = root.join(LOCK.trim_start_matches('/'));
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(&path).with_context(|| format!("opening {LOCK}"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).with_context(|| format!("locking {LOCK}"))
}
