//! Observing: every question that Parts have, asked until none is new.

use crate::machine::Machine;
use profiles::ask::Ask;
use profiles::facts::Facts;
use profiles::part::Part;
use profiles::plan::open_questions;
use profiles::spec::Spec;
use std::collections::BTreeSet;

/// How often answers may raise new questions. Chains are a few links long: a longer one never ends.
const ROUNDS: usize = 32;

/// What a machine answered, and where it did not.
#[derive(Debug, Default)]
pub struct Seen {
    pub facts: Facts,
    /// Questions without an answer, each with the reason, in one line.
    pub unanswered: Vec<String>,
}

/// Asks all that `parts` want to know. Every question is asked once; what was known before does not count.
pub async fn observe<'a>(machine: &Machine, spec: &Spec, parts: impl IntoIterator<Item = &'a dyn Part>) -> Seen {
    let parts: Vec<&dyn Part> = parts.into_iter().collect();
    let mut seen = Seen::default();
    let mut asked: BTreeSet<Ask> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let open = parts.iter().flat_map(|part| open_questions(*part, spec, &seen.facts));
        let new: BTreeSet<Ask> = open.filter(|ask| !asked.contains(ask)).collect();
        if new.is_empty() {
            return seen;
        }
        for ask in new {
            match machine.answer(&ask).await {
                Ok(answer) => seen.facts.note(ask.clone(), answer),
                Err(error) => seen.unanswered.push(format!("{error:#}")),
            }
            asked.insert(ask);
        }
    }
    seen.unanswered.push(format!("after {ROUNDS} rounds of answers there are new questions still"));
    seen
}
