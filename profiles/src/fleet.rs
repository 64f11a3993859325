//! The Fleet: the directory that an administrator keeps, read into profiles and nodes, and frozen into Specs.
//!
//! ```text
//! fleet.toml                 which fleet it is, where packages come from, who administers every machine
//! nodes/NAME.toml            one machine each
//! profiles/NAME.toml         profiles of the fleet's own; one with the name of a catalog profile takes its place,
//!                            and may start from it by naming it
//! ```

use crate::catalog;
use crate::merge::Entry;
use crate::part::user::User;
use crate::problem::{Finding, Problem, Problems, Span, Texts, nearest};
use crate::profile::Profile;
use crate::spec::{Membership, Spec};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::de::{DeTable, Deserializer};

/// `fleet.toml`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Root {
    /// Which fleet this is.
    pub fleet: Membership,
    /// Where packages come from, for building and for the finished machines.
    #[serde(default)]
    pub archive: Archive,
    /// People who have an account on every machine, without a password. `root` may be named too, to let keys in for it.
    #[serde(default)]
    pub user: Vec<User>,
}

/// Where packages come from, for building and for the finished machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Archive {
    /// The mirror that images are built from. Default: that of the building host's apt.
    #[schemars(title = "URL")]
    pub mirror: Option<String>,
    /// The mirror of trixie-security that images are built from. Default: that of the building host's apt.
    #[schemars(title = "URL")]
    pub security_mirror: Option<String>,
    /// The mirror that a finished machine's apt uses. Default: none, its apt has no sources.
    #[schemars(title = "URL")]
    pub node_mirror: Option<String>,
    /// The mirror of trixie-security that a finished machine's apt uses. Default: none.
    #[schemars(title = "URL")]
    pub node_security_mirror: Option<String>,
    /// An archive of snapshots, asked for locked packages that no mirror has any more. Below its address the state of each
    /// moment is at `archive/debian/20260912T075541Z/` and `archive/debian-security/20260912T075541Z/`. Default: none.
    pub snapshot: Option<String>,
    /// Whether an archive that has expired is refused (Valid-Until). Default: true; false for a snapshot of a day gone by.
    pub check_valid_until: Option<bool>,
}

/// A fleet, or the catalog alone. Holds what was read, unmerged; each Spec is merged when it is asked for.
pub struct Fleet<'a> {
    texts: Texts,
    root: Option<Root>,
    /// `[[user]]` of fleet.toml, as settings that every machine gets.
    everywhere: Option<Entry<'a>>,
    nodes: BTreeMap<String, Entry<'a>>,
    own: BTreeMap<String, Entry<'a>>,
    shipped: BTreeMap<String, Entry<'a>>,
}

