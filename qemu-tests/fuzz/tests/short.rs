//! Every reader of outside data, on what is in its corpus and on mutations of it: the same ones each time.

use fuzz::{TARGETS, Target};
use nix::sys::resource::{Resource, setrlimit};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Mutations of each corpus, for readers that are quick and for those that are not.
const QUICK: usize = 20_000;
const SLOW: usize = 500;
/// What all readers at once may have in memory, in bytes: who asks for more is ended.
const MEMORY: u64 = 2 << 30;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has nothing to begin with", target.name);
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Bytes with up to eight changes, some of them taken from others.
fn mutated(bytes: &[u8], other: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.usize(..8) {
        let at = dice.usize(..=bytes.len());
        let end = (at + dice.usize(..64)).min(bytes.len());
        match dice.u8(..8) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.u8(..8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.u8(..)),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].repeat(dice.usize(1..9));
                drop(bytes.splice(at..at, again));
            }
            4 => {
                let from = dice.usize(..=other.len());
                let to = (from + dice.usize(..64)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            5 => bytes.truncate(at),
            6 => {
                let odd = dice.choice([
                    &b"\0"[..],
                    b"\n",
                    b"\n\n",
                    b" ",
                    b"\xff\xff\xff\xff",
                    b"99999999999999999999",
                    b"..",
                    b"/",
                    "\u{85}".as_bytes(),
                ]);
                drop(bytes.splice(at..at, odd.unwrap_or_default().iter().copied()));
            }
            _ => drop(bytes.splice(at..end, vec![dice.u8(..); end - at])),
        }
    }
    bytes
}

/// One execution. Bytes that make it panic are kept where they can be looked at.
fn run(target: &Target, bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{what}", target.name));
        fs::write(&kept, bytes).unwrap();
        eprintln!("{} failed: put {} into qemu-tests/fuzz/corpus/{0}/", target.name, kept.display());
        std::panic::resume_unwind(panic);
    }
}

fn run_all(target: &Target, mut told: impl FnMut(String)) {
    let corpus = corpus(target);
    for (path, bytes) in &corpus {
        told(format!("{}", path.display()));
        run(target, bytes, "corpus");
    }
    let mut dice = fastrand::Rng::with_seed(42);
    for n in 0..if target.is_slow { SLOW } else { QUICK } {
        told(format!("mutation {n} of {}", target.name));
        let (one, other) = (dice.usize(..corpus.len()), dice.usize(..corpus.len()));
        run(target, &mutated(&corpus[one].1, &corpus[other].1, &mut dice), &format!("mutation-{n}"));
    }
}

#[test]
fn no_bytes_from_outside_make_a_reader_panic_hang_or_swell() {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).unwrap();
    let patience = Duration::from_secs(120);
    for target in TARGETS {
        let (tell, hear) = channel();
        let reader = std::thread::spawn(move || run_all(target, |now| tell.send(now).unwrap_or_default()));
        let mut last = "nothing".to_owned();
        loop {
            match hear.recv_timeout(patience) {
                Ok(now) => last = now,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}: no answer for {patience:?} at {last}", target.name),
            }
        }
        assert!(reader.join().is_ok(), "{} failed at {last}", target.name);
    }
}
