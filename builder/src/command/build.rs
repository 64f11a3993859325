//! `mimg build`: one image, or those of the whole fleet, and what is made of them.

use super::hand::{archive_of, cache, fleet_folder, overlays, with_fleet, with_sound_spec};
use super::print_json;
use anyhow::{Context, Result};
use builder::archive::cache::Cache;
use builder::archive::opened::Opened;
use builder::batch::{self, Batch, Verdict};
use builder::build::{self, Order};
use builder::cli::{Build, Cli, Subject};
use builder::image::manifest::Manifest;
use builder::lock::command;
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::signature::SigningKey;
use builder::publish::{Format, Publication};
use builder::receipt::{self, Receipt};
use builder::secrets::{Store, identity::Identity};
use builder::tree::sandbox;
use builder::work::Work;
use builder::{check, room};
use jiff::Timestamp;
use profiles::fleet::Archive;
use profiles::problem::Problems;
use profiles::spec::Spec;
use std::path::Path;
use std::process::ExitCode;

pub fn build(cli: &Cli, wish: &Build) -> Result<ExitCode> {
    let folder = wish.out_dir.as_deref().unwrap_or(Path::new(""));
    match wish.subjects.one() {
        Some(subject) => build_image(cli, wish, &subject, folder),
        None => build_all(cli, wish, folder),
    }
}

fn build_image(cli: &Cli, wish: &Build, subject: &Subject, folder: &Path) -> Result<ExitCode> {
    with_sound_spec(cli, subject, |spec, archive| {
        let default = folder.join(format!("{}.img", subject.name()));
        let place = Place::new(wish.out.as_ref().unwrap_or(&default));
        Publication::check(&place, &wish.format)?;
        let key = if wish.unsigned { None } else { signing_key(cli, wish.identity.as_deref())? };
        let publication = Publication { place: &place, formats: &wish.format, key: key.as_ref(), workers: workers() };
        sandbox::become_root()?;
        let manifest = publish(cli, &spec, &archive, &mut Opened::default(), &publication, wish.no_cache)?;
        if cli.json {
            print_json(&manifest)?;
            return Ok(ExitCode::SUCCESS);
        }
        publication.images().iter().for_each(|image| println!("{}", image.display()));
        if key.is_none() && !wish.unsigned {
            eprintln!("Not signed: there is no fleet with a key for that. `mimg secrets init` makes one.");
        }
        if wish.format.contains(&Format::Raw) {
            let (what, raw) = (argument(cli, subject), place.raw().display());
            eprintln!("Write it to a disk or stick, or try it first: mimg test {what} --image {raw}");
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn build_all(cli: &Cli, wish: &Build, folder: &Path) -> Result<ExitCode> {
    let (batch, archive) = with_fleet(cli, |fleet| {
        let batch = Batch::of(fleet)?;
        let mut problems = Problems::default();
        for spec in batch.specs() {
            let checked = check::check(fleet, spec, overlays(cli).as_deref(), Timestamp::now());
            problems.0.extend(checked.err().unwrap_or_default().0);
        }
        problems.or(())?;
        Ok((batch, archive_of(fleet)))
    })?;
    batch::check_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
    let key = if wish.unsigned { None } else { signing_key(cli, wish.identity.as_deref())? };
    sandbox::become_root()?;
    let mut opened = Opened::default();
    let build = |spec: &Spec, out: &Path| {
        let place = Place::new(out);
        Publication::check(&place, &wish.format)?;
        let publication = Publication { place: &place, formats: &wish.format, key: key.as_ref(), workers: workers() };
        publish(cli, spec, &archive, &mut opened, &publication, wish.no_cache).map(drop)
    };
    let outcomes = batch.run(folder, build, |line| eprintln!("{line}"));
    if cli.json {
        print_json(&outcomes)?;
    } else {
        print!("{}", batch::table(&outcomes));
    }
    let failed = outcomes.iter().any(|outcome| outcome.result == Verdict::Failed);
    Ok(ExitCode::from(if failed { 1 } else { 0 }))
}

/// How many threads compress.
fn workers() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

/// The key that signs what is built; `None` where the fleet has none. Asks for a passphrase before the build, not after.
fn signing_key(cli: &Cli, identity: Option<&Path>) -> Result<Option<SigningKey>> {
    let store = fleet_folder(cli).map(|fleet| Store::open(&fleet)).transpose()?.flatten();
    let Some(store) = store else { return Ok(None) };
    let identity = Identity::open(identity)?;
    Ok(Some(store.signing_key(&identity).context("opening the key that signs (--unsigned builds without)")?))
}

/// Builds the image, and makes of it what is to leave the house; nothing, where that was done before of the same.
fn publish(
    cli: &Cli,
    spec: &Spec,
    archive: &Archive,
    opened: &mut Opened,
    publication: &Publication,
    anew: bool,
) -> Result<Manifest> {
    let (progress, cache) = (Progress::to_stderr(), cache(cli)?);
    with_order(cli, spec, archive, opened, |order| {
        let order = Order { anew, ..order };
        let key = receipt::key(&order, &publication.what())?;
        if let Some(manifest) = Receipt::find(&cache, &key).filter(|_| !anew) {
            progress.say("Nothing has changed since it was built.");
            return Ok(manifest);
        }
        let raw = publication.place.raw();
        let manifest = if publication.formats.contains(&Format::Raw) {
            publication.write(raw, build::build(&Order { out: raw, ..order }, &progress)?, &progress)?
        } else {
            // Nobody asked for the raw image: it lies with the work in progress, and goes with it however the run ends.
            let work = Work::in_cache(&cache)?;
            let raw = work.path().join("image");
            publication.write(&raw, build::build(&Order { out: &raw, ..order }, &progress)?, &progress)?
        };
        Receipt::keep(&cache, &key, &publication.files(&manifest), &manifest)?;
        Ok(manifest)
    })
}

/// What is to be built, its packages locked; where to is the caller's to say.
pub fn with_order<T>(
    cli: &Cli,
    spec: &Spec,
    archive: &Archive,
    opened: &mut Opened,
    then: impl FnOnce(Order) -> Result<T>,
) -> Result<T> {
    let (overlays, cache, progress) = (overlays(cli), cache(cli)?, Progress::to_stderr());
    room::check_kind(&cache)?;
    let debs = Cache::open(&cache.join("debs"))?;
    let folder = fleet_folder(cli);
    let locked = command::locked(folder.as_deref(), spec, archive, !cli.offline, opened, &debs, &progress)?;
    let (overlays, out) = (overlays.as_deref(), Path::new(""));
    then(Order { spec, locked: &locked, archive, overlays, out, cache: &cache, anew: false }).map_err(command::cured)
}

/// What was built, in words that another command takes.
fn argument(cli: &Cli, subject: &Subject) -> String {
    let kind = if subject.node.is_some() { "--node" } else { "--profile" };
    let fleet = cli.fleet.iter().map(|folder| format!(" --fleet {}", folder.display())).collect::<String>();
    format!("{kind} {}{fleet}", subject.name())
}
