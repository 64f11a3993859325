//! An archive of Debian packages beside Debian's own. The image is made from it, and afterwards the machine's apt takes its
//! updates from there, trusting the same key and preferring it as much.

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

const SOURCES: &str = "/etc/apt/sources.list.d";
const KEYRINGS: &str = "/etc/apt/keyrings";
const PREFERENCES: &str = "/etc/apt/preferences.d";
/// How an armoured key begins; what stands before that is for people, and apt would not take it.
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// The file of Debian's own sources has this name.
const TAKEN: &str = "debian";

/// What a repository's priority may be. Negative ones forbid in apt_preferences(5), and above 1000 they downgrade: an
/// image is made from nothing, so here they only rank.
const PRIORITIES: std::ops::RangeInclusive<i32> = 1..=1000;

/// An archive of Debian packages beside Debian's own, trusted for its own packages by its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Repository {
    /// What it is called in messages, and its files on the machine: letters, digits, `-`, `_` and `.`.
    #[schemars(title = "name", regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub name: String,
    /// Its address, `https://…` or `http://…`, without the suite.
    #[schemars(title = "URL", regex(pattern = r"^https?://[!-~]+$"))]
    pub uri: String,
    /// The suite, as in its own sources.list.
    pub suite: String,
    /// The components of it that packages are taken from.
    pub components: Vec<String>,
    /// Its OpenPGP certificate, ASCII-armoured, as it stands.
    pub key: String,
    /// The fingerprint of that certificate: 40 or 64 hex digits, blanks between them as you like.
    #[schemars(title = "fingerprint", regex(pattern = r"^ *([0-9A-Fa-f] *){40}(([0-9A-Fa-f] *){24})?$"))]
    pub fingerprint: String,
    /// Whose version of a package is taken: the highest, then the newest version. Debian's own archive has 500.
    #[serde(default = "Repository::usual")]
    pub priority: i32,
}

impl Repository {
    fn usual() -> i32 {
        500
    }

    /// The host that it is at: all that apt's preferences can tell it by without a look at its Release.
    pub fn host(&self) -> &str {
        host(&self.uri)
    }

    /// Its fingerprint as tools write it.
    fn digits(&self) -> String {
        self.fingerprint.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect()
    }

    /// What the machine's apt reads: the key, the source that only this key may sign, and a priority that is not the usual.
    fn wanted(&self) -> Vec<File> {
        let Repository { name, uri, suite, .. } = self;
        let key = &self.key[self.key.find(ARMOUR).unwrap_or_default()..];
        let keyring = format!("{KEYRINGS}/{name}.asc");
        let sources = format!(
            "# Written by mimg from [[repository]].\nTypes: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}\n\
             Signed-By: {keyring} {}\n",
            self.components.join(" "),
            self.digits()
        );
        let mut files = vec![
            File::new(&keyring, format!("{}\n", key.trim_end())),
            File::new(format!("{SOURCES}/{name}.sources"), sources),
        ];
        if self.priority != Repository::usual() {
            let pin = format!("Package: *\nPin: origin \"{}\"\nPin-Priority: {}\n", self.host(), self.priority);
            let text = format!("Explanation: Written by mimg from [[repository]].\n{pin}");
            files.push(File::new(format!("{PREFERENCES}/{name}.pref"), text));
        }
        files
    }

    fn finding(&self, key: &str, saw: String, wanted: impl Into<String>, cure: &str) -> Finding {
        Finding::new(&["repository", &self.name, key], saw, wanted, cure)
    }

