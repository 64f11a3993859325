//! Applying: one pass over all Parts, step by step, each read back before the next.

use crate::machine::Machine;
use crate::observe::{Seen, observe};
use anyhow::Result;
use profiles::act::{Harm, Step};
use profiles::ask::{Answer, Ask};
use profiles::facts::Facts;
use profiles::part::Part;
use profiles::plan::{Harms, Line, Plan, Refusal, Verdict, plan};
use profiles::spec::Spec;

/// The most steps of one Part, and of one pass: more is a loop that no single plan shows.
const STEPS_OF_A_PART: usize = 200;
/// How often all Parts are gone through because some of them acted: Parts may undo each other.
const SWEEPS: usize = 8;

/// Sees each step before and after it is done: what keeps the log and the record.
pub trait Witness {
    fn before(&mut self, part: &str, step: &Step);
    fn after(&mut self, part: &str, step: &Step, result: &Result<()>);
}

/// How a pass ended.
#[derive(Debug)]
pub struct Outcome {
    /// What is left, from the observation after the last step.
    pub plan: Plan,
    pub seen: Seen,
    /// Steps that were done, in order.
    pub done: Vec<Step>,
    /// What stopped the pass.
    pub failure: Option<String>,
    /// What was agreed to, for a pass that goes on.
    pub agreed: Agreed,
}

/// A pass under way.
pub struct Pass<'a> {
    pub machine: &'a Machine,
    pub spec: &'a Spec,
    pub parts: &'a [Box<dyn Part + 'a>],
    pub witness: &'a mut dyn Witness,
    pub agreed: Agreed,
}

/// What harm a person agreed to. Each step's harm is looked up before it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Agreed {
    /// All that the Spec leads to: it is what the machine's owner wrote.
    #[default]
    Spec,
    /// That of the plan with this hash: it has to be the plan of now.
    Plan(String),
    /// That of a plan which was agreed to before.
    Harms(Harms),
}

/// Why a pass goes no further.
enum End {
    Failed(String),
    Refused,
}

