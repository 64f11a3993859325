//! What is in a tree, entry by entry: kind, mode, owners, content. Times are not in it: they
//! are clamped when an image is packed.

use anyhow::{Result, ensure};
use builder::tree::overlay::Overlay;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub struct Listing {
    entries: BTreeMap<String, String>,
    /// Names of users and groups by number.
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

/// Where mmdebstrap's tree differs from ours, and why. A `*` ends a beginning.
const REASONS: [(&str, &str); 37] = [
    ("boot/initrd.img-*", "ours is made later, once"),
    ("dev/*", "it makes device nodes; ours come from devtmpfs"),
    ("etc/.pwd.lock", "removed"),
    ("etc/.resolv.conf.systemd-resolved.bak", "it copies the host's resolv.conf"),
    ("etc/apt/sources.list", "a Spec's own"),
    ("etc/apt/apt.conf.d/02autoremove-postgresql", "lists the clusters, and ours has none"),
    ("etc/fstab", "a Spec's own"),
    ("etc/group", "numbers in the order of configuring: the same names, checked below"),
    ("etc/group-", "a backup"),
    ("etc/gshadow", "as group"),
    ("etc/gshadow-", "a backup"),
    ("etc/hostname", "a Spec's own"),
    ("etc/machine-id", "empty in both; ours with the mode that systemd gives"),
    ("etc/passwd", "as group"),
    ("etc/passwd-", "a backup"),
    ("etc/postgresql/17*", "a cluster"),
    ("etc/resolv.conf", "it copies the host's"),
    ("etc/shadow", "the day on which passwords were set"),
    ("etc/shadow-", "a backup"),
    ("etc/ssh/ssh_host_*", "keys"),
    ("etc/ssl/certs/*", "the snakeoil certificate, and its hash"),
    ("etc/ssl/private/ssl-cert-snakeoil.key", "a key"),
    ("etc/subgid-", "a backup"),
    ("etc/subuid-", "a backup"),
    ("run/*", "empty in an image"),
    ("var/cache/apt/*", "apt ran there, not in ours"),
    ("var/cache/debconf/*-old", "a backup"),
    ("var/cache/ldconfig/aux-cache", "a cache"),
    ("var/lib/apt/*", "apt ran there, not in ours"),
    ("var/lib/dpkg/*-old", "a backup"),
    ("var/lib/dpkg/arch*", "written by mmdebstrap"),
    ("var/lib/dpkg/lock*", "a lock"),
    ("var/lib/dpkg/triggers/File", "the same lines in another order"),
    ("var/lib/dpkg/triggers/Lock", "a lock"),
    ("var/lib/postgresql/17*", "a cluster"),
    ("var/lib/ucf/*", "backups"),
    ("var/log/*", "logs"),
];

impl Listing {
    pub fn of(root: &Path) -> Result<Listing> {
        let (users, groups) = (names(&root.join("etc/passwd"))?, names(&root.join("etc/group"))?);
        let mut listing = Listing { entries: BTreeMap::new(), users, groups };
        listing.walk(root, "")?;
        Ok(listing)
    }

    fn walk(&mut self, root: &Path, below: &str) -> Result<()> {
        for entry in fs::read_dir(root.join(below))? {
            let entry = entry?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            let data = entry.metadata()?;
            let content = match entry.file_type()? {
                kind if kind.is_symlink() => fs::read_link(entry.path())?.to_string_lossy().into_owned(),
                kind if kind.is_file() => hex::encode(Sha256::digest(fs::read(entry.path())?)),
                _ => String::new(),
            };
            let name = |names: &BTreeMap<u32, String>, id: u32| names.get(&id).cloned().unwrap_or(id.to_string());
            let (user, group) = (name(&self.users, data.uid()), name(&self.groups, data.gid()));
            self.entries.insert(path.clone(), format!("{:o} {user}:{group} {content}", data.mode()));
            if data.is_dir() {
                self.walk(root, &format!("{path}/"))?;
            }
        }
        Ok(())
    }

    /// The entries that are not equal and whose difference has no reason. What the base overlay brings is ours alone.
    pub fn differing(&self, other: &Listing) -> Result<Vec<String>> {
        let base = Overlay::embedded("base")?;
        let ours: HashSet<&str> = base.paths().filter_map(Path::to_str).collect();
        let mut paths: Vec<&String> = self.entries.keys().chain(other.entries.keys()).collect();
        paths.sort();
        paths.dedup();
        let unequal = paths.into_iter().filter(|path| self.entries.get(*path) != other.entries.get(*path));
        let accounts = |listing: &Listing| {
            let names = |of: &BTreeMap<u32, String>| of.values().cloned().collect::<BTreeSet<_>>();
            (names(&listing.users), names(&listing.groups))
        };
        ensure!(accounts(self) == accounts(other), "they have other users or groups");
        let unexplained = unequal
            .filter(|path| !ours.contains(path.as_str()) && !REASONS.iter().any(|(pattern, _)| fits(pattern, path)));
        Ok(unexplained
            .map(|path| format!("{path}: {:?} and {:?}", self.entries.get(path), other.entries.get(path)))
            .collect())
    }
}

/// Names by number: the first and third field of each line.
fn names(file: &Path) -> Result<BTreeMap<u32, String>> {
    let text = fs::read_to_string(file)?;
    let line = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.nth(2)?.parse().ok()?, line.split(':').next()?.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn fits(pattern: &str, path: &str) -> bool {
    // Bytecode: with a time of the sources in theirs, with their hash in ours, which SOURCE_DATE_EPOCH asks for.
    if path.ends_with(".pyc") {
        return true;
    }
    match pattern.split_once('*') {
        Some((start, end)) => path.starts_with(start) && path.ends_with(end),
        None => pattern == path,
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        self.entries.iter().try_for_each(|(path, what)| writeln!(to, "{path:?} {what}"))
    }
}
