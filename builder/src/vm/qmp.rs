//! QEMU's own control channel (QMP): one JSON object a line, over a socket pair that has no name in the file system.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// QEMU answers at once; a migration or a saved state is waited for by asking again.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
    next: u64,
}

impl Qmp {
    /// Takes the greeting and leaves the negotiation mode.
    pub fn greet(stream: UnixStream) -> Result<Qmp> {
        stream.set_read_timeout(Some(LONGEST.mul_f64(super::patience()))).context("preparing QMP")?;
        let mut qmp = Qmp { reader: BufReader::new(stream), next: 0 };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greeted with {greeting}: a QMP greeting was expected");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns what it returned. Events in between are skipped: states are asked for, not recorded.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.next += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": self.next});
        writeln!(self.reader.get_mut(), "{request}").with_context(|| format!("sending {command} to QEMU"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("waiting for QEMU's answer to {command}"))?;
            if answer.get("id").and_then(Value::as_u64) != Some(self.next) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {request}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
            return Ok(answer["return"].take());
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).context("reading from QEMU")? == 0 {
            bail!("QEMU closed its control channel");
        }
        serde_json::from_str(&line).with_context(|| format!("reading QEMU's answer {line:?}"))
    }
}
