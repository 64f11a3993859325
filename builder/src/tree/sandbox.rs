//! Commands run inside a tree, where they see nothing of the host: no process, no network, no device but the
//! harmless ones, nothing of the host's files; killed with their caller.
//!
//! ```text
//! mimg ── keeper ── reaper (pid 1 in its namespace) ── the command
//! ```
//! The keeper waits, the reaper sets the namespace up and collects orphans. Each dies with the one before it, and
//! the namespaces' mounts and processes go with the reaper: a killed mimg leaves nothing.

mod cage;
mod identity;
mod quiet;

pub use identity::become_root;

use anyhow::{Context, Result, bail};
use cage::Cage;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How commands are run in one tree.
#[derive(Clone)]
pub struct Sandbox {
    root: PathBuf,
    binds: Vec<Bind>,
    environment: Vec<(String, String)>,
}

/// A file or directory of the host shown in the sandbox, at a path below /run or /tmp (which are empty there).
#[derive(Clone)]
pub struct Bind {
    /// On the host.
    pub from: PathBuf,
    /// In the sandbox, below /run or /tmp; made there.
    pub to: PathBuf,
    /// Whether it may be written to.
    pub write: bool,
}

/// What a command that succeeded wrote.
#[derive(Debug)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Lines of a failed command's output that its error shows.
const TAIL: usize = 25;

impl Sandbox {
    /// A sandbox in the tree `root`, which has the directories proc, dev, run and tmp. `epoch` (seconds) becomes
    /// SOURCE_DATE_EPOCH.
    pub fn new(root: &Path, epoch: i64) -> Sandbox {
        let environment = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("TZ", "UTC"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("DEBCONF_NOWARNINGS", "yes"),
            ("SYSTEMD_OFFLINE", "1"),
            ("PYTHONHASHSEED", "0"),
            ("PERL_HASH_SEED", "0"),
            ("SOURCE_DATE_EPOCH", &epoch.to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Sandbox { root: root.to_owned(), binds: Vec::new(), environment }
    }

    /// Shows `from` of the host at `to`, below /run or /tmp; for writing too if `write`.
    pub fn bind(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>, write: bool) -> Sandbox {
        self.binds.push(Bind { from: from.into(), to: to.into(), write });
        self
    }

    /// Sets one more variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Sandbox {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command to its end, without input. A failure's error ends with the tail of what it wrote.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        let (program, arguments) = argv.split_first().context("running an empty command")?;
        let cage = Cage::plan(&self.root, &self.binds)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec `enter` only makes system calls on memory prepared by `plan`.
        unsafe { command.pre_exec(move || cage.enter()) };
        let output = command.output().with_context(|| format!("running {program} in the tree"))?;
        if output.status.success() {
            return Ok(Output { stdout: output.stdout, stderr: output.stderr });
        }
        let how = match (output.status.code(), output.status.signal()) {
            (Some(code), _) if code > 128 => format!("was killed by signal {}", code - 128),
            (Some(code), _) => format!("failed with exit code {code}"),
            (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
        };
        bail!("{} {how} in the tree; it wrote:\n{}", argv.join(" "), tail(&output.stdout, &output.stderr));
    }
}

impl Output {
    /// What it wrote to stdout, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

fn tail(stdout: &[u8], stderr: &[u8]) -> String {
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("  {line}\n")).collect::<String>()
    };
    let shown = last(stdout) + &last(stderr);
    if shown.is_empty() { "  (nothing)".to_owned() } else { shown.trim_end().to_owned() }
}
