//! One QEMU: a process group of its own that ends with its owner, however that one ends.

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A child that leads its process group. Dropping it kills the group and waits for its end.
pub(super) struct Process {
    child: Child,
    stderr: File,
}

/// A command to start, and where the child is to be sent.
type Order = (Command, Sender<std::io::Result<Child>>);

impl Process {
    /// Starts `command`, which inherits `inherited` under their numbers, and nothing else but a stderr that is kept.
    pub fn start(mut command: Command, inherited: Vec<OwnedFd>) -> Result<Process> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let stderr = tempfile::tempfile().context("making a file for a child's errors")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?).process_group(0);
        tie(&mut command, inherited);
        let child = launch(command).with_context(|| format!("starting {shown}"))?;
        Ok(Process { child, stderr })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("asking for the state of QEMU")
    }

    /// What it has said on stderr so far.
    pub fn errors(&self) -> String {
        super::console::read(&self.stderr).trim().to_owned()
    }

    /// Kills the group with SIGKILL and waits.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.signal(Signal::SIGKILL)?;
            self.child.wait().context("waiting for the end of QEMU")?;
        }
        Ok(())
    }

    /// Kills it between two writes: SIGKILL tears a write that a thread is in, SIGSTOP lets it finish. QMP's `stop` would
    /// do so too, but flushes all disks, which no power cut does.
    pub fn cut(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let id = self.id();
        super::wait_until("QEMU's threads to stop", Duration::from_secs(10), || {
            let running = running_threads(id)?;
            let reason = format!("{running} of its threads still run");
            Ok(if running == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(reason) })
        })?;
        self.kill()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.child.id()).context("reading a process id")?);
        killpg(group, signal).with_context(|| format!("sending {signal} to QEMU"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("warning: a machine may be left running: {error:#}");
        }
    }
}

/// How many threads of the process `id` are not stopped.
fn running_threads(id: u32) -> Result<usize> {
    let mut running = 0;
    for thread in fs_err::read_dir(format!("/proc/{id}/task"))? {
        // A thread that has ended since has no file any more. Its state follows its name, which is in parentheses.
        let stat = fs_err::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        running += usize::from(state.is_some_and(|state| state != 'T'));
    }
    Ok(running)
}

/// Makes the child keep `inherited`, and end with this process.
fn tie(command: &mut Command, inherited: Vec<OwnedFd>) {
    let parent = getpid();
    let prepare = move || {
        // Cleared here and not in the parent, where another thread's child would get them too.
        for fd in &inherited {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the signal was asked for.
        if getppid() == parent { Ok(()) } else { Err(std::io::Error::other("the parent is gone")) }
    };
    // SAFETY: between fork and exec only system calls are made; nothing allocates or locks on the way that succeeds.
    unsafe { command.pre_exec(prepare) };
}

/// Starts the child from one thread that lives as long as the process: the kernel sends the parent's death signal when
/// the *thread* that forked ends, and a test's thread ends long before a machine it shares with others.
fn launch(command: Command) -> std::io::Result<Child> {
    static LAUNCHER: OnceLock<Sender<Order>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, waiting) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in waiting {
                // A receiver that is gone has lost interest; the child, if any, is reaped by the kernel at our end.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let gone = |_| std::io::Error::other("the thread that starts children is gone");
    let (answer, child) = channel();
    launcher.send((command, answer)).map_err(|_| std::io::Error::other("the thread that starts children is gone"))?;
    child.recv().map_err(gone)?
}
