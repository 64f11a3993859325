//! What a person sees while an image is made: stages with their times, downloads in bytes.
//!
//! On a terminal a bar moves; elsewhere each stage is one plain line when it ends. All of it goes to
//! stderr: stdout belongs to results.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Instant;

/// What a stage counts.
#[derive(Clone, Copy)]
pub enum Unit {
    Bytes,
    Items,
}

/// Where stages are shown. Cheap to copy; `quiet` shows nothing (tests, `--json` with no terminal).
#[derive(Clone, Copy)]
pub struct Progress {
    quiet: bool,
    terminal: bool,
}

impl Progress {
    pub fn to_stderr() -> Self {
        Progress { quiet: false, terminal: std::io::stderr().is_terminal() }
    }

    pub fn quiet() -> Self {
        Progress { quiet: true, terminal: false }
    }

    /// Starts a stage such as "unpacking"; it is ended, and its time shown, by `Stage::done` or when it is dropped.
    pub fn stage(&self, name: impl Into<String>) -> Stage {
        let name = name.into();
        let bar = ProgressBar::with_draw_target(None, self.target());
        bar.set_style(style("{prefix:>12} {spinner} {msg}"));
        bar.set_prefix(name.clone());
        if self.terminal {
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
        }
        Stage { progress: *self, name, bar, started: Instant::now(), note: String::new() }
    }

    /// One line, above any bar that moves.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    fn target(&self) -> ProgressDrawTarget {
        if self.terminal && !self.quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
    }
}

/// One stage under way. Safe to share between threads.
pub struct Stage {
    progress: Progress,
    name: String,
    bar: ProgressBar,
    started: Instant,
    note: String,
}

impl Stage {
    /// How much there is to do, in `unit`.
    pub fn total(&self, total: u64, unit: Unit) {
        self.bar.set_length(total);
        self.bar.set_style(style(match unit {
            Unit::Bytes => "{prefix:>12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}",
            Unit::Items => "{prefix:>12} {bar:30} {pos}/{len} {msg}",
        }));
    }

    pub fn add(&self, n: u64) {
        self.bar.inc(n);
    }

    /// What is being worked on now, such as a package's name.
    pub fn now(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Ends the stage with a remark that stays on its line, such as "262 packages, 349 MB".
    pub fn done(mut self, note: impl Into<String>) {
        self.note = note.into();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed().as_secs_f64();
        self.progress.say(format!("{:>12} {took:6.1} s  {}", self.name, self.note).trim_end());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of ours")
}
