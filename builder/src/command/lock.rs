//! Commands about mimg.lock and the packages that it names.

use super::hand::{cache, own_folder, with_fleet};
use super::print_json;
use anyhow::Result;
use builder::archive::cache::Cache;
use builder::archive::fetch;
use builder::cli::{Cli, Whose};
use builder::lock::change::Changes;
use builder::lock::command;
use builder::lock::renew::Upgrade;
use builder::progress::Progress;
use std::process::ExitCode;

pub fn lock(cli: &Cli, upgrade: Option<&[String]>, dry_run: bool) -> Result<ExitCode> {
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

pub fn why(cli: &Cli, package: &str) -> Result<ExitCode> {
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

pub fn fetch(cli: &Cli, whose: &Whose) -> Result<ExitCode> {
    let (folder, debs) = (own_folder(cli)?, cache(cli)?.join("debs"));
    let packages = with_fleet(cli, |fleet| {
        let specs = match (&whose.node, &whose.profile) {
            (Some(node), _) => vec![fleet.node(node)?],
            (_, Some(profile)) => vec![fleet.profile(profile)?],
            _ => command::specs(fleet)?,
        };
        command::packages(&folder, fleet, &specs, !cli.offline)
    })?;
    fetch::fetch(&packages, &Cache::open(&debs)?, &Progress::to_stderr()).map_err(command::cured)?;
    let folder = debs.parent().unwrap_or(&debs);
    if cli.json {
        print_json(&serde_json::json!({ "packages": packages.len(), "cache": folder }))?;
    } else {
        println!("{}", folder.display());
        eprintln!("To build without a network, here or from a copy of that folder: mimg build --offline --cache DIR …");
    }
    Ok(ExitCode::SUCCESS)
}
