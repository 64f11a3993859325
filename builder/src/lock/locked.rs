//! One Spec's share of a lock: all that a build has to know of the archive.

use crate::archive::cache::Cache;
use crate::archive::mirror::Mirror;
use crate::archive::package::Package;
use crate::archive::solve::Wanted;
use crate::archive::source::Source;
use crate::archive::{Archive, Suite};
use crate::progress::Progress;
use anyhow::{Context, Result};
use jiff::Timestamp;
use profiles::fleet;
use profiles::problem::{Problem, Problems};
use profiles::profile::Repository;
use profiles::spec::Spec;

/// The packages of one Spec, and where they come from.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The newest date of the suites, in seconds since 1970: the time stamp of all that is made of the packages.
    pub epoch: i64,
    pub suites: Vec<Suite>,
    /// By name, each once.
    pub packages: Vec<Package>,
}

impl Locked {
    /// What the archive has today for a Spec that no mimg.lock covers. `settings` is `[archive]` of the fleet.
    pub fn afresh(spec: &Spec, settings: &fleet::Archive, cache: &Cache, progress: &Progress) -> Result<Locked> {
        let archive = Archive::open(&sources(spec, settings)?, cache, progress, Timestamp::now())?;
        let packages = archive.solve(&wanted(spec)).map_err(asked_for_in_vain)?;
        Ok(Locked { epoch: archive.epoch(), suites: archive.suites().to_vec(), packages })
    }
}

/// Debian's suites and the Spec's own repositories.
fn sources(spec: &Spec, settings: &fleet::Archive) -> Result<Vec<Source>> {
    let mirror = Mirror::new(settings.mirror.as_deref(), settings.security_mirror.as_deref())?;
    let mut sources = Source::debian(&mirror, &spec.settings.components)?;
    for repository in &spec.settings.repository {
        let source = extra(repository)
            .with_context(|| format!("reading the repository {:?} of the profile", repository.name))?;
        sources.push(source);
    }
    for source in &mut sources {
        source.check_valid_until = settings.check_valid_until.unwrap_or(true);
    }
    Ok(sources)
}

fn extra(repository: &Repository) -> Result<Source> {
    let Repository { uri, suite, components, key, fingerprint, priority, .. } = repository;
    let mut source = Source::extra(uri, suite, components, key.as_bytes(), &[fingerprint])?;
    source.priority = *priority;
    Ok(source)
}

fn wanted(spec: &Spec) -> Vec<Wanted> {
    let each = |(name, by): (String, Vec<String>)| Wanted { name, by: by.join(", ") };
    spec.packages().into_iter().map(each).collect()
}

/// Packages that do not exist, or not together, are bad input: the settings have to change.
fn asked_for_in_vain(error: anyhow::Error) -> Problems {
    let cure = "change the packages of the profile or node that asks for them";
    Problems(vec![Problem::of_none(format!("{error:#}"), "packages that exist, and can be installed together", cure)])
}
