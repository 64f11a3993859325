//! What is left behind: the record of what was done, for people, and the Report. Nothing is ever decided from them.

use crate::file;
use crate::place::{KEPT_REPORT, RECORD, REPORT};
use anyhow::{Context, Result};
use jiff::Timestamp;
use profiles::act::Step;
use profiles::report::Report;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// When a record is put aside as `record.jsonl.1` and a new one begun: two of them are the most that is kept.
const ROTATED_AT: u64 = 1 << 20;

/// One line of the record.
#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    part: &'a str,
    did: String,
    why: &'a str,
    error: Option<String>,
}

/// Adds a step and how it went to the record below `root`, durably.
pub fn append(root: &Path, part: &str, step: &Step, result: &Result<()>) -> Result<()> {
    let error = result.as_ref().err().map(|error| format!("{error:#}"));
    let entry = Entry { time: Timestamp::now().to_string(), part, did: step.act.to_string(), why: &step.why, error };
    let line = serde_json::to_string(&entry)? + "\n";
    let path = root.join(RECORD.trim_start_matches('/'));
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    if fs_err::metadata(&path).is_ok_and(|metadata| metadata.len() + line.len() as u64 > ROTATED_AT) {
        fs_err::rename(&path, path.with_extension("jsonl.1"))?;
    }
    let mut file = fs_err::OpenOptions::new().append(true).create(true).open(&path)?;
    // One write: a line is there as a whole, or is the last one and torn.
    file.write_all(line.as_bytes())?;
    Ok(file.sync_data()?)
}

/// The JSON of a Report, as it is stored and printed.
pub fn json(report: &Report) -> Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

/// Stores a Report in /run, and durably where it says something new. A pass that had nothing to do says nothing new: so
/// the durable one still tells what was last done.
pub fn store(root: &Path, report: &Report) -> Result<()> {
    let text = json(report)?;
    file::replace(root, REPORT, text.as_bytes(), 0o644, None)?;
    let idle = report.done.is_empty();
    let same = |kept: Report| Report { done: Vec::new(), ..kept } == *report;
    if idle && read(root, KEPT_REPORT).ok().flatten().is_some_and(same) {
        return Ok(());
    }
    file::replace(root, KEPT_REPORT, text.as_bytes(), 0o644, None)?;
    Ok(())
}

/// A stored Report; `None` where there is none yet.
pub fn read(root: &Path, path: &str) -> Result<Option<Report>> {
    let Some(file) = file::read(root, path)? else { return Ok(None) };
    serde_json::from_str(&file.content).map(Some).with_context(|| format!("reading {path}"))
}
