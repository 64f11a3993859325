//! `[ssh]`: the OpenSSH server, keys only, with host keys of the machine's own.
//!
//! No image holds a host key. They are made at first boot; a key that a power cut left empty or torn is made again.

use super::Part;
use crate::act::{Act, Step, Verb};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SERVICE: &str = "ssh.service";
const SETTINGS: &str = "/etc/ssh/sshd_config.d/50-mimg.conf";
const TYPES: [&str; 2] = ["ed25519", "rsa"];

/// The ssh server that administrators come in by, with keys only. Without this table there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ssh {
    /// The port it listens at. Default: 22.
    pub port: Option<u16>,
}

impl Ssh {
    /// The unit's drop-in keeps sshd from failing, and being given up, before there is a host key.
    fn wanted(&self) -> [File; 2] {
        let port = self.port.unwrap_or(22);
        let settings = format!(
            "# Written by mimg from [ssh].\nPort {port}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\n\
             AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n"
        );
        let unit = "# Written by mimg: firstboot starts sshd when there is a host key.\n[Unit]\n\
                    ConditionPathExists=/etc/ssh/ssh_host_ed25519_key\n";
        let drop_in = format!("/etc/systemd/system/{SERVICE}.d/50-mimg.conf");
        [File::new(SETTINGS, settings), File::new(drop_in, unit)]
    }
}

fn key(kind: &str) -> String {
    format!("/etc/ssh/ssh_host_{kind}_key")
}

/// Prints the public half, and fails where the private half is missing or torn.
fn probe(key: &str) -> [&str; 6] {
    ["ssh-keygen", "-y", "-P", "", "-f", key]
}

fn stat(key: &str) -> [&str; 3] {
    ["stat", "--format=%s", key]
}

/// Steps that make one host key, where it is not whole.
fn make(kind: &str, facts: &Facts) -> Vec<Step> {
    let key = key(kind);
    let public = format!("{key}.pub");
    // The public half is written last: without it the pair is not known to be whole.
    let whole =
        facts.said(&probe(&key)).is_some() && facts.file(&public).is_some_and(|file| file.content.starts_with("ssh-"));
    if whole {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for half in [&key, &public] {
        if facts.said(&stat(half)).is_some() {
            steps.push(Step::new(Act::run(&["rm", half]), "it is torn, and would be kept otherwise"));
        }
    }
    steps.push(Step::new(
        Act::run(&["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", &key]),
        "no host key yet",
    ));
    steps
}

impl Part for Ssh {
    fn name(&self) -> String {
        "ssh".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned(), "hostname".to_owned()]
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["openssh-server"]
    }

    fn files(&self) -> Vec<File> {
        self.wanted().into()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let mut asks = Vec::new();
        for key in TYPES.map(key) {
            let public = format!("{key}.pub");
            asks.extend([Ask::run(&probe(&key)), Ask::run(&stat(&key)), Ask::run(&stat(&public)), Ask::File(public)]);
        }
        asks.extend(self.wanted().map(|file| Ask::File(file.path)));
        asks.push(Ask::Outdated { unit: SERVICE.to_owned(), path: SETTINGS.to_owned() });
        asks.push(Ask::Unit(SERVICE.to_owned()));
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        // Host keys are an identity: nobody yet has none.
        if spec.node.is_none() {
            return Verdict::Done;
        }
        let mut steps: Vec<Step> = TYPES.iter().flat_map(|kind| make(kind, facts)).collect();
        let files = super::differing(&self.wanted(), facts);
        let reload = !files.is_empty();
        steps.extend(files.into_iter().map(|file| Step::new(Act::Put(file), "its settings are not the Spec's")));
        if reload {
            steps.push(Step::new(Act::unit(SERVICE, Verb::Reload), "its drop-in changed"));
        }
        if let (true, Some(wait)) = (steps.is_empty(), super::unit::busy(SERVICE, facts)) {
            return wait;
        }
        let running = facts.unit(SERVICE).is_some_and(|unit| unit.active == "active");
        if running && (reload || facts.outdated(SERVICE, SETTINGS)) {
            let step = Step::new(Act::unit(SERVICE, Verb::Restart), "its settings changed after it was started");
            steps.push(step.interrupts("new ssh connections"));
        }
        if steps.is_empty()
            && facts.unit(SERVICE).is_some_and(|unit| unit.active == "inactive" && !unit.condition && !unit.job)
        {
            steps.push(Step::new(
                Act::unit(SERVICE, Verb::Start),
                "its condition was not met before there were host keys",
            ));
        }
        if steps.is_empty() { super::unit::plan(SERVICE, true, true, false, facts) } else { Verdict::Do(steps) }
    }
}
