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

/// The headline and what is not done. Where a refusal, a failure or what is waited for is what keeps the rest from being
/// done, it is not told line by line: `firstboot status` does.
fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![report.headline()];
    let waits = report.plan.0.iter().any(|line| matches!(line.verdict, Verdict::Wait(_)));
    let stopped = report.plan.refused() || report.failure.is_some() || waits;
    let shown = |line: &&Line| !(stopped && matches!(line.verdict, Verdict::Do(_)));
    lines.extend(undone(report).filter(shown).map(ToString::to_string));
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

#[cfg(test)]
mod tests {
    use super::*;
    use profiles::plan::Plan;
    use profiles::spec::Spec;
    use tempfile::tempdir;

    fn report(why: &[&str]) -> Report {
        let (node, profile) = (Some("ana".to_owned()), "nuc".to_owned());
        let spec = Spec { format: Spec::FORMAT, fleet: None, node, profile, settings: Default::default() };
        let line = |why: &&str| Line::new("web", Verdict::Wait(why.to_string()));
        Report { plan: Plan(why.iter().map(line).collect()), ..Report::new(&spec, "/spec.json", "1") }
    }

    #[test]
    fn a_line_is_shown_when_it_is_new_and_again_after_it_was_gone() {
        let root = tempdir().unwrap();
        let mut console = Console::new(root.path());
        let headline = "ana (profile nuc): waiting".to_owned();
        let waits = |why: &str| format!("WAITS   web: {why}");
        assert_eq!(console.new_lines(&report(&["a"]), &[]), [headline.clone(), waits("a")]);
        assert!(console.new_lines(&report(&["a"]), &[]).is_empty());
        assert_eq!(console.new_lines(&report(&["a", "b"]), &["x".to_owned()]), [waits("b"), "no answer: x".to_owned()]);
        assert!(console.new_lines(&report(&["b"]), &[]).is_empty());
        assert_eq!(console.new_lines(&report(&["a"]), &[]), [waits("a")]);
    }

    #[test]
    fn what_was_shown_before_a_restart_is_not_shown_again() {
        let root = tempdir().unwrap();
        record::store(root.path(), &report(&["a"])).unwrap();
        assert_eq!(Console::new(root.path()).new_lines(&report(&["a", "b"]), &[]), ["WAITS   web: b"]);
    }

    #[test]
    fn nothing_that_a_machine_says_can_steer_the_terminal() {
        let notice = issue(&report(&["\u{1b}[2J \\d \r\u{9b}x"]));
        assert!(notice.contains("WAITS   web: [2J \\\\d x\n"), "{notice:?}");
    }

    #[test]
    fn the_status_is_one_line_of_bounded_length() {
        let text = status(&report(&[&"long\n".repeat(100)]));
        assert!(text.starts_with("ana (profile nuc): waiting; WAITS web: long long") && !text.contains('\n'));
        assert_eq!(text.chars().count(), STATUS_LENGTH);
    }
}
