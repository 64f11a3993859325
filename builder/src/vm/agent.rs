//! Commands in a machine, without a network and without changing its image.
//!
//! systemd in the guest reads credentials from SMBIOS (type 11, OEM strings) and makes units of those named
//! `systemd.extra-unit.*` (systemd 256 and newer). One such unit runs `agent.sh` on a virtio-serial port, early: it waits
//! for neither udev nor the file systems.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What a command answered. `rc` is 124 when it ran out of time, above 128 when a signal ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub rc: i32,
    pub out: String,
    pub err: String,
}

impl Output {
    /// What it wrote to stdout, if it succeeded.
    pub fn success(self) -> Result<String> {
        if self.rc == 0 { Ok(self.out) } else { bail!("it ended with {}: {}", self.rc, self.err.trim()) }
    }
}

/// QEMU's arguments that bring the agent into the guest.
pub(super) fn credentials() -> [String; 4] {
    let unit = unit();
    let wanted = "[Unit]\nWants=mimg-control.service\n";
    let credential = |name: &str, text: &str| {
        format!("type=11,value=io.systemd.credential.binary:{name}={}", BASE64_STANDARD.encode(text))
    };
    let smbios = || "-smbios".to_owned();
    [
        smbios(),
        credential("systemd.extra-unit.mimg-control.service", &unit),
        smbios(),
        credential("systemd.unit-dropin.sysinit.target", wanted),
    ]
}

/// Outputs go nowhere: the journal's socket would be one more thing to wait for.
fn unit() -> String {
    let script = BASE64_STANDARD.encode(include_str!("agent.sh"));
    format!(
        "[Unit]
Description=Control of this machine by the test that started it
DefaultDependencies=no
IgnoreOnIsolate=yes
[Service]
ExecStart=/bin/sh
StandardInput=data
StandardInputData={script}
StandardOutput=null
StandardError=null
RuntimeDirectory=mimg-control
Environment=HOME=/root
Restart=always
RestartSec=1
OOMScoreAdjust=-1000
"
    )
}

/// The host's end of the port.
pub(super) struct Agent {
    stream: UnixStream,
    received: Vec<u8>,
    ready: bool,
    next: u64,
}

impl Agent {
    pub fn new(stream: UnixStream) -> Agent {
        Agent { stream, received: Vec::new(), ready: false, next: 0 }
    }

    /// Whether the guest's end has said that it listens; takes in what has come, without waiting for more.
    pub fn is_ready(&mut self) -> Result<bool> {
        while let Some(line) = self.line(Instant::now())? {
            self.ready |= line.starts_with("ready ");
        }
        Ok(self.ready)
    }

    /// After a reset the guest says anew that it listens; after the return to a saved state it does not.
    pub fn resume(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Runs `command` in a root shell. The guest ends it after `limit`; a guest that does not even do that is an error
    /// some time later.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.next += 1;
        let request = format!("{} {} {}\n", self.next, limit.as_secs().max(1), BASE64_STANDARD.encode(command));
        self.stream.set_write_timeout(Some(limit + Duration::from_secs(30))).context("preparing the control port")?;
        self.stream.write_all(request.as_bytes()).context("sending a command to the guest")?;
        let deadline = Instant::now() + limit + Duration::from_secs(30);
        let id = format!("{} ", self.next);
        while let Some(line) = self.line(deadline)? {
            if line.starts_with("ready ") {
                bail!("the machine, or its agent, started again while {command:?} ran");
            }
            if let Some(answer) = line.strip_prefix(&id) {
                return parse(answer).with_context(|| format!("reading the answer to {command:?}"));
            }
        }
        bail!("no answer from the guest to {command:?} within {:.0} s", (limit + Duration::from_secs(30)).as_secs_f64())
    }

    /// The next whole line that has come by `deadline`.
    fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line = self.received.drain(..=end).collect::<Vec<_>>();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).context("preparing the control port")?;
            let mut chunk = [0; 1 << 16];
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("QEMU closed the control port: the machine has ended"),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading from the control port"),
            }
        }
    }
}

/// `RC BASE64(out) BASE64(err)`.
fn parse(answer: &str) -> Result<Output> {
    let fields: Vec<&str> = answer.split(' ').collect();
    let [rc, out, err] = fields[..] else { bail!("it has {} fields: 3 were expected", fields.len()) };
    let text = |field: &str| -> Result<String> {
        let bytes = BASE64_STANDARD.decode(field).context("reading an output")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Output { rc: rc.parse().context("reading an exit code")?, out: text(out)?, err: text(err)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_empty_outputs_is_whole() {
        assert_eq!(parse("0  ").unwrap(), Output { rc: 0, out: String::new(), err: String::new() });
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        assert!(parse("0 aGk=").is_err());
        assert!(parse("0 aGk aGk=").is_err());
    }

    #[test]
    fn an_answer_to_an_earlier_command_is_not_taken_for_this_one() {
        let (host, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"\nready x\n7 0 bGF0ZQ== \n1 3 aGk= bm8=\n").unwrap();
        let mut agent = Agent::new(host);
        assert!(agent.is_ready().unwrap());
        guest.write_all(b"0 0 bGF0ZQ== \n1 3 aGk= bm8=\n").unwrap();
        let output = agent.run("true", Duration::from_secs(1)).unwrap();
        assert_eq!(output, Output { rc: 3, out: "hi".to_owned(), err: "no".to_owned() });
    }

    #[test]
    fn a_guest_that_starts_again_ends_the_wait_for_its_answer() {
        let (host, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"\nready x\n").unwrap();
        let said = Agent::new(host).run("reboot", Duration::from_secs(1)).unwrap_err().to_string();
        assert!(said.contains("started again"), "{said}");
    }
}
