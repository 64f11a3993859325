//! Commands about the fleet's own files.

use super::hand::{fleet_folder, overlays, with_fleet, with_spec};
use super::{print_json, wrote};
use anyhow::Result;
use builder::cli::{Cli, Subject};
use builder::{check, editor, folder, secrets};
use jiff::Timestamp;
use profiles::problem::{Problem, Problems};
use profiles::schema::Document;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use uuid::Uuid;

pub fn init(cli: &Cli, dir: &Path) -> Result<ExitCode> {
    let written = folder::init(dir, Uuid::new_v4())?;
    let code = wrote(cli, dir, &written)?;
    if !cli.json {
        eprintln!("Next: write your ssh key into fleet.toml, then `mimg check --fleet {}`.", dir.display());
    }
    Ok(code)
}

pub fn check(cli: &Cli) -> Result<ExitCode> {
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

pub fn list(cli: &Cli) -> Result<ExitCode> {
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

pub fn spec(cli: &Cli, subject: &Subject) -> Result<ExitCode> {
    with_spec(cli, subject, |spec, _| {
        print!("{}", spec.json());
        Ok(ExitCode::SUCCESS)
    })
}

pub fn schema(cli: &Cli, document: Option<Document>, write: bool) -> Result<ExitCode> {
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
