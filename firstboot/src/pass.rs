//! A pass from end to end: find the Spec, observe, plan, apply, report.

use crate::apply::{Outcome, Pass, Witness};
use crate::find::find;
use crate::machine::Machine;
use crate::place::LOCK;
use crate::{medium, record};
use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use profiles::ask::Ask;
use profiles::facts::Facts;
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
    /// Only the Report is written.
    Report,
    /// A seed is adopted, steps are done, the Report is written.
    Apply,
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
}

/// One pass. Fails where the image's Spec cannot be read, or the Report not be written; all else is in the Report.
pub async fn pass(machine: &Machine, extent: Extent, witness: &mut dyn Witness) -> Result<Ended> {
    let root = machine.root();
    let _lock = if extent == Extent::Look { None } else { Some(lock(root)?) };
    let mut found = find(root, medium::read)?;
    if extent == Extent::Apply {
        found.adopt(root)?;
    }
    let parts = found.spec.parts();
    let mut pass = Pass { machine, spec: &found.spec, parts: &parts, witness };
    let applies = extent == Extent::Apply && found.refusal.is_none();
    let mut outcome = if applies { pass.apply().await } else { pass.look().await };
    if let Some(refusal) = found.refusal {
        outcome.plan.0.insert(0, Line::new("seed", Verdict::Refuse(refusal)));
    }
    let asks = parts.iter().flat_map(|part| part.asks(&found.spec, &outcome.seen.facts));
    let units = asks.filter_map(|ask| if let Ask::Unit(name) = ask { Some(name) } else { None }).collect();
    let report = report(Report::new(&found.spec, &found.source, env!("CARGO_PKG_VERSION")), &outcome);
    if extent != Extent::Look {
        record::store(root, &report).context("storing the report")?;
    }
    Ok(Ended { report, facts: outcome.seen.facts, unanswered: outcome.seen.unanswered, units })
}

/// A step that failed, with nothing left to do afterwards, did not fail: what the machine says counts.
fn report(empty: Report, outcome: &Outcome) -> Report {
    let ready = outcome.plan.ready();
    let failure = outcome.failure.clone().filter(|_| !ready);
    Report { ready, failure, plan: outcome.plan.clone(), done: outcome.done.clone(), ..empty }
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
