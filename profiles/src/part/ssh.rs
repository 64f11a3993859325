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
use serde::{Deserialize, Serialize};

const SERVICE: &str = "ssh.service";
const SETTINGS: &str = "/etc/ssh/sshd_config.d/50-mimg.conf";
const TYPES: [&str; 2] = ["ed25519", "rsa"];

/// The server that administrators come in by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
             PermitRootLogin prohibit-password\n"
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
fn probe(kind: &str) -> Ask {
    Ask::run(&["ssh-keygen", "-y", "-P", "", "-f", &key(kind)])
}

/// Prints the names of those halves that are there, whole or not.
fn halves(kind: &str) -> [String; 4] {
    let path = key(kind);
    ["stat".to_owned(), "--format=%n".to_owned(), format!("{path}.pub"), path]
}

/// Steps that make one host key, where it is not whole.
fn make(kind: &str, facts: &Facts) -> Vec<Step> {
    let path = key(kind);
    let whole = facts.said(&["ssh-keygen", "-y", "-P", "", "-f", &path]).is_some();
    // The public half is written last: without it the pair is not known to be whole.
    if whole && facts.file(&format!("{path}.pub")).is_some_and(|file| file.content.starts_with("ssh-")) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    if facts.ran(&halves(kind).each_ref().map(String::as_str)).is_some_and(|ran| !ran.out.is_empty()) {
        let argv = ["rm", "--force", &path, &format!("{path}.pub")];
        steps.push(Step::new(Act::run(&argv), "a torn key: ssh-keygen would keep it"));
    }
    // firstboot lets no step end before it is on the disk: a key that clients have seen outlives a power cut.
    let argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", &path];
    steps.push(Step::new(Act::run(&argv), "no host key yet"));
    steps
}

impl Part for Ssh {
    fn name(&self) -> String {
        "ssh".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["hostname".to_owned()]
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["openssh-server"]
    }

    fn files(&self) -> Vec<File> {
        self.wanted().into()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let mut asks: Vec<Ask> = TYPES.iter().map(|kind| probe(kind)).collect();
        asks.extend(TYPES.iter().map(|kind| Ask::Run(halves(kind).into())));
        asks.extend(TYPES.iter().map(|kind| Ask::File(format!("{}.pub", key(kind)))));
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
        let running = facts.unit(SERVICE).is_some_and(|unit| unit.active == "active" && !unit.job);
        if running && (reload || facts.outdated(SERVICE, SETTINGS)) {
            let step = Step::new(Act::unit(SERVICE, Verb::Restart), "its settings changed after it was started");
            steps.push(step.interrupts("new ssh connections"));
        }
        match super::unit::plan(SERVICE, true, true, facts) {
            // Without a host key its condition cannot be met: the keys come first.
            _ if !steps.is_empty() => Verdict::Do(steps),
            Verdict::Wait(_) if facts.unit(SERVICE).is_some_and(|unit| !unit.condition && !unit.job) => {
                Verdict::Do(vec![Step::new(Act::unit(SERVICE, Verb::Start), "there are host keys now")])
            }
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Answer, Ran};

    fn steps(there: &str, whole: bool, public: &str) -> Vec<String> {
        let ran = |rc, out: &str| Answer::Ran(Ran { rc, out: out.to_owned(), err: String::new() });
        let mut facts = Facts::default();
        facts.note(probe("rsa"), ran(i32::from(!whole), "ssh-rsa AAAA"));
        facts.note(Ask::Run(halves("rsa").into()), ran(1, there));
        let path = format!("{}.pub", key("rsa"));
        facts.note(Ask::File(path.clone()), Answer::File(Some(File::new(path, public))));
        make("rsa", &facts).iter().map(|step| step.act.to_string()).collect()
    }

    #[test]
    fn a_torn_host_key_is_removed_first_and_a_whole_one_is_kept() {
        let make = "run ssh-keygen -q -t rsa -N  -C  -f /etc/ssh/ssh_host_rsa_key";
        let remove = "run rm --force /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_rsa_key.pub";
        assert_eq!(steps("", false, ""), [make]);
        assert_eq!(steps("/etc/ssh/ssh_host_rsa_key\n", false, ""), [remove, make]);
        assert_eq!(steps("/etc/ssh/ssh_host_rsa_key\n", true, ""), [remove, make]);
        assert!(steps("/etc/ssh/ssh_host_rsa_key\n", true, "ssh-rsa AAAA\n").is_empty());
    }
}
