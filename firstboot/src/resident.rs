//! The resident mode: passes at boot, on events, and by the clock.
//!
//! ```text
//! start --> pass --refused--> end with 3: the unit fails, what is ordered after it goes on, systemd starts it again
//!            |  \--else-----> READY=1, STATUS=
//!            |
//!            +<-- not ready: event, SIGHUP or 30 s; applies
//!            |
//!          ready --> /run/mimg/ready, mimg-ready.target
//!            |
//!            +<-- SIGHUP or 10 min; observes and reports drift, `firstboot apply` applies it
//! ```
//!
//! Nothing that is ordered after firstboot.service waits for ever: its start job ends with READY=1, with the end of a
//! process that refused, or with the time limit that each step pushes on. A refusal has to end the process, since a
//! Type=notify unit has no other way to say "not READY" and let the boot go on. Once READY was said, a refusal is only
//! reported.

use crate::apply::{Agreed, Witness};
use crate::console::{self, Console};
use crate::event::{Labels, Signals};
use crate::file;
use crate::log::Log;
use crate::machine::Machine;
use crate::pass::{Ended, Extent, pass};
use crate::place::{READY, READY_TARGET};
use anyhow::{Context, Result};
use profiles::act::Verb;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

const WHILE_NOT_READY: Duration = Duration::from_secs(30);
const WHILE_READY: Duration = Duration::from_secs(600);
/// Events come in bursts: one pass for all of them.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// Passes without end. Returns the exit code where a pass refused before READY was ever said.
pub async fn run(machine: &Machine) -> Result<u8> {
    let mut resident = Resident::new(machine).await?;
    loop {
        let labels = Labels::watch(machine.root())?;
        let ended = resident.turn().await?;
        if !resident.said_ready {
            return Ok(ended.report.code());
        }
        resident.wait(&ended, &labels).await?;
    }
}

struct Resident<'a> {
    machine: &'a Machine,
    console: Console,
    signals: Signals,
    hangup: Signal,
    said_ready: bool,
    target_started: bool,
}

impl<'a> Resident<'a> {
    async fn new(machine: &'a Machine) -> Result<Self> {
        Ok(Resident {
            machine,
            console: Console::new(machine.root()),
            signals: Signals::subscribe(machine.systemd()).await?,
            hangup: signal(SignalKind::hangup())?,
            said_ready: false,
            target_started: false,
        })
    }

    /// One pass, and what follows from it.
    async fn turn(&mut self) -> Result<Ended> {
        // A firstboot that was started anew in the same boot does not begin to apply again.
        let was_ready = file::read(self.machine.root(), READY)?.is_some();
        let mut log = Log { root: self.machine.root().to_owned(), resident: true };
        let extent = if was_ready { Extent::Report } else { Extent::Apply };
        let ended = pass(self.machine, extent, Agreed::Spec, &mut log as &mut dyn Witness).await?;
        self.console.show(&ended.report, &ended.unanswered).await?;
        let status = console::status(&ended.report);
        let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
        if !self.said_ready && !ended.report.plan.refused() {
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            self.said_ready = true;
        }
        if ended.report.ready && !self.target_started {
            self.start_target().await;
        }
        Ok(ended)
    }

    /// The file first: the target asserts it. Where systemd does not take the job, the next pass tries again.
    async fn start_target(&mut self) {
        let started = async {
            file::replace(self.machine.root(), READY, b"", 0o644, None)?;
            self.machine.systemd().drive(READY_TARGET, Verb::Start).await
        };
        match started.await {
            Ok(()) => self.target_started = true,
            Err(error) => console::warn(format!("{error:#}")),
        }
    }

    async fn wait(&mut self, ended: &Ended, labels: &Labels) -> Result<()> {
        let settled = ended.report.ready && self.target_started;
        // A step that failed may have caused an event itself: it is tried again by the clock alone.
        let listens = !settled && ended.report.failure.is_none();
        let limit = if settled { WHILE_READY } else { WHILE_NOT_READY };
        tokio::select! {
            () = sleep(limit) => {}
            _ = self.hangup.recv() => {}
            event = self.signals.next(&ended.units), if listens => {
                event.context("listening to systemd")?;
                sleep(SETTLES_WITHIN).await;
            }
            event = labels.changed(), if ended.report.node.is_none() => {
                event?;
                sleep(SETTLES_WITHIN).await;
            }
        }
        Ok(())
    }
}
