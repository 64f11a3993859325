//! The log of what is done: the plan's own lines, and the record.

use crate::apply::Witness;
use crate::console;
use crate::{command, record};
use anyhow::Result;
use profiles::act::{Act, Harm, Step};
use sd_notify::NotifyState;
use std::path::PathBuf;

/// Says each step, and records how it went.
pub struct Log {
    pub root: PathBuf,
    /// Whether it goes to stdout: the resident mode, where stderr is the console too.
    pub resident: bool,
}

impl Log {
    fn line(&self, line: &str) {
        if self.resident { console::say(line) } else { console::warn(line) }
    }
}

impl Witness for Log {
    fn before(&mut self, part: &str, step: &Step) {
        let line = format!("doing   {part}\n          {step}");
        // A person at the console is told what takes minutes, or takes something away.
        if self.resident && (step.harm != Harm::None || matches!(step.act, Act::Install(_))) {
            console::warn(line);
        } else {
            self.line(&line);
        }
        if self.resident {
            // A start that makes progress is not cut off; one that hangs is, see firstboot.service.
            let limit = u32::try_from((2 * command::ACT_LIMIT).as_micros()).unwrap_or(u32::MAX);
            let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(limit)]);
        }
    }

    fn after(&mut self, part: &str, step: &Step, result: &Result<()>) {
        if let Err(error) = record::append(&self.root, part, step, result) {
            self.line(&format!("the record could not be written: {error:#}"));
        }
    }
}
