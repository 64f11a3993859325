//! What is wrong with what a person wrote: where, what was seen, what was wanted, and the cure.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// Something wrong with a setting, named by its keys; the loader knows the file and line of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Keys from the top, such as `["user", "ana", "ssh-keys"]`: tables of an array by their `name`, others by number.
    pub keys: Vec<String>,
    pub saw: String,
    pub wanted: String,
    pub cure: String,
}

impl Finding {
    pub fn new(keys: &[&str], saw: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        let keys = keys.iter().map(|key| key.to_string()).collect();
        Finding { keys, saw: saw.into(), wanted: wanted.into(), cure: cure.into() }
    }
}

/// A place in one of the texts that were read: bytes counted from the start of all of them, one after the other.
pub type Span = Range<usize>;

/// The texts that were read, so that a span can be shown as file, line and column.
#[derive(Clone, Debug, Default)]
pub struct Texts(Vec<Text>);

#[derive(Clone, Debug)]
struct Text {
    path: String,
    text: String,
    start: usize,
}

impl Texts {
    /// Takes a text over; the answer is where its first byte stands.
    pub fn add(&mut self, path: &str, text: &str) -> usize {
        // One byte between two texts, so that the end of one is not the start of the next.
        let start = self.0.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(Text { path: path.to_owned(), text: text.to_owned(), start });
        start
    }

    fn at(&self, span: &Span) -> Option<(&Text, Span)> {
        let text = self.0.iter().rev().find(|text| text.start <= span.start)?;
        let clip = |offset: usize| offset.saturating_sub(text.start).min(text.text.len());
        Some((text, clip(span.start)..clip(span.end)))
    }

    /// "nodes/eccles.toml:7".
    pub fn place(&self, span: &Span) -> String {
        match self.at(span) {
            Some((text, local)) => format!("{}:{}", text.path, line_column(&text.text, local.start).0),
            None => "the settings".to_owned(),
        }
    }

    /// A problem at `span`, with the lines it points at taken along.
    pub fn problem(&self, span: &Span, saw: &str, wanted: &str, cure: &str) -> Problem {
        let (saw, wanted, cure) = (saw.to_owned(), wanted.to_owned(), cure.to_owned());
        match self.at(span) {
            None => {
                Problem { file: String::new(), line: 0, column: 0, saw, wanted, cure, text: String::new(), span: 0..0 }
            }
            Some((text, local)) => {
                let (line, column) = line_column(&text.text, local.start);
                let (file, text) = (text.path.clone(), text.text.clone());
                Problem { file, line, column, saw, wanted, cure, text, span: local }
            }
        }
    }
}

/// Line and column of a byte, both from 1, columns in characters.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

/// One thing that is wrong, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Path within the fleet, or `catalog/NAME.toml`; empty where no file is to blame.
    pub file: String,
    /// Line and column, from 1.
    pub line: usize,
    pub column: usize,
    pub saw: String,
    pub wanted: String,
    pub cure: String,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    span: Range<usize>,
}

impl Problem {
    /// A problem of no file's.
    pub fn of_none(saw: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        Texts::default().problem(&(0..0), &saw.into(), &wanted.into(), &cure.into())
    }

    /// As a compiler shows it: the line, a caret, what was wanted, the cure. With colours for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let title = Level::ERROR.primary_title(&self.saw);
        let wanted = Level::NOTE.message(format!("wanted: {}", self.wanted));
        let cure = Level::HELP.message(&self.cure);
        let notes = [(wanted, !self.wanted.is_empty()), (cure, !self.cure.is_empty())];
        let notes = notes.into_iter().filter(|(_, there)| *there).map(|(note, _)| note);
        if self.file.is_empty() {
            return renderer
                .render(&[notes.fold(annotate_snippets::Group::with_title(title), |group, note| group.element(note))]);
        }
        // A span of nothing, at the end of a file, still gets its caret.
        let span = self.span.start..self.span.end.max(self.span.start);
        let snippet = Snippet::source(&self.text).path(&self.file).annotation(AnnotationKind::Primary.span(span));
        renderer.render(&[notes.fold(title.element(snippet), |group, note| group.element(note))])
    }
}

/// All problems at once, in the order of files and lines. An error in itself: nothing goes on with one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `value` where there are no problems; all of them, each once, otherwise.
    pub fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    /// In the order of files and lines, each once.
    pub fn sorted(mut self) -> Problems {
        self.0.sort_by(|a, b| (&a.file, a.line, a.column, &a.saw).cmp(&(&b.file, b.line, b.column, &b.saw)));
        self.0.dedup();
        self
    }

    pub fn render(&self, colour: bool) -> String {
        let shown: Vec<String> = self.0.iter().map(|problem| problem.render(colour)).collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// The known word nearest to `word`, where one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
