//! Waiting for one's turn at a file that another mimg has locked, and saying whose turn it is.

use crate::progress::Progress;
use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Most waits are over by then, and not worth a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Locks `file`. While another process has it, waits, and after two seconds says for whom; `doing` is what that one
/// does with the file, such as "writes nuc.img".
pub fn take(file: &File, doing: &str, progress: &Progress) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => return Err(error).context("locking a file in the cache"),
        }
    }
    let holder = holder(file).unwrap_or_else(|| "another process".to_owned());
    progress.say(&format!("waiting for {holder}, which {doing}"));
    file.lock().context("locking a file in the cache")
}

/// Who has locked the file: "process 4711 (mimg build --profile nuc)". The kernel knows, so nothing has to be written down
/// that a killed process could leave wrong.
fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = pid_of(&locks, inode)?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(match shown(&command) {
        command if command.is_empty() => format!("process {pid}"),
        command => format!("process {pid} ({command})"),
    })
}

/// The holder of the flock on an inode, in the lines of /proc/locks:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1310930 0 EOF`. The device is not compared: file systems with subvolumes
/// show another one here than stat does.
fn pid_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { return None };
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        if same { pid.parse().ok() } else { None }
    })
}

/// A command line as a person would write it, roughly: the program without its folder, and no more than a line.
fn shown(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    let mut words = text.split('\0').filter(|word| !word.is_empty());
    let program = words.next().map(|program| program.rsplit('/').next().unwrap_or(program));
    let line = program.into_iter().chain(words).collect::<Vec<_>>().join(" ");
    let plain: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
    if plain.len() < line.len() { plain + "…" } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_known_by_its_pid_and_command() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(holder(&file), None);
        file.lock().expect("locking it");
        let said = holder(&file).expect("a holder");
        assert!(said.starts_with(&format!("process {} (", std::process::id())), "{said}");
    }

    #[test]
    fn only_the_flock_on_that_very_inode_counts() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 2 fe:00:177 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 3 00:1f:77 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 4 00:1f:77 0 EOF\n";
        assert_eq!(pid_of(locks, 77), Some(3));
        assert_eq!(pid_of(locks, 7), None);
    }

    #[test]
    fn a_command_is_shown_as_it_was_typed() {
        assert_eq!(shown(b"/usr/bin/mimg\0build\0--all\0"), "mimg build --all");
        assert_eq!(shown(b""), "");
    }
}
