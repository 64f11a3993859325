//! What the commands do with a fleet's lock: find it, judge it, use it, replace it.

use crate::archive::Archive;
use crate::archive::cache::Cache;
use crate::archive::fetch::Missing;
use crate::archive::opened::Opened;
use crate::archive::package::Package;
use crate::archive::source::Source;
use crate::lock::locked::sources;
use crate::lock::renew::{Renewal, Upgrade};
use crate::lock::{FILE, Lock, Locked, Salvaged, label};
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow};
use fs_err as fs;
use jiff::Timestamp;
use profiles::fleet::{self, Fleet};
use profiles::problem::{Problem, Problems, Texts};
use profiles::spec::Spec;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use uuid::Uuid;

/// The lock of the fleet in `folder`, if it has one. Errors: what is wrong with it, all at once.
pub fn read(folder: &Path, fleet: Uuid) -> Result<Option<Lock>> {
    let Some(text) = text(folder)? else { return Ok(None) };
    let lock = Lock::parse(&text)?;
    of_fleet(&text, &lock, fleet)?;
    Ok(Some(lock))
}

fn text(folder: &Path) -> Result<Option<String>> {
    match fs::read(folder.join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// A lock of another fleet may be sound, but is for other machines.
fn of_fleet(text: &str, lock: &Lock, fleet: Uuid) -> Result<(), Problems> {
    if lock.fleet == fleet {
        return Ok(());
    }
    let mut texts = Texts::default();
    texts.add(FILE, text);
    let start = text.find("\nfleet ").map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let cure = format!("take the lock of this fleet from git, or remove {FILE} and make one with `mimg lock`");
    let problem = texts.problem(&(start..end), "this is the lock of another fleet", &format!("fleet {fleet}"), &cure);
    Err(Problems(vec![problem]))
}

/// The lock of a fleet that has to have one.
pub fn of(folder: &Path, fleet: &Fleet) -> Result<Lock> {
    let root = fleet.root().context("finding fleet.toml")?;
    Ok(read(folder, root.fleet.id)?.ok_or_else(|| without_lock("this reads the lock"))?)
}

/// All locked packages of these Specs, each file once.
pub fn packages(folder: &Path, fleet: &Fleet, specs: &[Spec], online: bool) -> Result<Vec<Package>> {
    let lock = of(folder, fleet)?;
    let settings = fleet.root().map(|root| root.archive.clone()).unwrap_or_default();
    let (mut packages, mut problems) = (BTreeMap::new(), Problems::default());
    for spec in specs {
        let sources = if online { sources(spec, &settings)? } else { Vec::new() };
        match Locked::of(&lock, spec, &sources, snapshot(&settings)?) {
            Ok(locked) => packages.extend(locked.packages.into_iter().map(|package| (package.sha256.clone(), package))),
            Err(more) => problems.0.extend(more.0),
        }
    }
    Ok(problems.or(packages.into_values().collect())?)
}

/// The archive of snapshots that the fleet names.
fn snapshot(settings: &fleet::Archive) -> Result<Option<&str>, Problems> {
    match settings.snapshot.as_deref() {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            let saw = format!("the snapshot {url:?} under [archive] in fleet.toml is no address");
            Err(Problems(vec![Problem::of_none(
                saw,
                "http://… or https://…",
                "write what comes before /archive/debian/",
            )]))
        }
        url => Ok(url),
    }
}

/// The Specs that a fleet's lock covers: all nodes, the fleet's own profiles, and those of the catalog that one of these
/// starts from. A profile without components has no archive to take packages from: it is a piece for others.
pub fn specs(fleet: &Fleet) -> Result<Vec<Spec>, Problems> {
    let mut specs = BTreeMap::new();
    for node in fleet.nodes() {
        let spec = fleet.node(node)?;
        specs.insert(label(&spec), spec);
    }
    for profile in fleet.own_profiles() {
        let spec = fleet.profile(profile)?;
        specs.insert(label(&spec), spec);
    }
    let used: Vec<String> = specs.values().flat_map(Spec::profiles).collect();
    for profile in used {
        let spec = fleet.profile(&profile)?;
        specs.insert(label(&spec), spec);
    }
    Ok(specs.into_values().filter(|spec| spec.node.is_some() || !spec.settings.components.is_empty()).collect())
}

/// An old lock and the one that takes its place.
pub struct Renewed {
    /// An empty one, where there was none.
    pub old: Lock,
    pub new: Lock,
    /// Is the file another one now?
    pub differs: bool,
}

impl Renewed {
    /// In one line, what there is now.
    pub fn told(&self, folder: &Path, dry_run: bool) -> String {
        let specs = self.new.shares.len() + self.new.same.len();
        let (file, packages) = (folder.join(FILE), self.new.packages.len());
        let done = match (self.differs, dry_run) {
            (false, _) => "stays as it is",
            (true, true) => "would be written",
            (true, false) => "is written",
        };
        format!("{} {done}: {packages} packages for {specs} nodes and profiles", file.display())
    }
}

/// Makes the lock of the fleet in `folder` anew; nothing is written. Without `online` no archive is opened.
pub fn renew(
    folder: &Path,
    fleet: &Fleet,
    upgrade: &Upgrade,
    online: bool,
    cache: &Cache,
    progress: &Progress,
) -> Result<Renewed> {
    let root = fleet.root().context("finding fleet.toml")?;
    let text = text(folder)?;
    let old = match &text {
        None => None,
        Some(text) => {
            let Salvaged { lock, faults } = Lock::salvage(text)?;
            of_fleet(text, &lock, root.fleet.id)?;
            for fault in &faults.0 {
                progress.say(&format!("mending {}:{}: {}", fault.file, fault.line, fault.saw));
            }
            Some(lock)
        }
    };
    let specs = specs(fleet)?;
    let new = Lock::renew(&Renewal {
        fleet: root.fleet.id,
        specs: &specs,
        old: old.as_ref(),
        upgrade,
        sources: &|spec| sources(spec, &root.archive),
        open: &|sources| open(sources, online, cache, progress),
        cache,
        progress,
    })?;
    let differs = text.as_deref() != Some(new.text().as_str());
    Ok(Renewed { old: old.unwrap_or_default(), new, differs })
}

fn open(sources: &[Source], online: bool, cache: &Cache, progress: &Progress) -> Result<Archive> {
    if !online {
        let saw = "there is something to lock that is not in the lock yet, and --offline allows no connection";
        return Err(Problems(vec![Problem::of_none(saw, "a network", "`mimg lock` where there is one")]).into());
    }
    Archive::open(sources, cache, progress, Timestamp::now())
}

/// Puts the lock into the folder: the old one is there until the new one is whole.
pub fn write(folder: &Path, lock: &Lock) -> Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".mimg.lock.")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("writing into {}", folder.display()))?;
    file.write_all(lock.text().as_bytes()).and_then(|()| file.as_file().sync_all()).context("writing the lock")?;
    file.persist(folder.join(FILE)).context("writing the lock")?;
    Ok(())
}