impl<'a> Fleet<'a> {
    /// The catalog alone: profiles that are embedded in mimg.
    pub fn catalog() -> Result<Fleet<'a>, Problems> {
        let mut reader = Reader::default();
        let shipped = catalog::profiles()
            .into_iter()
            .filter_map(|(name, text)| {
                Some((name.to_owned(), reader.read::<Profile>(&format!("catalog/{name}.toml"), text)?))
            })
            .collect();
        let fleet = Fleet {
            texts: reader.texts,
            root: None,
            everywhere: None,
            nodes: BTreeMap::new(),
            own: BTreeMap::new(),
            shipped,
        };
        Problems(reader.problems).or(fleet)
    }

    /// A fleet's files by their path within it; others than those named above are not looked at.
    /// All that is wrong with them is told at once, that of every node and profile included.
    pub fn load(files: &'a BTreeMap<String, String>) -> Result<Fleet<'a>, Problems> {
        let mut fleet = Self::catalog()?;
        let mut reader = Reader { texts: std::mem::take(&mut fleet.texts), problems: Vec::new() };
        match files.get("fleet.toml") {
            Some(text) => (fleet.root, fleet.everywhere) = reader.root(text),
            None => reader.problems.push(Problem::of_none(
                "there is no fleet.toml",
                "one that names the fleet",
                "start a fleet with `mimg init DIR`, or name its folder with --fleet",
            )),
        }
        for (path, text) in files {
            let Some((folder, name)) = path.strip_suffix(".toml").and_then(|path| path.split_once('/')) else {
                continue;
            };
            let place = match folder {
                "nodes" => &mut fleet.nodes,
                "profiles" => &mut fleet.own,
                _ => continue,
            };
            if let Some(entry) = reader.read::<Profile>(path, text) {
                place.insert(name.to_owned(), entry);
            }
        }
        fleet.texts = reader.texts;
        let mut problems = reader.problems;
        for result in
            fleet.nodes.keys().map(|name| fleet.node(name)).chain(fleet.own.keys().map(|name| fleet.profile(name)))
        {
            problems.extend(result.err().unwrap_or_default().0);
        }
        Problems(problems).or(fleet)
    }

    pub fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Names of the fleet's own profiles.
    pub fn own_profiles(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str)
    }

    /// Names of all profiles, the fleet's and the catalog's, each once.
    pub fn profiles(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.own.keys().chain(self.shipped.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The frozen Spec of a node.
    pub fn node(&self, name: &str) -> Result<Spec, Problems> {
        let Some(entry) = self.nodes.get(name) else {
            return Err(unknown("node", name, self.nodes(), "write nodes/NAME.toml"));
        };
        let mut findings = Vec::new();
        if !is_hostname(name) {
            findings.push(Finding::new(
                &[],
                format!("a node named {name:?}"),
                "a host name: a-z, 0-9 and -, at most 63, no - at either end",
                "rename the file",
            ));
        }
        let first = entry.words("profiles").first().map(|(name, _)| name.clone());
        if first.is_none() {
            let cure = format!("write profiles = [\"{}\"]", self.profiles().join("\" or \""));
            findings.push(Finding::new(&["profiles"], "a node without a profile", "at least one profile", cure));
        }
        self.freeze(Some(name), &first.unwrap_or_default(), entry, findings)
    }

    /// The frozen Spec of a bare profile.
    pub fn profile(&self, name: &str) -> Result<Spec, Problems> {
        match self.own.get(name).or_else(|| self.shipped.get(name)) {
            Some(entry) => self.freeze(None, name, entry, Vec::new()),
            None => Err(unknown("profile", name, self.profiles().into_iter(), "write profiles/NAME.toml in a fleet")),
        }
    }

    fn freeze(
        &self,
        node: Option<&str>,
        profile: &str,
        entry: &Entry<'a>,
        findings: Vec<Finding>,
    ) -> Result<Spec, Problems> {
        let mut problems = Vec::new();
        let mut merged = self.merge(entry, &mut Vec::new(), &mut problems);
        if let Some(everywhere) = &self.everywhere {
            merged.join(everywhere.clone(), "", &self.texts, &mut problems);
        }
        if !problems.is_empty() {
            return Err(Problems(problems).sorted());
        }
        let settings: Profile = match Deserialize::deserialize(Deserializer::from(merged.to_toml())) {
            Ok(settings) => settings,
            Err(error) => return Err(Problems(vec![of_serde(&self.texts, &error, &entry.span)])),
        };
        let spec = Spec {
            format: Spec::FORMAT,
            fleet: self.root.as_ref().map(|root| root.fleet.clone()),
            node: node.map(str::to_owned),
            profile: profile.to_owned(),
            settings,
        };
        let findings = findings.into_iter().chain(spec.check());
        self.placed(entry, &merged, findings).or(spec)
    }

    /// What others find wrong with one of this fleet's Specs, with the file and line of each setting.
    pub fn blame(&self, spec: &Spec, findings: Vec<Finding>) -> Problems {
        let own = || self.own.get(&spec.profile).or_else(|| self.shipped.get(&spec.profile));
        let Some(entry) = spec.node.as_ref().map_or_else(own, |node| self.nodes.get(node)) else {
            let of_none = |finding: Finding| Problem::of_none(finding.saw, finding.wanted, finding.cure);
            return Problems(findings.into_iter().map(of_none).collect());
        };
        let merged = self.merge(entry, &mut Vec::new(), &mut Vec::new());
        self.placed(entry, &merged, findings.into_iter())
    }

    /// Findings about `merged` settings with their places: of a whole file, that is the place of `entry`.
    fn placed(&self, entry: &Entry<'a>, merged: &Entry<'a>, findings: impl Iterator<Item = Finding>) -> Problems {
        let problem = |finding: Finding| {
            let span = if finding.keys.is_empty() { entry.key.clone() } else { merged.find(&finding.keys) };
            let saw = if finding.keys.is_empty() {
                finding.saw
            } else {
                format!("{}: {}", dotted(&finding.keys), finding.saw)
            };
            self.texts.problem(&span, &saw, &finding.wanted, &finding.cure)
        };
        Problems(findings.map(problem).collect())
    }

    /// A profile's or node's settings on top of those of the profiles that it names. `path` holds those under way.
    fn merge(&self, entry: &Entry<'a>, path: &mut Vec<Span>, problems: &mut Vec<Problem>) -> Entry<'a> {
        let mut below: Option<Entry<'a>> = None;
        path.push(entry.span.clone());
        for (name, span) in entry.words("profiles") {
            let Some(included) = self.included(entry, &name) else {
                let cure = match nearest(&name, self.profiles().into_iter()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "write it as profiles/NAME.toml".to_owned(),
                };
                let known = format!("one of {}", self.profiles().join(", "));
                problems.push(self.texts.problem(&span, &format!("there is no profile {name:?}"), &known, &cure));
                continue;
            };
            if path.contains(&included.span) {
                let saw = format!("profile {name:?} starts from itself");
                problems.push(self.texts.problem(
                    &span,
                    &saw,
                    "profiles that end somewhere",
                    "take it out of one of them",
                ));
                continue;
            }
            let merged = self.merge(included, path, problems);
            match &mut below {
                Some(below) => below.join(merged, "", &self.texts, problems),
                None => below = Some(merged),
            }
        }
        path.pop();
        match below {
            Some(mut below) => {
                below.replace_with(entry.clone());
                below
            }
            None => entry.clone(),
        }
    }

    /// The profile that `entry` means by `name`: a fleet's profile that names itself means the catalog's.
    fn included(&self, entry: &Entry<'a>, name: &str) -> Option<&Entry<'a>> {
        let own = self.own.get(name).filter(|own| own.span != entry.span);
        own.or_else(|| self.shipped.get(name))
    }
}

/// Reads texts one after the other and keeps all that is wrong with them.
#[derive(Default)]
struct Reader {
    texts: Texts,
    problems: Vec<Problem>,
}

impl Reader {
    /// The tree of one file that has the keys of `T`; what `T` refuses is told and left out.
    fn read<'a, T: DeserializeOwned>(&mut self, path: &str, text: &'a str) -> Option<Entry<'a>> {
        let start = self.texts.add(path, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let whole = start..start + text.len();
        // What follows the first error of syntax is mostly its echo.
        if let Some(error) = errors.first() {
            let span = error.span().map_or(whole.clone(), |span| span.start + start..span.end + start);
            self.problems.push(self.texts.problem(&span, error.message(), "TOML", "see toml.io for how it is written"));
            return None;
        }
        let mut entry = Entry::from_toml(table, start);
        // An empty file has an empty span; spans tell files apart.
        (entry.span, entry.key) = (whole.clone(), start..start);
        let clean = self.clean::<T>(&mut entry, &whole);
        clean.then_some(entry)
    }

    /// Takes out of `entry` what `T` refuses, and tells it. False where what is left cannot be judged.
    fn clean<T: DeserializeOwned>(&mut self, entry: &mut Entry<'_>, whole: &Span) -> bool {
        let mut gone: Vec<String> = Vec::new();
        // serde stops at the first error: take out what it points at, and go on.
        while let Err(error) = T::deserialize(Deserializer::from(entry.to_toml())) {
            let echo = |name: &String| error.message() == format!("missing field `{name}`");
            if !gone.iter().any(echo) {
                self.problems.push(of_serde(&self.texts, &error, whole));
            }
            match error.span().and_then(|span| entry.cut(&span)) {
                Some(name) => gone.push(name),
                None => return false,
            }
        }
        // A node whose profiles are not known has no settings that could be judged.
        !gone.iter().any(|name| name == "profiles")
    }

    fn root<'a>(&mut self, text: &'a str) -> (Option<Root>, Option<Entry<'a>>) {
        let Some(entry) = self.read::<Root>("fleet.toml", text) else { return (None, None) };
        let root = Root::deserialize(Deserializer::from(entry.to_toml())).ok();
        (root, entry.only("user"))
    }
}

/// serde's message, taken apart into what was seen, what was wanted, and the nearest key.
fn of_serde(texts: &Texts, error: &toml::de::Error, otherwise: &Span) -> Problem {
    let span = error.span().unwrap_or(otherwise.clone());
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or("");
    let known: Vec<&str> = quoted.collect();
    let cure = "see docs/reference.md for the keys and what they take";
    if message.starts_with("missing field") {
        return texts.problem(
            &span,
            &format!("the key `{word}` is missing here"),
            &format!("a line `{word} = …`"),
            cure,
        );
    }
    let kind = match message {
        _ if message.starts_with("unknown field") => "key",
        _ if message.starts_with("unknown variant") => "value",
        _ => {
            let (saw, wanted) = message.split_once(", expected ").unwrap_or((message, ""));
            let wanted = match wanted {
                "i32" | "u16" | "u32" => "a whole number, not as large",
                other => other,
            };
            return texts.problem(&span, saw, &wanted.replace("a sequence", "a list in [ ]"), cure);
        }
    };
    let cure = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("take it out, or write one of those {kind}s"),
    };
    texts.problem(&span, &format!("there is no {kind} `{word}` here"), &format!("one of {}", known.join(", ")), &cure)
}

fn unknown<'n>(kind: &str, name: &str, known: impl Iterator<Item = &'n str>, cure: &str) -> Problems {
    let known: Vec<&str> = known.collect();
    let cure = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => cure.to_owned(),
    };
    let wanted = if known.is_empty() {
        format!("a {kind} that exists; there is none")
    } else {
        format!("one of {}", known.join(", "))
    };
    Problems(vec![Problem::of_none(format!("there is no {kind} {name:?}"), wanted, cure)])
}

/// "user.ana.ssh-keys": keys as people say them, without the numbers of items.
fn dotted(keys: &[String]) -> String {
    let words: Vec<&str> = keys.iter().map(String::as_str).filter(|key| key.parse::<usize>().is_err()).collect();
    words.join(".")
}

/// A label of RFC 1123, in lower case.
fn is_hostname(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    plain && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}
