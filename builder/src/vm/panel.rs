//! What a person standing before a running machine can do to it: buttons, keys, cables, slots.

use super::Running;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;

impl Running {
    /// Presses the power button; the guest's logind does what it likes with it.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp("system_powerdown", json!({})).map(drop)
    }

    /// Presses the reset button. The guest's agent has to come again before a command runs.
    pub fn reset(&mut self) -> Result<()> {
        self.qmp("system_reset", json!({}))?;
        self.agent.resume(false);
        Ok(())
    }

    /// Stops its processors; its disks and networks see a machine that is silent.
    pub fn freeze(&mut self) -> Result<()> {
        self.qmp("stop", json!({})).map(drop)
    }

    pub fn thaw(&mut self) -> Result<()> {
        self.qmp("cont", json!({})).map(drop)
    }

    /// Types `text` on the keyboard, as on one with the US layout; "\n" is Return.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for c in text.chars() {
            let (shift, key) = key(c).with_context(|| format!("typing {text:?}"))?;
            let keys: Vec<Value> =
                shift.into_iter().chain([key.as_str()]).map(|key| json!({"type": "qcode", "data": key})).collect();
            self.qmp("send-key", json!({"keys": keys, "hold-time": 20}))?;
        }
        Ok(())
    }

    /// Pulls the cable of network card `index`, or plugs it in again.
    pub fn set_link(&mut self, index: usize, up: bool) -> Result<()> {
        self.qmp("set_link", json!({"name": format!("card{index}"), "up": up})).map(drop)
    }

    /// Pulls disk `index` out, and waits until it is gone: a guest has to let go of a disk in a slot. SATA's cannot be
    /// pulled in QEMU.
    pub fn unplug(&mut self, index: usize) -> Result<()> {
        let disk = format!("disk{index}");
        self.qmp("device_del", json!({"id": disk}))?;
        self.wait_for(&format!("{disk} to be gone"), Duration::from_secs(30), |vm| {
            let there = vm.qmp("qom-list", json!({"path": "/machine/peripheral"}))?;
            let there = there.as_array().is_some_and(|list| list.iter().any(|device| device["name"] == *disk));
            Ok(if there { ControlFlow::Continue("the guest holds it".to_owned()) } else { ControlFlow::Break(()) })
        })
    }

    /// The port of 127.0.0.1 on which the guest's TCP `port` answers, if a `Link::Host` names it.
    pub fn forwarded(&mut self, port: u16) -> Result<u16> {
        let table = self.monitor("info usernet")?;
        // "TCP[HOST_FORWARD]  12   127.0.0.1 43001  10.0.2.15  22  0  0"
        let found = table.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["TCP[HOST_FORWARD]", _, _, host, _, guest, ..] if guest == port.to_string() => host.parse().ok(),
            _ => None,
        });
        match found {
            Some(host) => Ok(host),
            None => bail!("no link forwards the guest's port {port}; QEMU forwards:\n{table}"),
        }
    }
}

/// The key for `c`, and Shift if it is held.
fn key(c: char) -> Result<(Option<&'static str>, String)> {
    const PLAIN: &str = "-=[];'`\\,./ \n\t";
    const SHIFTED: &str = "_+{}:\"~|<>?";
    const NAMES: [&str; 14] = [
        "minus",
        "equal",
        "bracket_left",
        "bracket_right",
        "semicolon",
        "apostrophe",
        "grave_accent",
        "backslash",
        "comma",
        "dot",
        "slash",
        "spc",
        "ret",
        "tab",
    ];
    const DIGITS: &str = ")!@#$%^&*(";
    let shift = Some("shift");
    let at = |row: &str| row.chars().position(|other| other == c);
    if c.is_ascii_lowercase() || c.is_ascii_digit() {
        Ok((None, c.to_string()))
    } else if c.is_ascii_uppercase() {
        Ok((shift, c.to_ascii_lowercase().to_string()))
    } else if let Some(index) = at(PLAIN) {
        Ok((None, NAMES[index].to_owned()))
    } else if let Some(index) = at(SHIFTED) {
        Ok((shift, NAMES[index].to_owned()))
    } else if let Some(digit) = at(DIGITS) {
        Ok((shift, digit.to_string()))
    } else {
        bail!("there is no key for {c:?} on a keyboard with the US layout")
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn shifted_characters_hold_shift() {
        assert_eq!(key('a').unwrap(), (None, "a".to_owned()));
        assert_eq!(key('A').unwrap(), (Some("shift"), "a".to_owned()));
        assert_eq!(key('_').unwrap(), (Some("shift"), "minus".to_owned()));
        assert_eq!(key('?').unwrap(), (Some("shift"), "slash".to_owned()));
        assert_eq!(key('!').unwrap(), (Some("shift"), "1".to_owned()));
        assert_eq!(key('\n').unwrap(), (None, "ret".to_owned()));
        assert!(key('é').is_err());
    }
}
