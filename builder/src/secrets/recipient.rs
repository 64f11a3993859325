//! A recipient: a public key to which secrets are encrypted, so that whoever has its other half can open them.

use anyhow::Result;
use profiles::problem::{Finding, Problem, Problems};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// No file of keys comes near this many bytes.
const LARGEST: u64 = 1 << 20;

/// A public key of ssh (ed25519) or of age, and what its owner wrote behind it.
#[derive(Clone)]
pub struct Recipient {
    key: Key,
    comment: String,
}

#[derive(Clone)]
enum Key {
    Ssh(age::ssh::Recipient),
    Age(age::x25519::Recipient),
}

impl Recipient {
    /// Reads one line, as in ~/.ssh/id_ed25519.pub, or as `age-keygen -y` prints it.
    pub fn parse(line: &str) -> Result<Recipient, Finding> {
        let line = line.trim();
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if line.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
            return Err(refuse(
                "the secret half of an age key (it is not repeated here)",
                "give its public half, which `age-keygen -y FILE` prints. Whoever saw the secret half, in a shell's \
                 history for one, can open what is encrypted to it: better make a new one",
            ));
        }
        if line.starts_with("-----BEGIN") {
            return Err(refuse("a private key", "give its public half: the file that ends in .pub"));
        }
        if first.starts_with("age1") {
            let key = age::x25519::Recipient::from_str(first).map_err(|_| {
                let cure = "copy it again; keys of plugins and hardware are not taken";
                refuse(&format!("{first:?}, which is not a key of age's own kind, or mistyped"), cure)
            })?;
            // In a file of recipients age takes no words behind such a key.
            return Ok(Recipient { key: Key::Age(key), comment: String::new() });
        }
        if first != "ssh-ed25519" {
            return Err(of_another_kind(first));
        }
        let key = age::ssh::Recipient::from_str(line).map_err(|_| {
            refuse("an ssh-ed25519 key that is cut short or mistyped", "copy the whole line of the .pub file")
        })?;
        Ok(Recipient { key: Key::Ssh(key), comment: words.skip(1).collect::<Vec<_>>().join(" ") })
    }

    /// A key as a person gives it: the line itself, or a file with such lines.
    pub fn given(word: &str) -> Result<Vec<Recipient>, Finding> {
        let path = Path::new(word);
        if word.contains(' ') || !path.is_file() {
            return Ok(vec![Self::parse(word)?]);
        }
        let missing =
            |_| refuse(&format!("{word}, which cannot be read"), "name a file that you may read, or the key itself");
        if path.metadata().map_err(missing)?.len() > LARGEST {
            return Err(refuse(
                &format!("{word}, which is too large for a file of keys"),
                "name the file that ends in .pub",
            ));
        }
        let text = std::fs::read_to_string(path).map_err(missing)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Recipient> = lines
            .map(Self::parse)
            .collect::<Result<_, _>>()
            .map_err(|finding| Finding { saw: format!("{word} has {}", finding.saw), ..finding })?;
        if keys.is_empty() {
            return Err(refuse(&format!("{word}, which has no key in it"), "name the file that ends in .pub"));
        }
        Ok(keys)
    }

    /// The key without what its owner wrote behind it.
    pub fn key(&self) -> String {
        match &self.key {
            Key::Ssh(key) => key.to_string(),
            Key::Age(key) => key.to_string(),
        }
    }

    pub(super) fn as_age(&self) -> &dyn age::Recipient {
        match &self.key {
            Key::Ssh(key) => key,
            Key::Age(key) => key,
        }
    }
}

/// As a line of recipients.txt.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(format!("{} {}", self.key(), self.comment).trim_end())
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Recipient) -> bool {
        self.key() == other.key()
    }
}

fn of_another_kind(first: &str) -> Finding {
    let cure = "make one with `ssh-keygen -t ed25519`, or an age key with `age-keygen -o FILE`";
    match first {
        "ssh-rsa" => refuse("an ssh-rsa key; secrets are not encrypted to RSA", cure),
        _ if first.starts_with("ecdsa-") || first.starts_with("sk-") || first == "ssh-dss" => {
            refuse(&format!("a key of the kind {first}, which signs only: nothing can be encrypted to it"), cure)
        }
        // Not repeated whole: it may be anything, a password too.
        _ => refuse(&format!("something that begins with {:?}", first.chars().take(12).collect::<String>()), cure),
    }
}

fn refuse(saw: &str, cure: &str) -> Finding {
    Finding::new(&[], saw, "an ssh-ed25519 public key, or one of age (age1…)", cure)
}

/// Reads `recipients.txt`: a key in each line, others are remarks that begin with `#`. `path` is how messages call it.
/// Messages name a line and never repeat it: it may be a secret that does not belong there.
pub fn read(path: &str, text: &str) -> Result<Vec<Recipient>, Problems> {
    let (mut recipients, mut problems): (Vec<Recipient>, Vec<Problem>) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |saw: &str| format!("{path}:{}: {saw}", number + 1);
        match Recipient::parse(line) {
            Ok(recipient) if recipients.contains(&recipient) => {
                let saw = at("a key that stands in it twice");
                problems.push(Problem::of_none(saw, "each key once", "take this line out"));
            }
            Ok(recipient) => recipients.push(recipient),
            Err(finding) => problems.push(Problem::of_none(at(&finding.saw), finding.wanted, finding.cure)),
        }
    }
    if recipients.len() < 2 && problems.is_empty() {
        problems.push(Problem::of_none(
            format!("{path} has {} recipients", recipients.len()),
            "two at least, one of them kept offline: with one, a lost key is a lost fleet",
            "bring the file back from git",
        ));
    }
    Problems(problems).or(recipients)
}
