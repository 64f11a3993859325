//! What a command has at hand: the fleet, its overlays, the cache.

use anyhow::{Context, Result, bail};
use builder::cli::{Cli, Subject};
use builder::{check, folder};
use jiff::Timestamp;
use profiles::fleet::{Archive, Fleet};
use profiles::problem::{Problem, Problems};
use profiles::spec::Spec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The fleet's folder: as named, or this one where it has a fleet.toml. `None`: the catalog alone.
pub fn fleet_folder(cli: &Cli) -> Option<PathBuf> {
    let here = || Path::new("fleet.toml").exists().then(|| PathBuf::from("."));
    cli.fleet.clone().or_else(here)
}

/// The fleet's folder, where a command is about a fleet and nothing else.
pub fn own_folder(cli: &Cli) -> Result<PathBuf> {
    let here = || {
        Problem::of_none(
            "there is no fleet here",
            "a fleet's folder",
            "name it with --fleet, or start one with `mimg init DIR`",
        )
    };
    Ok(fleet_folder(cli).ok_or_else(|| Problems(vec![here()]))?)
}

/// Loads the fleet and hands it to `then`, which may not outlive its texts.
pub fn with_fleet<T>(cli: &Cli, then: impl FnOnce(&Fleet) -> Result<T>) -> Result<T> {
    let Some(folder) = fleet_folder(cli) else { return then(&Fleet::catalog()?) };
    if !folder.is_dir() {
        let saw = format!("there is no folder {}", folder.display());
        return Err(Problems(vec![Problem::of_none(saw, "a fleet's folder", "start one with `mimg init DIR`")]).into());
    }
    let files: BTreeMap<String, String> = folder::read(&folder).context("reading the fleet")?;
    then(&Fleet::load(&files)?)
}

pub fn with_spec<T>(cli: &Cli, subject: &Subject, then: impl FnOnce(Spec, Archive) -> Result<T>) -> Result<T> {
    let (spec, archive) = with_fleet(cli, |fleet| spec_of(fleet, subject))?;
    then(spec, archive)
}

/// As `with_spec`, with a Spec whose repositories and overlays are sound: for building.
pub fn with_sound_spec<T>(cli: &Cli, subject: &Subject, then: impl FnOnce(Spec, Archive) -> Result<T>) -> Result<T> {
    with_fleet(cli, |fleet| {
        let (spec, archive) = spec_of(fleet, subject)?;
        check::check(fleet, &spec, overlays(cli).as_deref(), Timestamp::now())?;
        Ok((spec, archive))
    })
    .and_then(|(spec, archive)| then(spec, archive))
}

fn spec_of(fleet: &Fleet, subject: &Subject) -> Result<(Spec, Archive)> {
    let spec = match &subject.node {
        Some(node) => fleet.node(node)?,
        None => fleet.profile(subject.name())?,
    };
    Ok((spec, archive_of(fleet)))
}

pub fn archive_of(fleet: &Fleet) -> Archive {
    fleet.root().map(|root| root.archive.clone()).unwrap_or_default()
}

/// The fleet's folder of overlays.
pub fn overlays(cli: &Cli) -> Option<PathBuf> {
    fleet_folder(cli).map(|folder| folder.join("overlays"))
}

/// The cache's folder, made if it is not there.
pub fn cache(cli: &Cli) -> Result<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let base = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let Some(folder) = cli.cache.clone().or_else(|| Some(base()?.join("mimg"))) else {
        bail!("no home folder to keep downloads in; name one with --cache DIR");
    };
    let work = folder.join("work");
    let made = fs_err::create_dir_all(&work).map_err(anyhow::Error::from);
    made.and_then(|()| Ok(tempfile::tempfile_in(&work).map(drop)?)).with_context(|| {
        format!("making the cache in {} (cure: name another folder with --cache DIR)", folder.display())
    })?;
    Ok(fs_err::canonicalize(folder)?)
}
