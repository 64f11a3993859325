//! `mimg`: the command line.

use anyhow::{Context, Result, bail};
use builder::batch::{self, Batch, Verdict};
use builder::build::{Order, build};
use builder::cli::{Cli, Command, Subject};
use builder::progress::Progress;
use builder::work::Work;
use builder::{check, clean, folder, image::fat, tree::sandbox, vm::trial};
use clap::Parser;
use jiff::Timestamp;
use profiles::fleet::{Archive, Fleet};
use profiles::part::SEED_LABEL;
use profiles::problem::{Problem, Problems};
use profiles::size::Size;
use profiles::spec::Spec;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uuid::Uuid;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => fail(&cli, &error),
    }
}

/// Shows what went wrong: problems with their places, anything else with its causes.
fn fail(cli: &Cli, error: &anyhow::Error) -> ExitCode {
    let Some(problems) = error.downcast_ref::<Problems>() else {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        eprintln!("error: {}", causes.join(": "));
        return ExitCode::from(1);
    };
    if cli.json {
        // A pipe that is closed has nobody left to tell.
        let _ = print_json(problems);
    } else {
        eprintln!("{}", problems.render(std::io::stderr().is_terminal()));
        eprintln!("\n{} problem{}", problems.0.len(), if problems.0.len() == 1 { "" } else { "s" });
    }
    ExitCode::from(2)
}

fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init { dir } => init(cli, dir),
        Command::Check => check(cli),
        Command::Profiles => list(cli),
        Command::Spec(subject) => with_spec(cli, subject, |spec, _| {
            print!("{}", spec.json());
            Ok(ExitCode::SUCCESS)
        }),
        Command::Build { subjects, out, out_dir } => {
            let folder = out_dir.as_deref().unwrap_or(Path::new(""));
            match subjects.one() {
                Some(subject) => build_image(cli, &subject, out.as_deref(), folder),
                None => build_all(cli, folder),
            }
        }
        Command::Seed { node, out } => seed(cli, node, out),
        Command::Test { subject, image } => test(cli, subject, image.as_deref()),
        Command::Clean { keep, dry_run } => clean(cli, *keep, *dry_run),
    }
}

/// The fleet's folder: as named, or this one where it has a fleet.toml. `None`: the catalog alone.
fn fleet_folder(cli: &Cli) -> Option<PathBuf> {
    let here = || Path::new("fleet.toml").exists().then(|| PathBuf::from("."));
    cli.fleet.clone().or_else(here)
}

/// Loads the fleet and hands it to `then`, which may not outlive its texts.
fn with_fleet<T>(cli: &Cli, then: impl FnOnce(&Fleet) -> Result<T>) -> Result<T> {
    let Some(folder) = fleet_folder(cli) else { return then(&Fleet::catalog()?) };
    if !folder.is_dir() {
        let saw = format!("there is no folder {}", folder.display());
        return Err(Problems(vec![Problem::of_none(saw, "a fleet's folder", "start one with `mimg init DIR`")]).into());
    }
    let files: BTreeMap<String, String> = folder::read(&folder).context("reading the fleet")?;
    then(&Fleet::load(&files)?)
}

fn with_spec<T>(cli: &Cli, subject: &Subject, then: impl FnOnce(Spec, Archive) -> Result<T>) -> Result<T> {
    let (spec, archive) = with_fleet(cli, |fleet| spec_of(fleet, subject))?;
    then(spec, archive)
}

