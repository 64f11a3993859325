//! A machine that runs.

use super::agent::{Agent, Output};
use super::process::Process;
use super::qmp::Qmp;
use super::{Vm, console, wait_until};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How many of the console's last lines stand in an error.
const TAIL: usize = 25;

/// A running machine. Dropping it kills it; if a test is failing at that moment, the console's tail is printed.
pub struct Running {
    pub(super) vm: Vm,
    pub(super) process: Process,
    pub(super) qmp: Qmp,
    pub(super) agent: Agent,
    console: File,
}

impl Running {
    pub(super) fn new(vm: Vm, process: Process, qmp: Qmp, agent: Agent, console: File) -> Running {
        Running { vm, process, qmp, agent, console }
    }

    /// QEMU's process id, which is its process group's as well.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs `command` in a root shell of the guest (its own `sh`, no terminal, nothing on stdin), for at most a minute
    /// times `patience`. Waits first, for up to three, until the guest has booted far enough to take commands.
    pub fn shell(&mut self, command: &str) -> Result<Output> {
        self.shell_within(command, Duration::from_secs(60))
    }

    /// `shell` for a command that may take `limit` (times `patience`).
    pub fn shell_within(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.wait_for_shell(Duration::from_secs(180))?;
        let answer = self.agent.run(command, limit.mul_f64(super::patience()));
        answer.map_err(|error| self.explained(error))
    }

    /// Waits until the guest takes commands: a few seconds after systemd's start, before udev and the file systems.
    pub fn wait_for_shell(&mut self, limit: Duration) -> Result<()> {
        self.wait_for("a shell in the guest", limit, |vm| {
            let ready = vm.agent.is_ready()?;
            Ok(if ready { ControlFlow::Break(()) } else { ControlFlow::Continue("its agent is silent".to_owned()) })
        })
    }

    /// Waits until systemd has no job of the boot left, and returns its state: "running", or "degraded" where a unit
    /// failed. The error lists the jobs that are left. (One command waits in the guest: asking again and again would
    /// slow the boot down.)
    pub fn wait_for_boot(&mut self, limit: Duration) -> Result<String> {
        let state = self.shell_within("systemctl is-system-running --wait", limit)?.out.trim().to_owned();
        if matches!(state.as_str(), "running" | "degraded") {
            return Ok(state);
        }
        let jobs = self.shell("systemctl is-system-running; systemctl list-jobs --no-legend --plain")?.out;
        Err(self.explained(anyhow!("waited {} s for the end of the boot; systemd says:\n{jobs}", limit.as_secs())))
    }

    /// Waits until the console has shown `text`.
    pub fn wait_for_console(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait_for(&format!("{text:?} on the console"), limit, |vm| {
            let shown = vm.console().contains(text);
            Ok(if shown { ControlFlow::Break(()) } else { ControlFlow::Continue("it was not shown".to_owned()) })
        })
    }

    /// Looks at `condition` until it breaks with a value. An error has the condition's last reason and the console's
    /// tail; a machine that ends meanwhile is one at once.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Running) -> Result<ControlFlow<T, String>>,
    ) -> Result<T> {
        let waited = wait_until(what, limit, || match self.process.ended()? {
            Some(status) => Err(anyhow!("the machine ended ({status}) during the wait for {what}")),
            None => condition(self),
        });
        waited.map_err(|error| self.explained(error))
    }

    /// Waits until the machine has ended by itself.
    pub fn wait_for_end(mut self, limit: Duration) -> Result<()> {
        let process = &mut self.process;
        let ended = wait_until("the machine's end", limit, || {
            Ok(match process.ended()? {
                Some(status) if status.success() => ControlFlow::Break(()),
                Some(status) => bail!("QEMU ended with {status}"),
                None => ControlFlow::Continue("it still runs".to_owned()),
            })
        });
        ended.map_err(|error| self.explained(error))
    }

    /// All that the serial console has shown, without what paints a terminal.
    pub fn console(&self) -> String {
        console::plain(&console::read(&self.console))
    }

    /// Writes what the screen shows to the PNG file `path`.
    pub fn screen(&mut self, path: &Path) -> Result<()> {
        self.qmp("screendump", json!({"filename": path, "format": "png"}))?;
        Ok(())
    }

    /// Runs a QMP command, such as `query-block`.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let answer = self.qmp.execute(command, arguments);
        answer.map_err(|error| self.explained(error))
    }

    /// Runs a command of QEMU's human monitor and returns what it printed.
    pub fn monitor(&mut self, line: &str) -> Result<String> {
        let said = self.qmp("human-monitor-command", json!({"command-line": line}))?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// Shuts down from within, as `systemctl poweroff` does, and waits for the end.
    pub fn power_off(mut self) -> Result<()> {
        self.shell("systemctl --no-block poweroff")?.success().context("powering off")?;
        self.wait_for_end(Duration::from_secs(90))
    }

    /// Cuts the power. What reached QEMU is in the disks' files and write logs, whether or not the guest flushed it: what
    /// a real disk would have kept is for the write log's reader to say.
    pub fn cut(mut self) -> Result<()> {
        let Running { vm, process, .. } = &mut self;
        process.cut().with_context(|| format!("cutting the power of {}", vm.name))
    }

    /// The error with what QEMU said, and the last lines of the console.
    pub(super) fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = format!("{}: {error:#}", self.vm.name);
        let said = self.process.errors();
        if !said.is_empty() {
            text += &format!("\nQEMU said:\n{}", console::tail(&said, 5));
        }
        anyhow!("{text}\nThe console's last lines:\n{}", console::tail(&self.console(), TAIL))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The console of {} at the end:\n{}", self.vm.name, console::tail(&self.console(), TAIL));
        }
    }
}
