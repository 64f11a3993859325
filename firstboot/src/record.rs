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

#[cfg(test)]
mod tests {
    use super::*;
    use profiles::act::Act;
    use profiles::plan::Plan;
    use profiles::spec::Spec;
    use std::os::unix::fs::MetadataExt;
    use tempfile::{TempDir, tempdir};

    fn step() -> Step {
        Step::new(Act::run(&["true"]), "it is false")
    }

    fn report(done: Vec<Step>, failure: Option<&str>) -> Report {
        let spec = Spec { format: 1, fleet: None, node: None, profile: "nuc".to_owned(), settings: Default::default() };
        let failure = failure.map(str::to_owned);
        Report { done, failure, plan: Plan::default(), ..Report::new(&spec, "/spec.json", "1") }
    }

    fn inode(root: &TempDir, path: &str) -> u64 {
        fs_err::metadata(root.path().join(&path[1..])).unwrap().ino()
    }

    #[test]
    fn a_record_is_a_line_for_each_step_with_its_time_and_error() {
        let root = tempdir().unwrap();
        append(root.path(), "one", &step(), &Ok(())).unwrap();
        append(root.path(), "two", &step(), &Err(anyhow::anyhow!("a\nb").context("doing it"))).unwrap();
        let text = fs_err::read_to_string(root.path().join(&RECORD[1..])).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0]["part"].as_str(), lines[0]["did"].as_str()), (Some("one"), Some("run true")));
        assert_eq!(
            (&lines[0]["error"], lines[1]["error"].as_str()),
            (&serde_json::Value::Null, Some("doing it: a\nb"))
        );
        let time: Timestamp = lines[0]["time"].as_str().unwrap().parse().unwrap();
        assert!(Timestamp::now().as_second() - time.as_second() < 60);
    }

    #[test]
    fn a_full_record_is_put_aside_and_only_one_is_kept() {
        let root = tempdir().unwrap();
        let folder = root.path().join("var/lib/mimg");
        append(root.path(), "one", &step(), &Ok(())).unwrap();
        for _ in 0..2 {
            fs_err::write(folder.join("record.jsonl"), vec![b'x'; ROTATED_AT as usize]).unwrap();
            append(root.path(), "one", &step(), &Ok(())).unwrap();
        }
        assert!(fs_err::metadata(folder.join("record.jsonl")).unwrap().len() < 1000);
        assert_eq!(fs_err::metadata(folder.join("record.jsonl.1")).unwrap().len(), ROTATED_AT);
        assert_eq!(fs_err::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn the_durable_report_is_written_when_it_says_something_new() {
        let root = tempdir().unwrap();
        store(root.path(), &report(vec![step()], None)).unwrap();
        let first = inode(&root, KEPT_REPORT);
        store(root.path(), &report(vec![], None)).unwrap();
        assert_eq!(inode(&root, KEPT_REPORT), first, "an idle pass wrote to the disk");
        assert_eq!(read(root.path(), KEPT_REPORT).unwrap().unwrap().done, [step()]);
        assert_eq!(read(root.path(), REPORT).unwrap().unwrap().done, []);
        store(root.path(), &report(vec![], Some("it broke"))).unwrap();
        assert_eq!(read(root.path(), KEPT_REPORT).unwrap().unwrap().failure.as_deref(), Some("it broke"));
    }

    #[test]
    fn a_torn_report_does_not_keep_a_new_one_from_being_stored() {
        let root = tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("var/lib/mimg")).unwrap();
        fs_err::write(root.path().join(&KEPT_REPORT[1..]), "{\"format\"").unwrap();
        assert!(read(root.path(), KEPT_REPORT).is_err());
        store(root.path(), &report(vec![], None)).unwrap();
        assert!(read(root.path(), KEPT_REPORT).unwrap().is_some());
    }
}
