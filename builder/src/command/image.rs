//! Commands about what was built: is it whole, what differs, does it boot; and the seed that makes it a node.

use super::build::with_order;
use super::hand::{cache, fleet_folder, with_sound_spec, with_spec};
use super::print_json;
use anyhow::Result;
use builder::archive::opened::Opened;
use builder::build::{Order, build};
use builder::cli::{Cli, Subject};
use builder::progress::Progress;
use builder::publish::signature::PublicKey;
use builder::tree::sandbox;
use builder::vm::trial;
use builder::work::Work;
use builder::{secrets, verify};
use firstboot::fat;
use profiles::part::SEED_LABEL;
use profiles::problem::{Problem, Problems};
use std::path::Path;
use std::process::ExitCode;

pub fn verify(cli: &Cli, image: &Path, key: Option<&Path>) -> Result<ExitCode> {
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

pub fn diff(cli: &Cli, old: &Path, new: &Path) -> Result<ExitCode> {
    let difference = builder::diff::diff(old, new, &|| cache(cli))?;
    if cli.json {
        print_json(&difference)?;
    } else {
        print!("{difference}");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn seed(cli: &Cli, node: &str, out: &Path) -> Result<ExitCode> {
    let subject = Subject { profile: None, node: Some(node.to_owned()) };
    with_spec(cli, &subject, |spec, _| {
        // The smallest FAT that every kernel and firmware reads, with room for what later comes beside the Spec.
        let json = spec.json();
        fat::medium(out, SEED_LABEL, 8 << 20, &[("spec.json", json.as_bytes())], 0)?;
        println!("{}", out.display());
        Ok(ExitCode::SUCCESS)
    })
}

pub fn test(cli: &Cli, subject: &Subject, image: Option<&Path>) -> Result<ExitCode> {
    with_sound_spec(cli, subject, |spec, archive| {
        trial::check_host()?;
        if let Some(image) = image {
            return try_out(cli, image);
        }
        sandbox::become_root()?;
        let work = Work::in_cache(&cache(cli)?)?;
        let image = work.path().join("image");
        let opened = &mut Opened::default();
        with_order(cli, &spec, &archive, opened, |order| {
            build(&Order { out: &image, ..order }, &Progress::to_stderr())
        })?;
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
