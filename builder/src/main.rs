//! `mimg`: the command line.

use anyhow::{Context, Result, bail};
use builder::archive::cache::Cache;
use builder::archive::fetch::fetch;
use builder::build::{Order, build};
use builder::cli::{Cli, Command, Subject, Whose};
use builder::lock::change::Changes;
use builder::lock::command;
use builder::lock::renew::Upgrade;
use builder::progress::Progress;
use builder::{diff, folder, image::fat, tree::sandbox, vm::trial};
use clap::Parser;
use profiles::fleet::{Archive, Fleet};
use profiles::part::SEED_LABEL;
use profiles::problem::{Problem, Problems};
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
        Command::Build { subject, out } => build_image(cli, subject, out.as_deref()),
        Command::Seed { node, out } => seed(cli, node, out),
        Command::Test { subject, image } => test(cli, subject, image.as_deref()),
        Command::Lock { why: Some(package), .. } => why(cli, package),
        Command::Lock { upgrade, dry_run, .. } => lock(cli, upgrade.as_deref(), *dry_run),
        Command::Fetch { whose } => fetch_packages(cli, whose),
        Command::Diff { old, new } => show_difference(cli, old, new),
        Command::Clean => clean(cli),
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
    let (spec, archive) = with_fleet(cli, |fleet| {
        let spec = match &subject.node {
            Some(node) => fleet.node(node)?,
            None => fleet.profile(subject.name())?,
        };
        Ok((spec, fleet.root().map(|root| root.archive.clone()).unwrap_or_default()))
    })?;
    then(spec, archive)
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
        for profile in fleet.profiles() {
            fleet.profile(profile)?;
        }
        let nodes: Vec<&str> = fleet.nodes().collect();
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

fn build_image(cli: &Cli, subject: &Subject, out: Option<&Path>) -> Result<ExitCode> {
    with_spec(cli, subject, |spec, archive| {
        sandbox::become_root()?;
        let default = PathBuf::from(format!("{}.img", subject.name()));
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

fn argument(subject: &Subject) -> String {
    let kind = if subject.node.is_some() { "--node" } else { "--profile" };
    format!("{kind} {}", subject.name())
}

/// Builds to `out`, and writes the manifest beside it.
fn build_to(cli: &Cli, spec: &Spec, archive: &Archive, out: &Path) -> Result<builder::image::manifest::Manifest> {
    let overlays = fleet_folder(cli).map(|folder| folder.join("overlays"));
    let cache = cache(cli)?;
    let progress = Progress::to_stderr();
    let debs = Cache::open(&cache.join("debs"))?;
    let locked = command::locked(fleet_folder(cli).as_deref(), spec, archive, !cli.offline, &debs, &progress)?;
    let order = Order { spec, locked: &locked, archive, overlays: overlays.as_deref(), out, cache: &cache };
    let manifest = build(&order, &progress).map_err(command::cured)?;
    let beside = out.with_extension("manifest.json");
    fs_err::write(&beside, manifest.json())?;
    Ok(manifest)
}

/// The fleet's folder, where a command is about a fleet and nothing else.
fn own_folder(cli: &Cli) -> Result<PathBuf> {
    let here = || {
        Problem::of_none(
            "there is no fleet here",
            "a fleet's folder",
            "name it with --fleet, or start one with `mimg init DIR`",
        )
    };
    Ok(fleet_folder(cli).ok_or_else(|| Problems(vec![here()]))?)
}

fn lock(cli: &Cli, upgrade: Option<&[String]>, dry_run: bool) -> Result<ExitCode> {
    let upgrade = match upgrade {
        None => Upgrade::Nothing,
        Some([]) => Upgrade::All,
        Some(names) => Upgrade::These(names.iter().cloned().collect()),
    };
    let (folder, debs) = (own_folder(cli)?, Cache::open(&cache(cli)?.join("debs"))?);
    let progress = Progress::to_stderr();
    let renewed = with_fleet(cli, |fleet| command::renew(&folder, fleet, &upgrade, !cli.offline, &debs, &progress))?;
    if renewed.differs && !dry_run {
        command::write(&folder, &renewed.new)?;
    }
    let changes = Changes::between(&renewed.old, &renewed.new);
    if cli.json {
        print_json(&changes)?;
    } else {
        // All of a first lock is new: nobody wants to read that.
        if !renewed.old.packages.is_empty() {
            print!("{changes}");
        }
        progress.say(&renewed.told(&folder, dry_run));
    }
    Ok(ExitCode::SUCCESS)
}

fn why(cli: &Cli, package: &str) -> Result<ExitCode> {
    let folder = own_folder(cli)?;
    with_fleet(cli, |fleet| {
        let lock = command::of(&folder, fleet)?;
        let accounts = lock.why(package, &command::specs(fleet)?)?;
        if cli.json {
            print_json(&accounts)?;
        } else {
            accounts.iter().for_each(|account| print!("{account}"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn fetch_packages(cli: &Cli, whose: &Whose) -> Result<ExitCode> {
    let (folder, debs) = (own_folder(cli)?, cache(cli)?.join("debs"));
    let packages = with_fleet(cli, |fleet| {
        let specs = match (&whose.node, &whose.profile) {
            (Some(node), _) => vec![fleet.node(node)?],
            (_, Some(profile)) => vec![fleet.profile(profile)?],
            _ => command::specs(fleet)?,
        };
        command::packages(&folder, fleet, &specs, !cli.offline)
    })?;
    fetch(&packages, &Cache::open(&debs)?, &Progress::to_stderr()).map_err(command::cured)?;
    let folder = debs.parent().unwrap_or(&debs);
    if cli.json {
        print_json(&serde_json::json!({ "packages": packages.len(), "cache": folder }))?;
    } else {
        println!("{}", folder.display());
        eprintln!("To build without a network, here or from a copy of that folder: mimg build --offline --cache DIR …");
    }
    Ok(ExitCode::SUCCESS)
}

fn show_difference(cli: &Cli, old: &Path, new: &Path) -> Result<ExitCode> {
    let difference = diff::diff(&diff::Listing::read(old)?, &diff::Listing::read(new)?);
    if cli.json {
        print_json(&difference)?;
    } else {
        print!("{difference}");
    }
    Ok(ExitCode::SUCCESS)
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
    with_spec(cli, subject, |spec, archive| {
        if let Some(image) = image {
            return try_out(cli, image);
        }
        sandbox::become_root()?;
        let folder = tempfile::tempdir_in(cache(cli)?)?;
        let image = folder.path().join("image");
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

fn clean(cli: &Cli) -> Result<ExitCode> {
    sandbox::become_root()?;
    let freed = builder::clean::clean(&cache(cli)?)?;
    println!("{} MiB freed", freed >> 20);
    Ok(ExitCode::SUCCESS)
}

/// The cache's folder, made if it is not there.
fn cache(cli: &Cli) -> Result<PathBuf> {
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let base = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let Some(folder) = cli.cache.clone().or_else(|| Some(base()?.join("mimg"))) else {
        bail!("no home folder to keep downloads in; name one with --cache DIR");
    };
    fs_err::create_dir_all(&folder).context("making the cache (name another folder with --cache DIR)")?;
    Ok(folder.canonicalize()?)
}
