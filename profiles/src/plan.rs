//! A plan: what each Part of a Spec concludes from the Facts, in the order in which it would be done.

use crate::act::{Harm, Step};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::part::Part;
use crate::spec::Spec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
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
    /// What the Part found, for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Line {
    pub fn new(part: impl Into<String>, verdict: Verdict) -> Self {
        Line { part: part.into(), verdict, notes: Vec::new() }
    }
}

/// A step that does harm, told apart by its Part and by what it harms: not by the names that a kernel gave to devices.
pub type Harms = BTreeSet<(String, Harm)>;

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

    /// Some verdict has steps.
    pub fn has_steps(&self) -> bool {
        self.0.iter().any(|line| matches!(line.verdict, Verdict::Do(_)))
    }

    /// The harm that the steps would do for good. Planning again, as they are done, only ever takes from it.
    pub fn harms(&self) -> Harms {
        let steps = self.0.iter().flat_map(|line| {
            match &line.verdict {
                Verdict::Do(steps) => steps.as_slice(),
                _ => &[],
            }
            .iter()
            .map(|step| (line.part.clone(), step.harm.clone()))
        });
        // An interruption may well follow from what is done first.
        steps.filter(|(_, harm)| matches!(harm, Harm::Erases(_) | Harm::Decides(_))).collect()
    }

    /// What a person agrees to who has read this plan: 16 hex digits of a digest of the Spec and of all harm.
    pub fn hash(&self, spec: &Spec) -> String {
        let harms = serde_json::to_string(&self.harms()).expect("texts only");
        let digest = Sha256::digest(format!("{}\n{harms}", spec.digest()));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match &self.verdict {
            Verdict::Done => write!(out, "done    {}", self.part),
            Verdict::Wait(why) => write!(out, "WAITS   {}: {why}", self.part),
            Verdict::Refuse(refusal) => write!(out, "REFUSED {}: {refusal}", self.part),
            Verdict::Do(_) => write!(out, "to do   {}", self.part),
        }?;
        self.notes.iter().try_for_each(|note| write!(out, "\n        . {note}"))?;
        let steps = if let Verdict::Do(steps) = &self.verdict { steps.as_slice() } else { &[] };
        steps.iter().try_for_each(|step| write!(out, "\n          {step}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// What each of `parts` of a Spec concludes. Pure: the same Spec and Facts give the same plan.
pub fn plan(spec: &Spec, parts: &[Box<dyn Part + '_>], facts: &Facts) -> Plan {
    let line = |part: &dyn Part| {
        let (verdict, notes) = (part.plan(spec, facts), part.notes(spec, facts));
        Line { part: part.name(), verdict, notes }
    };
    Plan(parts.iter().map(|part| line(part.as_ref())).collect())
}

/// The questions of `part` that `facts` does not answer yet. To be asked, noted and called again until it is empty: an
/// answer may raise the next question.
pub fn open_questions(part: &dyn Part, spec: &Spec, facts: &Facts) -> Vec<Ask> {
    let mut asks = part.asks(spec, facts);
    asks.retain(|ask| !facts.knows(ask));
    asks
}