/// A Spec's packages for a build: from the lock of the fleet in `folder`; where there is none, as the archive has them today,
/// which is `opened` once for all Specs.
pub fn locked(
    folder: Option<&Path>,
    spec: &Spec,
    settings: &fleet::Archive,
    online: bool,
    opened: &mut Opened,
    cache: &Cache,
    progress: &Progress,
) -> Result<Locked> {
    let lock = match (folder, &spec.fleet) {
        (Some(folder), Some(fleet)) => read(folder, fleet.id)?,
        _ => None,
    };
    match lock {
        Some(lock) => {
            let sources = if online { sources(spec, settings)? } else { Vec::new() };
            Ok(Locked::of(&lock, spec, &sources, snapshot(settings)?)?)
        }
        None if online => Locked::afresh(spec, settings, opened, cache, progress),
        None => Err(without_lock("--offline builds from a lock").into()),
    }
}

/// What needs a lock and finds none.
pub fn without_lock(what: &str) -> Problems {
    let cure = "`mimg lock` in a fleet's folder, where there is a network";
    Problems(vec![Problem::of_none(format!("{what}, and there is no {FILE}"), "a fleet with a lock", cure)])
}

/// What an error about packages that cannot be had means to somebody who builds from a lock.
pub fn cured(error: anyhow::Error) -> anyhow::Error {
    let Some(missing) = error.downcast_ref::<Missing>() else { return error };
    if !missing.gone {
        return anyhow!(
            "{missing}\ncure: `mimg fetch` where there is a network; it fills the cache, which can be carried"
        );
    }
    let names: Vec<&str> = missing.packages.iter().map(|package| package.name.as_str()).collect();
    let names = if names.len() > 20 { String::new() } else { format!(" {}", names.join(" ")) };
    let said: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    anyhow!(
        "{missing}\n{}\ncure: `mimg lock --upgrade{names}` takes what the archive has today; to keep the locked versions, \
         name an archive of snapshots in fleet.toml, as snapshot = \"https://…\" under [archive]",
        said.join("\n")
    )
}