    fn check_key_and_address(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let digits = self.digits();
        if ![40, 64].contains(&digits.len()) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let cure = "copy it from `gpg --show-keys --fingerprint KEY`";
            findings.push(self.finding("fingerprint", format!("{:?}", self.fingerprint), "40 or 64 hex digits", cure));
        }
        let rest = self.uri.strip_prefix("https://").or_else(|| self.uri.strip_prefix("http://"));
        if !rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic())) {
            findings.push(self.finding(
                "uri",
                format!("{:?}", self.uri),
                "http:// or https://, and an address without blanks",
                "write it as in the repository's own sources.list",
            ));
        }
        if self.uri.split('/').nth(2).is_some_and(|host| host.contains('@')) {
            findings.push(self.finding(
                "uri",
                "an address with a name or password in it".to_owned(),
                "one without: the settings travel in the image, where everybody reads them",
                "serve the repository to the building host without a password",
            ));
        }
        if !PRIORITIES.contains(&self.priority) {
            findings.push(self.finding(
                "priority",
                self.priority.to_string(),
                format!("a number from {} to {}: Debian's own archive has 500", PRIORITIES.start(), PRIORITIES.end()),
                "write 900 to prefer this repository, 100 to take from it only what Debian does not have",
            ));
        }
        findings
    }

    /// The suite and its components become parts of addresses.
    fn check_suite(&self) -> Vec<Finding> {
        let plain = |text: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.+~/".contains(c);
            !text.is_empty() && text.chars().all(known) && text.split('/').all(|part| !["", ".", ".."].contains(&part))
        };
        let mut findings = Vec::new();
        if !plain(&self.suite) {
            findings.push(self.finding(
                "suite",
                format!("{:?}", self.suite),
                "a suite below dists/, such as \"stable\"; repositories without suites are not supported",
                "write it as in the repository's own sources.list",
            ));
        }
        if self.components.is_empty() || self.components.iter().any(|component| !plain(component)) {
            findings.push(self.finding(
                "components",
                format!("{:?}", self.components),
                "at least one component, such as \"main\"",
                "write them as in the repository's own sources.list",
            ));
        }
        findings
    }

    /// Its name becomes that of files, and apt reads only files with such names.
    fn check_name(&self) -> Option<Finding> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let sound = self.name.starts_with(|c: char| c.is_ascii_alphanumeric()) && self.name.chars().all(plain);
        if sound && self.name.len() <= 64 && self.name != TAKEN {
            return None;
        }
        let wanted = "a name of letters, digits, `-`, `_` and `.`: that of its files in /etc/apt; and not \"debian\"";
        Some(self.finding("name", format!("{:?}", self.name), wanted, "write a name such as \"elastic\""))
    }

    /// apt could not tell apart what is at one host, and would take the one priority for both.
    fn check_neighbours(&self, spec: &Spec) -> Option<Finding> {
        let others = spec.settings.repository.iter().take_while(|other| *other != self);
        let other = others.into_iter().find(|other| other.host() == self.host() && other.priority != self.priority)?;
        let saw =
            format!("{}, and {} at the same host {} has {}", self.priority, other.name, self.host(), other.priority);
        let wanted = "one priority for all of a host: the machine's apt tells repositories apart by their hosts";
        Some(self.finding("priority", saw, wanted, "write the same priority in both"))
    }
}

/// The host of an address, without its port.
pub fn host(uri: &str) -> &str {
    let host = uri.split_once("://").map_or(uri, |(_, rest)| rest).split('/').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Part for Repository {
    fn name(&self) -> String {
        format!("repository {}", self.name)
    }

    fn files(&self) -> Vec<File> {
        self.wanted()
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = self.check_key_and_address();
        findings.extend(self.check_suite());
        findings.extend(self.check_name());
        findings.extend(self.check_neighbours(spec));
        findings
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        self.wanted().into_iter().map(|file| Ask::File(file.path)).collect()
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let differing = super::differing(&self.wanted(), facts);
        let put = |file| Step::new(Act::Put(file), "apt would not take its updates from there");
        Verdict::from_steps(differing.into_iter().map(put).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_has_no_port_and_no_path() {
        for (uri, wanted) in [
            ("https://apt.example.org/debian", "apt.example.org"),
            ("http://127.0.0.1:8080", "127.0.0.1"),
            ("http://[::1]:80/x:1", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host(uri), wanted);
        }
    }
}
