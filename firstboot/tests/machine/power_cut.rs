//! A firstboot that is killed at any moment, and started again.

use crate::parts::{apply, file, puts};
use profiles::part::Part;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;

const ROOT: &str = "FIRSTBOOT_TEST_ROOT";
const FILES: usize = 60;

fn content(number: usize) -> String {
    format!("{number}\n").repeat(20_000)
}

fn wanted() -> Vec<Box<dyn Part>> {
    let folder = |part: usize| (0..FILES / 3).map(move |n| file(&format!("/{part}/{n}"), &content(n))).collect();
    vec![puts("one", &[], folder(1)), puts("two", &["one"], folder(2)), puts("three", &["two"], folder(3))]
}

/// What the test below starts and kills: one pass over the folder that the environment names.
#[tokio::test]
#[ignore = "it is started by the test that kills it"]
async fn worker() {
    let root = PathBuf::from(std::env::var(ROOT).expect("started by the test below"));
    let (outcome, _) = apply(&root, &wanted()).await;
    assert!(outcome.plan.ready(), "{outcome:?}");
}

fn worker_command(root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "power_cut::worker"])
        .env(ROOT, root)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Files that are there under their final names: each has to be whole.
fn whole_files(root: &Path) -> usize {
    let mut count = 0;
    for part in 1..=3 {
        for number in 0..FILES / 3 {
            if let Ok(text) = fs_err::read_to_string(root.join(format!("{part}/{number}"))) {
                assert_eq!(text, content(number), "a torn file under its final name");
                count += 1;
            }
        }
    }
    count
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_whole_files_and_the_next_one_completes_it() {
    let started = Instant::now();
    let full = tempdir().unwrap();
    assert!(worker_command(full.path()).status().unwrap().success());
    let takes = started.elapsed();
    let mut in_the_middle = 0;
    for cut in 1..=12 {
        let root = tempdir().unwrap();
        let mut worker = worker_command(root.path()).spawn().unwrap();
        let deadline = Instant::now() + takes * cut / 12;
        while Instant::now() < deadline && worker.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        let left = whole_files(root.path());
        in_the_middle += usize::from((1..FILES).contains(&left));
        assert!(worker_command(root.path()).status().unwrap().success(), "the run after cut {cut} failed");
        assert_eq!(whole_files(root.path()), FILES);
        for part in 1..=3 {
            assert_eq!(fs_err::read_dir(root.path().join(part.to_string())).unwrap().count(), FILES / 3);
        }
    }
    assert!(in_the_middle > 0, "no cut came while files were written");
}
