//! Facts: what a machine answered, question by question, as said.

use crate::ask::{Answer, Ask, Consent, Leaf, Probe, Ran, Table, Unit};
use crate::file::File;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A transcript. In JSON a list of `{"ask": …, "answer": …}` in the order of the questions, so that a recording
/// from a real machine is a fixture as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Line>", into = "Vec<Line>")]
pub struct Facts(BTreeMap<Ask, Answer>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    ask: Ask,
    answer: Answer,
}

impl From<Vec<Line>> for Facts {
    fn from(lines: Vec<Line>) -> Self {
        Facts(lines.into_iter().map(|line| (line.ask, line.answer)).collect())
    }
}

impl From<Facts> for Vec<Line> {
    fn from(facts: Facts) -> Self {
        facts.0.into_iter().map(|(ask, answer)| Line { ask, answer }).collect()
    }
}

impl Facts {
    pub fn note(&mut self, ask: Ask, answer: Answer) {
        self.0.insert(ask, answer);
    }

    pub fn knows(&self, ask: &Ask) -> bool {
        self.0.contains_key(ask)
    }

    /// The answer to a question; `None` while it was not asked.
    pub fn answer(&self, ask: &Ask) -> Option<&Answer> {
        self.0.get(ask)
    }

    /// Every question with its answer, in the order of the questions.
    pub fn iter(&self) -> impl Iterator<Item = (&Ask, &Answer)> {
        self.0.iter()
    }

    /// Takes over all that `newer` knows.
    pub fn update(&mut self, newer: Facts) {
        self.0.extend(newer.0);
    }

    /// How a command ended; `None` while it was not asked.
    pub fn ran<Word: AsRef<str>>(&self, argv: &[Word]) -> Option<&Ran> {
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        match self.0.get(&Ask::run(&argv)) {
            Some(Answer::Ran(ran)) => Some(ran),
            _ => None,
        }
    }

    /// What a command that ended well printed, without the white space around it.
    pub fn said<Word: AsRef<str>>(&self, argv: &[Word]) -> Option<&str> {
        self.ran(argv).filter(|ran| ran.rc == 0).map(|ran| ran.out.trim())
    }

    /// A file that is there.
    pub fn file(&self, path: &str) -> Option<&File> {
        match self.0.get(&Ask::File(path.to_owned())) {
            Some(Answer::File(Some(file))) => Some(file),
            _ => None,
        }
    }

    /// A partition table that the kernel reads: its primary header is whole.
    pub fn table(&self, device: &str) -> Option<&Table> {
        self.any_table(device).filter(|table| table.primary)
    }

    /// A partition table of which at least the header at the disk's end can be read.
    pub fn any_table(&self, device: &str) -> Option<&Table> {
        match self.0.get(&Ask::Gpt(device.to_owned())) {
            Some(Answer::Gpt(Some(table))) => Some(table),
            _ => None,
        }
    }

    /// What is on a device that is there.
    pub fn probe(&self, device: &str) -> Option<&Probe> {
        match self.0.get(&Ask::Probe(device.to_owned())) {
            Some(Answer::Probe(Some(probe))) => Some(probe),
            _ => None,
        }
    }

    /// The files of an EFI system partition that is there.
    pub fn esp(&self, device: &str) -> Option<&BTreeMap<String, Leaf>> {
        match self.0.get(&Ask::Esp(device.to_owned())) {
            Some(Answer::Esp(Some(files))) => Some(files),
            _ => None,
        }
    }

    /// A person allowed this for this run.
    pub fn allows(&self, consent: &Consent) -> bool {
        matches!(self.0.get(&Ask::Consent), Some(Answer::Consent(allowed)) if allowed.contains(consent))
    }

    pub fn unit(&self, name: &str) -> Option<&Unit> {
        match self.0.get(&Ask::Unit(name.to_owned())) {
            Some(Answer::Unit(unit)) => Some(unit),
            _ => None,
        }
    }

    /// A file changed after its unit was started.
    pub fn outdated(&self, unit: &str, path: &str) -> bool {
        let ask = Ask::Outdated { unit: unit.to_owned(), path: path.to_owned() };
        matches!(self.0.get(&ask), Some(Answer::Outdated(true)))
    }
}
