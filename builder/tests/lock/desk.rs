//! What the tests work with: a fleet of small nodes, and archives that are made and signed here.

use crate::made::Made;
use crate::server::Server;
use crate::signer::{DAY, NOW, Signer, signed};
use anyhow::Result;
use builder::archive::Archive;
use builder::archive::cache::Cache;
use builder::archive::http::{Http, Patience};
use builder::archive::source::Source;
use builder::lock::Lock;
use builder::lock::renew::{Renewal, Upgrade};
use builder::progress::Progress;
use jiff::Timestamp;
use profiles::fleet::Fleet;
use profiles::spec::Spec;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub const ID: &str = "6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10";

/// As patient as a test can be.
pub fn http() -> Http {
    let milli = Duration::from_millis;
    Http::new(Patience { attempts: 2, pause: milli(1), connect: milli(5000), stall: milli(2000) })
}

/// A fleet of nodes, each with lines of its own besides the profile `plain`.
pub fn fleet(nodes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([
        ("fleet.toml".to_owned(), format!("[fleet]\nid = \"{ID}\"\nname = \"home\"\n")),
        ("profiles/plain.toml".to_owned(), "components = [\"main\"]\n".to_owned()),
    ]);
    for (node, text) in nodes {
        files.insert(format!("nodes/{node}.toml"), format!("profiles = [\"plain\"]\n{text}\n"));
    }
    files
}

/// The nodes' Specs.
pub fn specs(nodes: &[(&str, &str)]) -> Vec<Spec> {
    let files = fleet(nodes);
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    nodes.iter().map(|(node, _)| fleet.node(node).unwrap_or_else(|problems| panic!("{problems}"))).collect()
}

/// Nodes that ask for these packages.
pub fn asking(nodes: &[(&str, &str)]) -> Vec<Spec> {
    let lines: Vec<(&str, String)> = nodes
        .iter()
        .map(|(node, packages)| {
            let names: Vec<String> = packages.split_whitespace().map(|name| format!("{name:?}")).collect();
            (*node, format!("packages = [{}]", names.join(", ")))
        })
        .collect();
    specs(&lines.iter().map(|(node, line)| (*node, line.as_str())).collect::<Vec<_>>())
}

/// A suite and its packages, such as `a; Depends: b`, all of version 1 unless they say otherwise: `a 2; Depends: b`.
pub struct Suite {
    pub name: &'static str,
    /// Days before the test's now.
    pub age: i64,
    pub packages: &'static [&'static str],
}

/// An essential package, needs and alternatives.
pub const TRIXIE: Suite = Suite {
    name: "trixie",
    age: 30,
    packages: &[
        "bash; Essential: yes; Depends: libc",
        "libc",
        "htop; Depends: libc, curses | slang",
        "curses",
        "slang",
        "jq",
    ],
};

/// The same without a libc, where it would only be in the way.
pub const SMALL: Suite =
    Suite { name: "trixie", age: 30, packages: &["bash; Essential: yes", "htop; Depends: curses", "curses", "jq"] };

/// A file's bytes and its place.
fn deb(package: &str, folder: &Path) -> (String, Vec<u8>, String) {
    let (head, fields) = package.split_once(';').unwrap_or((package, ""));
    let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
    let fields: String =
        fields.split(';').map(str::trim).filter(|field| !field.is_empty()).map(|field| format!("{field}\n")).collect();
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}Description: made\n");
    // Of two members of a name the later counts.
    let made = Made::new(name, "").member("control", &control).write(folder, "made");
    let bytes = std::fs::read(made).unwrap();
    let path = format!("pool/main/{}/{name}/{name}_{version}_all.deb", &name[..1]);
    let paragraph = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
        bytes.len(),
        digest(&bytes)
    );
    (path, bytes, paragraph)
}

pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A key, a cache, and the clock of the test.
pub struct Desk {
    signer: Signer,
    pub folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Desk { signer: Signer::sound(), folder: tempfile::tempdir().unwrap() }
    }

    /// The same keys on another machine: with an empty cache.
    pub fn elsewhere(self) -> Self {
        Desk { signer: self.signer, folder: tempfile::tempdir().unwrap() }
    }

    pub fn cache(&self) -> Cache {
        Cache::open(self.folder.path()).unwrap()
    }

    /// Everything that a mirror serves.
    pub fn files(&self, suites: &[Suite]) -> HashMap<String, Vec<u8>> {
        let mut files = HashMap::new();
        for suite in suites {
            let mut index = String::new();
            for package in suite.packages {
                let (path, bytes, paragraph) = deb(package, self.folder.path());
                index += &paragraph;
                files.insert(format!("/{path}"), bytes);
            }
            let date = Timestamp::from_second(i64::from(NOW) - suite.age * i64::from(DAY)).unwrap();
            let release = format!(
                "Codename: {}\nDate: {}\nSHA256:\n {} {} main/binary-amd64/Packages\n",
                suite.name,
                date.strftime("%a, %d %b %Y %H:%M:%S UTC"),
                digest(index.as_bytes()),
                index.len()
            );
            let below = format!("/dists/{}", suite.name);
            files.insert(format!("{below}/InRelease"), signed(&release, &self.signer).into_bytes());
            files.insert(format!("{below}/main/binary-amd64/Packages"), index.into_bytes());
        }
        files
    }

    pub fn serve(&self, suites: &[Suite]) -> Market {
        let names: Vec<&'static str> = suites.iter().map(|suite| suite.name).collect();
        self.market(Server::of_files(self.files(suites)), &names)
    }

    pub fn market(&self, server: Server, suites: &[&'static str]) -> Market {
        Market { server, suites: suites.to_vec() }
    }

    pub fn sources(&self, market: &Market) -> Vec<Source> {
        let (key, components) = (self.signer.armored(), ["main".to_owned()]);
        let source = |suite: &&str| {
            let pins = [self.signer.fingerprint()];
            let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
            Source::extra(&market.server.url(""), suite, &components, key.as_bytes(), &pins).unwrap()
        };
        market.suites.iter().map(source).collect()
    }

    /// Locks, or says why not.
    pub fn tries(&self, market: &Market, specs: &[Spec], old: Option<&Lock>, upgrade: &Upgrade) -> Result<Lock> {
        self.renews(&|_| Ok(self.sources(market)), specs, old, upgrade)
    }

    /// As `tries`, with sources that differ from Spec to Spec.
    pub fn renews(
        &self,
        sources: &dyn Fn(&Spec) -> Result<Vec<Source>>,
        specs: &[Spec],
        old: Option<&Lock>,
        upgrade: &Upgrade,
    ) -> Result<Lock> {
        let now = Timestamp::from_second(i64::from(NOW)).unwrap();
        let cache = self.cache();
        Lock::renew(&Renewal {
            fleet: ID.parse().unwrap(),
            specs,
            old,
            upgrade,
            sources,
            open: &|sources| Archive::open_with(&http(), sources, &cache, &Progress::quiet(), now),
            cache: &cache,
            progress: &Progress::quiet(),
        })
    }

    pub fn locks(&self, market: &Market, specs: &[Spec], old: Option<&Lock>) -> Lock {
        self.tries(market, specs, old, &Upgrade::Nothing).unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub fn upgrades(&self, market: &Market, specs: &[Spec], old: &Lock, names: &str) -> Lock {
        let names: BTreeSet<String> = names.split_whitespace().map(str::to_owned).collect();
        let upgrade = if names.is_empty() { Upgrade::All } else { Upgrade::These(names) };
        self.tries(market, specs, Some(old), &upgrade).unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// A mirror, and what it has.
pub struct Market {
    pub server: Server,
    suites: Vec<&'static str>,
}

/// The text without what is another at each run: signatures, and so the digests of signed Releases.
pub fn stable(lock: &Lock) -> String {
    let mut text = lock.text();
    for sha256 in lock.releases.values() {
        text = text.replace(sha256, "<of the signed Release>");
    }
    text
}

/// `name version` of what a node has.
pub fn has(lock: &Lock, node: &str) -> String {
    let share = lock.share_of(&format!("node/{node}")).expect("a share");
    share.has.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}