/// As `with_spec`, with a Spec whose repositories and overlays are sound: for building.
fn with_sound_spec<T>(cli: &Cli, subject: &Subject, then: impl FnOnce(Spec, Archive) -> Result<T>) -> Result<T> {
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

fn archive_of(fleet: &Fleet) -> Archive {
    fleet.root().map(|root| root.archive.clone()).unwrap_or_default()
}

/// The fleet's folder of overlays.
fn overlays(cli: &Cli) -> Option<PathBuf> {
    fleet_folder(cli).map(|folder| folder.join("overlays"))
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn init(cli: &Cli, dir: &Path) -> Result<ExitCode> {
    let written = folder::init(dir, Uuid::new_v4())?;
    if cli.json {
        print_json(&written)?;
    } else {
        for path in &written {
            println!("{}", dir.join(path).display());
        }
        eprintln!("Next: write your ssh key into fleet.toml, then `mimg check --fleet {}`.", dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn check(cli: &Cli) -> Result<ExitCode> {
    with_fleet(cli, |fleet| {
        let nodes: Vec<&str> = fleet.nodes().collect();
        let specs = fleet.profiles().into_iter().map(|name| fleet.profile(name));
        let mut problems = Problems::default();
        for spec in specs.chain(nodes.iter().map(|name| fleet.node(name))) {
            let checked = check::check(fleet, &spec?, overlays(cli).as_deref(), Timestamp::now());
            problems.0.extend(checked.err().unwrap_or_default().0);
        }
        problems.or(())?;
        if cli.json {
            print_json(&Vec::<Problem>::new())?;
        } else {
            let name = fleet.root().map_or("the catalog".to_owned(), |root| format!("fleet {}", root.fleet.name));
            println!("{name}: no problems; nodes: {}, profiles: {}", nodes.len(), fleet.profiles().len());
        }
        Ok(ExitCode::SUCCESS)
    })
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    about: String,
}

fn list(cli: &Cli) -> Result<ExitCode> {
    with_fleet(cli, |fleet| {
        let mut listed = Vec::new();
        for name in fleet.profiles() {
            listed.push(Listed { name, about: fleet.profile(name)?.settings.about.unwrap_or_default() });
        }
        if cli.json {
            print_json(&listed)?;
        } else {
            listed.iter().for_each(|Listed { name, about }| println!("{name:<12} {about}"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn build_image(cli: &Cli, subject: &Subject, out: Option<&Path>, folder: &Path) -> Result<ExitCode> {
    with_sound_spec(cli, subject, |spec, archive| {
        sandbox::become_root()?;
        let default = folder.join(format!("{}.img", subject.name()));
        let out = out.unwrap_or(&default);
        let manifest = build_to(cli, &spec, &archive, out)?;
        if cli.json {
            print_json(&manifest)?;
        } else {
            println!("{}", out.display());
            eprintln!(
                "Write it to a disk or stick, or try it first: mimg test {} --image {}",
                argument(subject),
                out.display()
            );
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn build_all(cli: &Cli, folder: &Path) -> Result<ExitCode> {
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
    sandbox::become_root()?;
    let build = |spec: &Spec, out: &Path| build_to(cli, spec, &archive, out).map(drop);
    let outcomes = batch.run(folder, build, |line| eprintln!("{line}"));
    if cli.json {
        print_json(&outcomes)?;
    } else {
        print!("{}", batch::table(&outcomes));
    }
    let failed = outcomes.iter().any(|outcome| outcome.result == Verdict::Failed);
    Ok(ExitCode::from(if failed { 1 } else { 0 }))
}

fn argument(subject: &Subject) -> String {
    let kind = if subject.node.is_some() { "--node" } else { "--profile" };
    format!("{kind} {}", subject.name())
}

/// Builds to `out`, and writes the manifest beside it.
fn build_to(cli: &Cli, spec: &Spec, archive: &Archive, out: &Path) -> Result<builder::image::manifest::Manifest> {
    let (overlays, cache) = (overlays(cli), cache(cli)?);
    let order = Order { spec, archive, overlays: overlays.as_deref(), out, cache: &cache };
    let manifest = build(&order, &Progress::to_stderr())?;
    let beside = out.with_extension("manifest.json");
    fs_err::write(&beside, manifest.json())?;
    Ok(manifest)
}

fn seed(cli: &Cli, node: &str, out: &Path) -> Result<ExitCode> {
    let subject = Subject { profile: None, node: Some(node.to_owned()) };
    with_spec(cli, &subject, |spec, _| {
        // The smallest FAT that every kernel and firmware reads, with room for what later comes beside the Spec.
        let json = spec.json();
        fat::medium(out, SEED_LABEL, 8 << 20, &[("spec.json", json.as_bytes())], 0)?;
        println!("{}", out.display());
        Ok(ExitCode::SUCCESS)
    })
}

fn test(cli: &Cli, subject: &Subject, image: Option<&Path>) -> Result<ExitCode> {
    with_sound_spec(cli, subject, |spec, archive| {
        trial::check_host()?;
        if let Some(image) = image {
            return try_out(cli, image);
        }
        sandbox::become_root()?;
        let work = Work::in_cache(&cache(cli)?)?;
        let image = work.path().join("image");
        build_to(cli, &spec, &archive, &image)?;
        try_out(cli, &image)
    })
}

fn try_out(cli: &Cli, image: &Path) -> Result<ExitCode> {
    let trials = trial::run(image, &Progress::to_stderr())?;
    if cli.json {
        print_json(&trials)?;
    } else {
        for trial in &trials {
            println!("{}, {:.0} s after power on:\n{}", trial.firmware, trial.seconds, trial.report);
        }
    }
    Ok(ExitCode::from(if trials.iter().all(trial::Trial::passed) { 0 } else { 1 }))
}

fn clean(cli: &Cli, keep: Option<Size>, dry: bool) -> Result<ExitCode> {
    sandbox::become_root()?;
    let cache = cache(cli)?;
    let freed = clean::clean(&cache, keep.map_or(0, |Size(bytes)| bytes), dry)?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    if cli.json {
        print_json(&freed)?;
    } else {
        for entry in freed.removed.iter().filter(|_| dry) {
            println!("{:>12}  {}  {}", mib(entry.bytes), entry.used.strftime("%Y-%m-%d %H:%M"), entry.path.display());
        }
        let verb = if dry { "would be freed" } else { "freed" };
        println!("{} {verb}, {} kept in {}", mib(freed.freed), mib(freed.kept), cache.display());
    }
    if !freed.reached {
        eprintln!("{} may be in use by builds at work; run `mimg clean` again when they are done", mib(freed.in_use));
    }
    Ok(ExitCode::from(if freed.reached { 0 } else { 4 }))
}

/// The cache's folder, made if it is not there.
fn cache(cli: &Cli) -> Result<PathBuf> {
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
