//! A machine's whole state in a folder, from which any number of machines go on.

use super::{Disk, Running, Vm, arguments};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// A machine that stopped between two instructions. Its disks' files are part of the state: nobody may write to them.
#[derive(Clone, Debug)]
pub struct Saved {
    vm: Vm,
    state: PathBuf,
    /// Whether the guest's agent listened.
    listening: bool,
}

impl Running {
    /// Saves the machine's state into the new file `state`, and ends it. Each disk must keep its writes, as an overlay
    /// does, and have no write log. Best taken when the guest is quiet.
    pub fn save(mut self, state: impl Into<PathBuf>) -> Result<Saved> {
        let state = state.into();
        if let Some(disk) = self.vm.disks.iter().find(|disk| disk.forgets || disk.log.is_some()) {
            bail!("the disk {} keeps no writes of its own: a saved state needs an overlay", disk.path.display());
        }
        let listening = self.agent.is_ready()?;
        self.freeze()?;
        let uri = format!("exec:cat >{}", arguments::quoted(&state)?);
        self.qmp("migrate", json!({"uri": uri}))?;
        self.wait_for("the saved state", Duration::from_secs(60), |vm| migrated(vm.qmp("query-migrate", json!({}))?))?;
        self.qmp("quit", json!({}))?;
        let vm = self.vm.clone();
        self.wait_for_end(Duration::from_secs(30))?;
        Ok(Saved { vm, state, listening })
    }
}

fn migrated(answer: Value) -> Result<ControlFlow<(), String>> {
    match answer["status"].as_str() {
        Some("completed") => Ok(ControlFlow::Break(())),
        Some("failed" | "cancelled") => bail!("QEMU saved no state: {answer}"),
        other => Ok(ControlFlow::Continue(format!("QEMU is at {}", other.unwrap_or("nothing")))),
    }
}

impl Saved {
    /// Starts a machine from here. What it writes is forgotten when it stops. Its clock goes on from the moment of
    /// saving, and its network addresses are the saved machine's.
    pub fn start(&self) -> Result<Running> {
        let forgetful = |disk: &Disk| Disk { forgets: true, ..disk.clone() };
        let vm = Vm { disks: self.vm.disks.iter().map(forgetful).collect(), ..self.vm.clone() };
        let mut running = vm.launch(Some(&self.state)).context("starting from a saved state")?;
        running.agent.resume(self.listening);
        running.wait_for("the saved state", Duration::from_secs(60), |vm| {
            let status = vm.qmp("query-status", json!({}))?;
            Ok(match status["status"].as_str() {
                Some("inmigrate") => ControlFlow::Continue("QEMU still reads it".to_owned()),
                _ => ControlFlow::Break(()),
            })
        })?;
        running.thaw()?;
        Ok(running)
    }
}
