//! `[[user]]`: people's accounts, let in by ssh key. No account has a password.

use super::Part;
use crate::act::{Act, Step};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const KEY_TYPES: [&str; 6] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// An account without a password. `root` may be named too, to let keys in for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct User {
    /// The login name.
    #[schemars(title = "login name", regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// Public keys: lines of authorized_keys(5), without options. They are put beside ~/.ssh/authorized_keys, which stays
    /// the user's own.
    #[schemars(inner(regex(
        pattern = r"^(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) AAAA[^ \n]{37,}( [^\n]*)?$"
    )))]
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Groups beside its own; each has to exist in the image.
    #[serde(default)]
    pub groups: Vec<String>,
    /// May become root with sudo, without a password: there is none.
    #[serde(default)]
    pub sudo: bool,
    /// The login shell, by its whole path. Default: /bin/bash.
    #[schemars(title = "path", regex(pattern = r"^/[^:\n]*$"))]
    #[serde(default)]
    pub shell: Option<String>,
    /// A fixed number, so that files on kept volumes stay its own. Default: the next free one.
    #[serde(default)]
    pub uid: Option<u32>,
}

impl User {
    fn passwd(&self) -> [&str; 3] {
        ["getent", "passwd", &self.name]
    }

    fn groups(&self) -> [&str; 4] {
        ["id", "--groups", "--name", &self.name]
    }

    /// Beside ~/.ssh/authorized_keys, which stays the user's own; sshd reads both (see ssh.rs).
    fn authorized_keys(&self) -> File {
        File::new(
            format!("/etc/ssh/authorized_keys.d/{}", self.name),
            self.ssh_keys.join(
                "
",
            ) + "
",
        )
    }

    fn sudoers(&self) -> File {
        let mut file = File::new(
            format!("/etc/sudoers.d/50-mimg-{}", self.name),
            format!("{} ALL=(ALL) NOPASSWD: ALL\n", self.name),
        );
        file.mode = 0o440;
        file
    }

    fn shell(&self) -> &str {
        self.shell.as_deref().unwrap_or("/bin/bash")
    }

    fn add(&self) -> Step {
        let uid = self.uid.map(|uid| uid.to_string());
        let mut argv = vec!["useradd", "--create-home", "--user-group", "--shell", self.shell()];
        argv.extend(uid.iter().flat_map(|uid| ["--uid", uid.as_str()]));
        argv.push(&self.name);
        Step::new(Act::run(&argv), "there is no such account")
    }

    /// Steps for an account that exists: its shell, its uid being another is refused.
    fn mend(&self, passwd: &str) -> Result<Vec<Step>, Verdict> {
        let fields: Vec<&str> = passwd.split(':').collect();
        let (uid, shell) = (fields.get(2).copied().unwrap_or(""), fields.get(6).copied().unwrap_or(""));
        if let Some(wanted) = self.uid.filter(|wanted| wanted.to_string() != uid) {
            return Err(Verdict::refuse(
                format!("an account {} with uid {uid}", self.name),
                format!("uid {wanted}"),
                format!("usermod --uid {wanted} {}, and change the owner of its files", self.name),
            ));
        }
        if self.name == "root" || shell == self.shell() {
            return Ok(Vec::new());
        }
        let act = Act::run(&["usermod", "--shell", self.shell(), &self.name]);
        Ok(vec![Step::new(act, format!("its shell is {shell}"))])
    }

    /// Groups are only ever added: what a person or a package added by hand stays.
    fn join(&self, member_of: &str) -> Vec<Step> {
        let missing =
            self.groups.iter().filter(|group| !member_of.split_whitespace().any(|name| name == group.as_str()));
        missing
            .map(|group| {
                Step::new(Act::run(&["usermod", "--append", "--groups", group, &self.name]), "not a member yet")
            })
            .collect()
    }

    fn files_wanted(&self) -> Vec<File> {
        let mut files = Vec::new();
        if !self.ssh_keys.is_empty() {
            files.push(self.authorized_keys());
        }
        if self.sudo {
            files.push(self.sudoers());
        }
        files
    }
}

impl Part for User {
    fn name(&self) -> String {
        format!("user {}", self.name)
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
    }

    fn packages(&self) -> Vec<&'static str> {
        if self.sudo { vec!["passwd", "sudo"] } else { vec!["passwd"] }
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut chars = self.name.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        if !first
            || !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
            || self.name.len() > 32
        {
            findings.push(Finding::new(
                &["user", &self.name, "name"],
                format!("{:?}", self.name),
                "a login name: a-z, 0-9, _ and -, a letter first, at most 32",
                "write another name",
            ));
        }
        for (index, key) in self.ssh_keys.iter().enumerate() {
            let mut words = key.split(' ');
            let known = words.next().is_some_and(|kind| KEY_TYPES.contains(&kind));
            let body = words.next().is_some_and(|body| body.len() > 40 && body.starts_with("AAAA"));
            if !known || !body || key.contains('\n') {
                let start: String = key.chars().take(24).collect();
                findings.push(Finding::new(
                    &["user", &self.name, "ssh-keys", &index.to_string()],
                    format!("\"{start}…\""),
                    "a public key: a type such as ssh-ed25519, then its base64",
                    "copy the line of ~/.ssh/id_ed25519.pub",
                ));
            }
        }
        if self.shell.as_ref().is_some_and(|shell| !shell.starts_with('/') || shell.contains([':', '\n'])) {
            findings.push(Finding::new(
                &["user", &self.name, "shell"],
                format!("{:?}", self.shell()),
                "an absolute path",
                "write \"/bin/bash\"",
            ));
        }
        findings
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let mut asks = vec![Ask::run(&self.passwd()), Ask::run(&self.groups())];
        asks.extend(self.files_wanted().into_iter().map(|file| Ask::File(file.path)));
        asks
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let mut steps = match facts.said(&self.passwd()) {
            None => vec![self.add()],
            Some(passwd) => match self.mend(passwd) {
                Ok(steps) => steps,
                Err(refusal) => return refusal,
            },
        };
        steps.extend(self.join(facts.said(&self.groups()).unwrap_or("")));
        for file in super::differing(&self.files_wanted(), facts) {
            steps.push(Step::new(Act::Put(file), "not as the Spec says"));
        }
        Verdict::from_steps(steps)
    }
}
