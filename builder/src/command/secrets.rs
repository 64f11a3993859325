//! Commands about the fleet's secrets.

use super::hand::{own_folder, with_fleet};
use super::print_json;
use anyhow::{Context, Result};
use builder::cli::Cli;
use builder::secrets;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    made: bool,
    recipients: Vec<String>,
    signing_key: String,
}

pub fn init(cli: &Cli, named: &[String], offline: Option<&str>) -> Result<ExitCode> {
    let folder = own_folder(cli)?;
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
