//! The one runner of commands: no shell, a clean environment, a time limit, and the tail of stderr in errors.
//!
//! A command gets a process group of its own, so that what it started ends with it when the time is up.

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use profiles::ask::Ran;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a command may take that answers a question.
pub const ASK_LIMIT: Duration = Duration::from_secs(30);
/// How long a command may take that changes something.
pub const ACT_LIMIT: Duration = Duration::from_secs(600);

/// How long to go on reading, or waiting for the kernel, after the end: a daemon may hold the pipes for ever, and a
/// process that a dead disk holds in the kernel never dies.
const GRACE: Duration = Duration::from_secs(2);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most that is kept of each stream: the head of stdout, the tail of stderr.
const KEPT: usize = 4 << 20;
const KEPT_ERRORS: usize = 64 << 10;
const NO_SUCH_COMMAND: i32 = 127;
const KILLED: i32 = 128 + Signal::SIGKILL as i32;

/// Runs a command to its end, or kills it after `limit`. Never fails: `Ran::rc` tells, as `Ran` documents.
pub async fn run(argv: &[String], limit: Duration) -> Ran {
    let Some((program, arguments)) = argv.split_first() else {
        return Ran { rc: NO_SUCH_COMMAND, out: String::new(), err: "a command without a name".to_owned() };
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    match command.spawn() {
        Ok(child) => finish(child, limit).await,
        Err(error) => Ran { rc: NO_SUCH_COMMAND, out: String::new(), err: format!("{program}: {error}") },
    }
}

/// Runs a command that changes something; an error names it, how it ended and the end of what it said.
pub async fn act(argv: &[String]) -> Result<()> {
    let ran = run(argv, ACT_LIMIT).await;
    if ran.rc != 0 {
        bail!("`{}` ended with {}: {}", argv.join(" "), ran.rc, last_words(&ran));
    }
    Ok(())
}

/// The last lines of stderr, or of stdout where a command complains there.
fn last_words(ran: &Ran) -> String {
    let said = if ran.err.trim().is_empty() { ran.out.trim() } else { ran.err.trim() };
    if said.is_empty() {
        return "it said nothing".to_owned();
    }
    let lines: Vec<&str> = said.lines().rev().take(5).collect();
    let tail: Vec<&str> = lines.into_iter().rev().map(str::trim).collect();
    tail.join(" / ")
}

async fn finish(mut child: Child, limit: Duration) -> Ran {
    let group = child.id();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut status = None;
    {
        let mut reading = pin!(async { tokio::join!(keep_head(stdout, &mut out), keep_tail(stderr, &mut err)) });
        let mut read = false;
        let waiting = async {
            loop {
                tokio::select! {
                    _ = &mut reading, if !read => read = true,
                    ended = child.wait() => return ended.ok(),
                }
            }
        };
        match timeout(limit, waiting).await {
            Ok(ended) => status = ended,
            Err(_) => kill(group),
        }
        if !read {
            // Whoever still holds the pipes is not the command.
            let _ = timeout(GRACE, reading).await;
        }
    }
    let mut ran = Ran { rc: KILLED, out: text(out), err: text(err) };
    match status {
        Some(status) => ran.rc = code(status),
        None => {
            let _ = timeout(GRACE, child.wait()).await;
            ran.err.push_str(&format!("\nno end within {} s: killed", limit.as_secs_f32()));
        }
    }
    ran
}

fn kill(group: Option<u32>) {
    if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
        // It fails only where the group is gone by itself.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(KILLED)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads all, keeps the first `KEPT` bytes.
async fn keep_head(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    read_all(stream, |bytes| kept.extend_from_slice(&bytes[..bytes.len().min(KEPT - kept.len())])).await;
}

/// Reads all, keeps the last `KEPT_ERRORS` bytes.
async fn keep_tail(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    read_all(stream, |bytes| {
        kept.extend_from_slice(bytes);
        let surplus = kept.len().saturating_sub(KEPT_ERRORS);
        kept.drain(..surplus);
    })
    .await;
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        take(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[tokio::test]
    async fn output_errors_and_code_are_told_apart() {
        let ran = run(&argv(&["sh", "-c", "echo out; echo err >&2; exit 3"]), ASK_LIMIT).await;
        assert_eq!(ran, Ran { rc: 3, out: "out\n".to_owned(), err: "err\n".to_owned() });
    }

    #[tokio::test]
    async fn a_command_sees_nothing_of_our_environment() {
        let ran = run(&argv(&["env"]), ASK_LIMIT).await;
        let mut lines: Vec<&str> = ran.out.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C.UTF-8", &format!("PATH={PATH}")]);
    }

    #[tokio::test]
    async fn a_missing_command_and_a_signal_have_codes_of_their_own() {
        assert_eq!(run(&argv(&["there-is-no-such-command"]), ASK_LIMIT).await.rc, 127);
        assert_eq!(run(&argv(&["sh", "-c", "kill -TERM $$"]), ASK_LIMIT).await.rc, 128 + 15);
        assert_eq!(run(&[], ASK_LIMIT).await.rc, 127);
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
        let started = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 600 & echo $! > {}; wait", pids.display());
        let ran = run(&argv(&["sh", "-c", &script]), Duration::from_millis(500)).await;
        assert_eq!(ran.rc, KILLED);
        assert!(ran.err.contains("no end within 0.5 s"), "{}", ran.err);
        assert!(started.elapsed() < Duration::from_secs(20), "the time limit did not end the wait");
        let child: i32 = fs_err::read_to_string(&pids).unwrap().trim().parse().unwrap();
        let gone = || fs_err::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(Instant::now() < deadline, "the command's own child outlived it");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_pipes_is_not_waited_for() {
        let started = Instant::now();
        let ran = run(&argv(&["sh", "-c", "echo ready; setsid sleep 8 &"]), ASK_LIMIT).await;
        assert_eq!((ran.rc, ran.out.as_str()), (0, "ready\n"));
        assert!(started.elapsed() < Duration::from_secs(7), "the daemon was waited for");
    }

    #[tokio::test]
    async fn much_output_is_read_to_the_end_and_kept_in_part() {
        let ran = run(
            &argv(&["sh", "-c", "head -c 9000000 /dev/zero; head -c 9000000 /dev/zero >&2; echo end >&2"]),
            ASK_LIMIT,
        )
        .await;
        assert_eq!((ran.rc, ran.out.len(), ran.err.len()), (0, KEPT, KEPT_ERRORS));
        assert!(ran.err.ends_with("end\n"));
    }

    #[tokio::test]
    async fn an_act_that_fails_says_how_and_with_which_last_words() {
        let error = act(&argv(&["sh", "-c", "echo one; for n in 2 3 4 5 6 7; do echo $n >&2; done; exit 9"])).await;
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("ended with 9: 3 / 4 / 5 / 6 / 7"), "{text}");
        let quiet = act(&argv(&["false"])).await.unwrap_err().to_string();
        assert_eq!(quiet, "`false` ended with 1: it said nothing");
    }
}
