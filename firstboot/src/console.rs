//! What a person at the machine sees: lines on the console when they are new, and the notice above the login prompt.

use crate::command;
use crate::file;
use crate::place::{ISSUE, REPORT};
use crate::record;
use anyhow::Result;
use profiles::plan::{Line, Verdict};
use profiles::report::Report;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The longest status line: `systemctl status` cuts it anyway.
const STATUS_LENGTH: usize = 300;

/// Writes a line to stdout: results, and in the resident mode what goes to the journal alone. A reader that left, such
/// as `head`, is no reason to panic.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes a line to stderr: in the resident mode that is the journal and the console.
pub fn warn(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Shows what is new since it was last shown.
pub struct Console {
    root: PathBuf,
    shown: Vec<String>,
}

impl Console {
    /// What a firstboot before this one showed since boot is not shown again.
    pub fn new(root: &Path) -> Self {
        let earlier = record::read(root, REPORT).ok().flatten();
        Console { root: root.to_owned(), shown: earlier.map(|report| lines(&report)).unwrap_or_default() }
    }

    /// The lines of `report`, and `notes`, that were not there the last time.
    pub fn new_lines(&mut self, report: &Report, notes: &[String]) -> Vec<String> {
        let mut now = lines(report);
        now.extend(notes.iter().map(|note| format!("no answer: {note}")));
        let new = now.iter().filter(|line| !self.shown.contains(line)).cloned().collect();
        self.shown = now;
        new
    }

    /// Shows what is new, and puts the notice in place.
    pub async fn show(&mut self, report: &Report, notes: &[String]) -> Result<()> {
        for line in self.new_lines(report, notes) {
            warn(line);
        }
        self.notice(&issue(report)).await
    }

    /// Puts a notice above the login prompts; those that wait for a name show it anew.
    pub async fn notice(&self, text: &str) -> Result<()> {
        if file::replace(&self.root, ISSUE, text.as_bytes(), 0o644, None)? && self.root == Path::new("/") {
            // Fails where no agetty is in the image: then there is no prompt either.
            command::run(&["agetty".to_owned(), "--reload".to_owned()], command::ASK_LIMIT).await;
        }
        Ok(())
    }
}

fn undone(report: &Report) -> impl Iterator<Item = &Line> {
    report.plan.0.iter().filter(|line| line.verdict != Verdict::Done)
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![report.headline()];
    lines.extend(undone(report).map(ToString::to_string));
    lines.extend(report.failure.iter().map(|failure| format!("FAILED  {failure}")));
    lines
}

/// The notice: how the machine stands, why, and where to read more.
pub fn issue(report: &Report) -> String {
    let mut lines = lines(report);
    if report.code() != 0 {
        lines.push("More: firstboot status, journalctl -u firstboot".to_owned());
    }
    escaped(&(lines.join("\n") + "\n\n"))
}

/// agetty(8) reads a backslash as the beginning of an escape; other control characters would reach the terminal.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect::<String>().replace('\\', "\\\\")
}

/// One line for `systemctl status`: the headline and the first thing that is not done.
pub fn status(report: &Report) -> String {
    let failure = report.failure.clone();
    let first = failure.or_else(|| undone(report).next().map(|line| line.to_string().replace('\n', " ")));
    let text = first.map_or(report.headline(), |first| format!("{}; {first}", report.headline()));
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(STATUS_LENGTH).collect()
}
