//! `mimg`: the command line.

use anyhow::{Context, Result, bail};
use builder::archive::cache::Cache;
use builder::archive::fetch::fetch;
use builder::batch::{self, Batch, Verdict};
use builder::build::{Order, build};
use builder::cli::{Build, Cli, Command, Secrets, Subject, Whose};
use builder::image::manifest::Manifest;
use builder::lock::change::Changes;
use builder::lock::command;
use builder::lock::renew::Upgrade;
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::signature::{PublicKey, SigningKey};
use builder::publish::{Format, Publication};
use builder::receipt::{self, Receipt};
use builder::secrets::{self, Store, identity::Identity};
use builder::work::{self, Work};
use builder::{
    check, clean, completion, diff, editor, folder, man, room, tree::sandbox, verify, vm::trial,
};
use clap::Parser;
use firstboot::fat;
use jiff::Timestamp;
use profiles::fleet::{Archive, Fleet};
use profiles::part::SEED_LABEL;
use profiles::problem::{Problem, Problems};
use profiles::schema::Document;
use profiles::size::Size;
use profiles::spec::Spec;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uuid::Uuid;

fn main() -> ExitCode {
    completion::answer();
    let cli = Cli::parse();
    let code = run(&cli).unwrap_or_else(|error| fail(&cli, &error));
    work::wait_for_removals();
    code
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
        Command::Build(wish) => {
            let folder = wish.out_dir.as_deref().unwrap_or(Path::new(""));
            match wish.subjects.one() {
                Some(subject) => build_image(cli, wish, &subject, folder),
                None => build_all(cli, wish, folder),
            }
        }
        Command::Verify { image, key } => verify_image(cli, image, key.as_deref()),
        Command::Secrets { what: Secrets::Init { recipient, offline_recipient } } => {
            init_secrets(cli, recipient, offline_recipient.as_deref())
        }
        Command::Seed { node, out } => seed(cli, node, out),
        Command::Test { subject, image } => test(cli, subject, image.as_deref()),
        Command::Lock { why: Some(package), .. } => why(cli, package),
        Command::Lock { upgrade, dry_run, .. } => lock(cli, upgrade.as_deref(), *dry_run),
        Command::Fetch { whose } => fetch_packages(cli, whose),
        Command::Diff { old, new } => show_difference(cli, old, new),
        Command::Clean { keep, dry_run } => clean(cli, *keep, *dry_run),
        Command::Schema { document, write } => schema(cli, *document, *write),
        Command::Completions { shell } => {
            completion::register(*shell, &mut std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => wrote(cli, dir, &man::write(dir)?),
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
    let code = wrote(cli, dir, &written)?;
    if !cli.json {
        eprintln!("Next: write your ssh key into fleet.toml, then `mimg check --fleet {}`.", dir.display());
    }
    Ok(code)
}

/// Names the files that were written.
fn wrote(cli: &Cli, dir: &Path, paths: &[String]) -> Result<ExitCode> {
    if cli.json {
        print_json(&paths)?;
    } else {
        paths.iter().for_each(|path| println!("{}", dir.join(path).display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn schema(cli: &Cli, document: Option<Document>, write: bool) -> Result<ExitCode> {
    if let Some(document) = document {
        print!("{}", document.text());
    }
    if write {
        let Some(folder) = fleet_folder(cli).filter(|folder| folder.join("fleet.toml").is_file()) else {
            let cure = "name a fleet's folder with --fleet, or start one with `mimg init DIR`";
            return Err(Problems(vec![Problem::of_none("there is no fleet.toml", "a fleet's folder", cure)]).into());
        };
        return wrote(cli, &folder, &editor::write(&folder)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(cli: &Cli) -> Result<ExitCode> {
    let secrets = fleet_folder(cli).map(|folder| secrets::check::check(&folder)).transpose()?.unwrap_or_default();
    let checked = with_fleet(cli, |fleet| {
        let specs = fleet.profiles().into_iter().map(|name| fleet.profile(name));
        let mut problems = Problems::default();
        for spec in specs.chain(fleet.nodes().map(|name| fleet.node(name))) {
            let checked = check::check(fleet, &spec?, overlays(cli).as_deref(), Timestamp::now());
            problems.0.extend(checked.err().unwrap_or_default().0);
        }
        problems.or(())?;
        let name = fleet.root().map_or("the catalog".to_owned(), |root| format!("fleet {}", root.fleet.name));
        Ok(format!("{name}: no problems; nodes: {}, profiles: {}", fleet.nodes().count(), fleet.profiles().len()))
    });
    let summary = match checked.map_err(|error| error.downcast::<Problems>()) {
        Ok(summary) => Problems(secrets).or(summary)?,
        // All that is wrong is told at once.
        Err(Ok(Problems(others))) => return Err(Problems([others, secrets].concat()).into()),
        Err(Err(error)) => return Err(error),
    };
    if cli.json {
        print_json(&Vec::<Problem>::new())?;
    } else {
        println!("{summary}");
        if fleet_folder(cli).is_some_and(|folder| editor::is_outdated(&folder)) {
            eprintln!("Its schemas/ are those of another mimg: `mimg schema --write` renews them for your editor.");
        }
    }
    Ok(ExitCode::SUCCESS)
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

fn build_image(cli: &Cli, wish: &Build, subject: &Subject, folder: &Path) -> Result<ExitCode> {
    with_sound_spec(cli, subject, |spec, archive| {
        let default = folder.join(format!("{}.img", subject.name()));
        let place = Place::new(wish.out.as_ref().unwrap_or(&default));
        Publication::check(&place, &wish.format)?;
        let key = if wish.unsigned { None } else { signing_key(cli, wish.identity.as_deref())? };
        let publication = Publication { place: &place, formats: &wish.format, key: key.as_ref(), workers: workers() };
        sandbox::become_root()?;
        let manifest = publish(cli, &spec, &archive, &publication, wish.no_cache)?;
        if cli.json {
            print_json(&manifest)?;
            return Ok(ExitCode::SUCCESS);
        }
        publication.images().iter().for_each(|image| println!("{}", image.display()));
        if key.is_none() && !wish.unsigned {
            eprintln!("Not signed: there is no fleet with a key for that. `mimg secrets init` makes one.");
        }
        if wish.format.contains(&Format::Raw) {
            let (what, raw) = (argument(subject), place.raw().display());
            eprintln!("Write it to a disk or stick, or try it first: mimg test {what} --image {raw}");
        }
        Ok(ExitCode::SUCCESS)
    })
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
fn publish(cli: &Cli, spec: &Spec, archive: &Archive, publication: &Publication, anew: bool) -> Result<Manifest> {
    let (progress, cache) = (Progress::to_stderr(), cache(cli)?);
    with_order(cli, spec, archive, |order| {
        let order = Order { anew, ..order };
        let key = receipt::key(&order, &publication.what())?;
        if let Some(manifest) = Receipt::find(&cache, &key).filter(|_| !anew) {
            progress.say("Nothing has changed since it was built.");
            return Ok(manifest);
        }
        let raw = publication.place.raw();
        let manifest = if publication.formats.contains(&Format::Raw) {
            publication.write(raw, build(&Order { out: raw, ..order }, &progress)?, &progress)?
        } else {
            // Nobody asked for the raw image: it lies with the work in progress, and goes with it however the run ends.
            let work = Work::in_cache(&cache)?;
            let raw = work.path().join("image");
            publication.write(&raw, build(&Order { out: &raw, ..order }, &progress)?, &progress)?
        };
        Receipt::keep(&cache, &key, &publication.files(&manifest), &manifest)?;
        Ok(manifest)
    })
}

/// What is to be built, its packages locked; where to is the caller's to say.
fn with_order<T>(cli: &Cli, spec: &Spec, archive: &Archive, then: impl FnOnce(Order) -> Result<T>) -> Result<T> {
    let (overlays, cache, progress) = (overlays(cli), cache(cli)?, Progress::to_stderr());
    room::check_kind(&cache)?;
    let debs = Cache::open(&cache.join("debs"))?;
    let locked = command::locked(fleet_folder(cli).as_deref(), spec, archive, !cli.offline, &debs, &progress)?;
    let (overlays, out) = (overlays.as_deref(), Path::new(""));
    then(Order { spec, locked: &locked, archive, overlays, out, cache: &cache, anew: false }).map_err(command::cured)
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
    let build = |spec: &Spec, out: &Path| {
        let place = Place::new(out);
        Publication::check(&place, &wish.format)?;
        let publication = Publication { place: &place, formats: &wish.format, key: key.as_ref(), workers: workers() };
        publish(cli, spec, &archive, &publication, wish.no_cache).map(drop)
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

fn argument(subject: &Subject) -> String {
    let kind = if subject.node.is_some() { "--node" } else { "--profile" };
    format!("{kind} {}", subject.name())
}

fn verify_image(cli: &Cli, image: &Path, key: Option<&Path>) -> Result<ExitCode> {
    let key = verifying_key(cli, key)?;
    let found = verify::verify(image, key.as_ref())?;
    if cli.json {
        print_json(&found)?;
    } else {
        for finding in &found.files {
            println!("{:<32} {}", finding.file, finding.wrong.as_deref().unwrap_or("as built"));
        }
        found.absent.iter().for_each(|file| println!("{file:<32} not here"));
        match &found.signed_by {
            Some(id) => eprintln!("Its digests are signed by key {id}."),
            None if key.is_none() && found.holds() => {
                eprintln!("Nobody signed it: whoever could change it could change its digests too.");
            }
            None => {}
        }
    }
    Ok(ExitCode::from(if found.holds() { 0 } else { 3 }))
}

/// The key that must have signed an image: the one that was named, which has to be the fleet's if both are at hand.
fn verifying_key(cli: &Cli, named: Option<&Path>) -> Result<Option<PublicKey>> {
    let of_fleet = fleet_folder(cli).map(|fleet| fleet.join(secrets::FOLDER).join(secrets::SIGNING_PUBLIC));
    let of_fleet = of_fleet.map(|path| secrets::public_key(&path)).transpose()?.flatten();
    let Some(path) = named else { return Ok(of_fleet) };
    let Some(key) = secrets::public_key(path)? else {
        let saw = format!("there is no {}", path.display());
        return Err(
            Problems(vec![Problem::of_none(saw, "a public key of minisign", "name its file with --key")]).into()
        );
    };
    if let Some(ours) = of_fleet.filter(|ours| *ours != key) {
        let saw = format!("{} is key {}, and not of this fleet", path.display(), key.id());
        let wanted = format!("the fleet's own, {}", ours.id());
        let cure = "leave --key away, or run it outside of the fleet's folder to check another's image";
        return Err(Problems(vec![Problem::of_none(saw, wanted, cure)]).into());
    }
    Ok(Some(key))
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    made: bool,
    recipients: Vec<String>,
    signing_key: String,
}

fn init_secrets(cli: &Cli, named: &[String], offline: Option<&str>) -> Result<ExitCode> {
    let Some(folder) = fleet_folder(cli) else {
        let cure = "start one with `mimg init DIR`, or name its folder with --fleet";
        return Err(Problems(vec![Problem::of_none("there is no fleet here", "a fleet's folder", cure)]).into());
    };
    with_fleet(cli, |fleet| {
        let root = fleet.root().context("reading fleet.toml")?;
        let started = secrets::init::init(&folder, root, named, offline)?;
        let recipients: Vec<String> = started.recipients.iter().map(ToString::to_string).collect();
        if cli.json {
            print_json(&Kept { made: started.made, recipients, signing_key: started.signing_key.to_string() })?;
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}", folder.join(secrets::FOLDER).display());
        recipients.iter().for_each(|recipient| println!("  opened by {recipient}"));
        println!("  images are signed by key {}", started.signing_key);
        match started.made {
            true => eprintln!("Next: keep it in git; all of it may be seen by others."),
            false => eprintln!("It was there before; nothing was changed."),
        }
        Ok(ExitCode::SUCCESS)
    })
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
    with_sound_spec(cli, subject, |spec, archive| {
        trial::check_host()?;
        if let Some(image) = image {
            return try_out(cli, image);
        }
        sandbox::become_root()?;
        let work = Work::in_cache(&cache(cli)?)?;
        let image = work.path().join("image");
        with_order(cli, &spec, &archive, |order| build(&Order { out: &image, ..order }, &Progress::to_stderr()))?;
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
