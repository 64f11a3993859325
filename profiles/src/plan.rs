//! A plan: what each Part of a Spec concludes from the Facts, in the order in which it would be done.

use crate::act::Step;
use crate::ask::Ask;
use crate::facts::Facts;
use crate::part::Part;
use crate::spec::Spec;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a Part concludes. A Part is done exactly when its plan is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Done,
    /// Steps that are left, in order; never empty.
    Do(Vec<Step>),
    /// Nothing can be done now; the reason names what has to come first.
    Wait(String),
    Refuse(Refusal),
}

/// Why nothing will be done until a person changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refusal {
    pub saw: String,
    pub wanted: String,
    /// The key or command that would allow it.
    pub cure: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "saw {}; wanted {}; to go on: {}", self.saw, self.wanted, self.cure)
    }
}

impl Verdict {
    /// Done when there are no steps.
    pub fn from_steps(steps: Vec<Step>) -> Self {
        if steps.is_empty() { Verdict::Done } else { Verdict::Do(steps) }
    }

    pub fn refuse(saw: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        Verdict::Refuse(Refusal { saw: saw.into(), wanted: wanted.into(), cure: cure.into() })
    }
}

/// One Part's line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    pub part: String,
    pub verdict: Verdict,
}

/// All verdicts, in the order of `Spec::parts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan(pub Vec<Line>);

impl Plan {
    pub fn refused(&self) -> bool {
        self.0.iter().any(|line| matches!(line.verdict, Verdict::Refuse(_)))
    }

    /// Every verdict is Done.
    pub fn ready(&self) -> bool {
        self.0.iter().all(|line| line.verdict == Verdict::Done)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match &self.verdict {
            Verdict::Done => write!(out, "done    {}", self.part),
            Verdict::Wait(why) => write!(out, "WAITS   {}: {why}", self.part),
            Verdict::Refuse(refusal) => write!(out, "REFUSED {}: {refusal}", self.part),
            Verdict::Do(steps) => {
                write!(out, "to do   {}", self.part)?;
                steps.iter().try_for_each(|step| write!(out, "\n          {step}"))
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// What each of `parts` of a Spec concludes. Pure: the same Spec and Facts give the same plan.
pub fn plan(spec: &Spec, parts: &[Box<dyn Part + '_>], facts: &Facts) -> Plan {
    Plan(parts.iter().map(|part| Line { part: part.name(), verdict: part.plan(spec, facts) }).collect())
}

/// The questions of `part` that `facts` does not answer yet. To be asked, noted and called again until it is empty: an
/// answer may raise the next question.
pub fn open_questions(part: &dyn Part, spec: &Spec, facts: &Facts) -> Vec<Ask> {
    let mut asks = part.asks(spec, facts);
    asks.retain(|ask| !facts.knows(ask));
    asks
}