impl Pass<'_> {
    /// Observes and plans, and does nothing.
    pub async fn look(&mut self) -> Outcome {
        let seen = observe(self.machine, self.spec, self.parts.iter().map(Box::as_ref)).await;
        let plan = plan(self.spec, self.parts, &seen.facts);
        Outcome { plan, seen, done: Vec::new(), failure: None, agreed: self.agreed.clone() }
    }

    /// Does what is to be done, as far as it goes now. One refusal stops all before the first step. After each step
    /// the Part is observed and planned again: only its first step is ever done. A Part waits for those it names in
    /// `after`; one that is not in the Spec is not waited for. When a Part acted, all are gone through once more.
    pub async fn apply(&mut self) -> Outcome {
        let mut first = self.look().await;
        if let Some(refusal) = self.disagrees(&first.plan) {
            first.plan.0.insert(0, Line::new("agreement", Verdict::Refuse(refusal)));
        }
        if first.plan.refused() || !first.plan.has_steps() {
            return first;
        }
        let mut done = Vec::new();
        let failure = self.sweeps(&mut first.plan, &mut done).await.err();
        let last = self.look().await;
        let failure = failure.and_then(|end| match end {
            End::Failed(why) => Some(why),
            // The Report shows it, with what to do.
            End::Refused => None,
        });
        Outcome { done, failure, ..last }
    }

    /// Why this plan is not what was agreed to. From now on its harm alone is.
    fn disagrees(&mut self, plan: &Plan) -> Option<Refusal> {
        let (harms, hash) = (plan.harms(), plan.hash(self.spec));
        let agreed = match &self.agreed {
            Agreed::Spec => return None,
            Agreed::Plan(agreed) => *agreed == hash,
            Agreed::Harms(agreed) => harms.is_subset(agreed),
        };
        self.agreed = Agreed::Harms(harms);
        (!agreed).then(|| Refusal {
            saw: format!("plan {hash}: the machine or its Spec has changed since"),
            wanted: "the plan that was agreed to".to_owned(),
            cure: "read `firstboot plan` again, and give its hash".to_owned(),
        })
    }

    async fn sweeps(&mut self, plan: &mut Plan, done: &mut Vec<Step>) -> Result<(), End> {
        for _ in 0..SWEEPS {
            let before = done.len();
            for index in 0..self.parts.len() {
                self.part(index, plan, done).await?;
            }
            if done.len() == before {
                return Ok(());
            }
        }
        Err(End::Failed(format!("after {SWEEPS} rounds there are steps still: parts undo each other's work")))
    }

    /// One Part, until it is done, waits or refuses.
    async fn part(&mut self, index: usize, plan: &mut Plan, done: &mut Vec<Step>) -> Result<(), End> {
        let part = self.parts[index].as_ref();
        let needed = part.after();
        let undone = |line: &Line| needed.contains(&line.part) && line.verdict != Verdict::Done;
        if plan.0.iter().any(undone) {
            return Ok(());
        }
        let mut acted: Vec<(Vec<Step>, Facts)> = Vec::new();
        loop {
            let seen = observe(self.machine, self.spec, [part]).await;
            let verdict = part.plan(self.spec, &seen.facts);
            plan.0[index].verdict = verdict.clone();
            let steps = match verdict {
                Verdict::Done | Verdict::Wait(_) => return Ok(()),
                Verdict::Refuse(_) => return Err(End::Refused),
                Verdict::Do(steps) => steps,
            };
            let Some(step) = steps.first() else { return Ok(()) };
            if let Some((_, before)) = acted.iter().find(|(earlier, _)| *earlier == steps) {
                return Err(End::Failed(stuck(&part.name(), step, &unchanged(part, self.spec, before, &seen.facts))));
            }
            if acted.len() == STEPS_OF_A_PART {
                return Err(End::Failed(format!("{}: {STEPS_OF_A_PART} steps, and no end", part.name())));
            }
            self.step(&part.name(), step, done).await?;
            acted.push((steps, seen.facts));
        }
    }

    async fn step(&mut self, part: &str, step: &Step, done: &mut Vec<Step>) -> Result<(), End> {
        let harm = (part.to_owned(), step.harm.clone());
        let harmful = matches!(step.harm, Harm::Erases(_) | Harm::Decides(_));
        if let Agreed::Harms(agreed) = &self.agreed
            && harmful
            && !agreed.contains(&harm)
        {
            return Err(End::Failed(format!("{part}: {step}: this harm was not in the plan that was agreed to")));
        }
        self.witness.before(part, step);
        let result = self.machine.act(&step.act).await;
        self.witness.after(part, step, &result);
        match result {
            Ok(()) => {
                done.push(step.clone());
                Ok(())
            }
            Err(error) => Err(End::Failed(format!("{part}: {}: {error:#}", step.act))),
        }
    }
}

fn stuck(part: &str, step: &Step, unchanged: &[String]) -> String {
    let facts = if unchanged.is_empty() { "nothing that was asked".to_owned() } else { unchanged.join("; ") };
    format!("{part} is stuck: \"{}\" was done, and its plan is the same as before. Not changed: {facts}", step.act)
}

/// The facts of `part` that are the same before and after, one line each.
fn unchanged(part: &dyn Part, spec: &Spec, before: &Facts, after: &Facts) -> Vec<String> {
    let asks = part.asks(spec, after);
    asks.iter()
        .filter_map(|ask| Some((ask, before.answer(ask)?, after.answer(ask)?)))
        .filter(|(_, old, new)| old == new)
        .map(|(ask, _, new)| shown(ask, new))
        .collect()
}

/// One fact in a few words. A file's content is left out: the Report is for all to read.
fn shown(ask: &Ask, answer: &Answer) -> String {
    match (ask, answer) {
        (Ask::File(path), Answer::File(Some(file))) => {
            format!("{path} has {} bytes, {:04o} {}", file.content.len(), file.mode, file.owner)
        }
        (Ask::File(path), _) => format!("there is no {path}"),
        (Ask::Run(argv), Answer::Ran(ran)) => {
            let out: String = ran.out.trim().chars().take(80).collect();
            format!("`{}` ends with {} and says {out:?}", argv.join(" "), ran.rc)
        }
        (Ask::Unit(name), Answer::Unit(unit)) => {
            format!(
                "{name} is {}, {} ({})",
                unit.load,
                unit.active,
                if unit.file.is_empty() { "-" } else { &unit.file }
            )
        }
        (Ask::Outdated { unit, path }, _) => {
            format!("{unit} has {}read {path}", if *answer == Answer::Outdated(true) { "not " } else { "" })
        }
        (Ask::Gpt(device), _) => format!("the partition table of {device}"),
        (ask, _) => format!("{ask:?}"),
    }
}
