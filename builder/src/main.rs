//! `mimg`: the command line.

mod command;

use anyhow::Result;
use builder::cli::{Cli, Command, Secrets};
use builder::{completion, work};
use clap::Parser;
use command::{build, cache, fleet, image, lock, plan, print_json, secrets, words};
use profiles::problem::Problems;
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    completion::answer();
    let cli = Cli::parse();
    let code = run(&cli).unwrap_or_else(|error| fail(&cli, &error));
    work::wait_for_removals();
    code
}

/// What each command is done by.
fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init { dir } => fleet::init(cli, dir),
        Command::Check => fleet::check(cli),
        Command::Profiles => fleet::list(cli),
        Command::Spec(subject) => fleet::spec(cli, subject),
        Command::Build(wish) => build::build(cli, wish),
        Command::Verify { image, key } => image::verify(cli, image, key.as_deref()),
        Command::Secrets { what: Secrets::Init { recipient, offline_recipient } } => {
            secrets::init(cli, recipient, offline_recipient.as_deref())
        }
        Command::Plan { node, facts, svg } => plan::plan(cli, node, facts, svg.as_deref()),
        Command::Seed { node, out } => image::seed(cli, node, out),
        Command::Test { subject, image } => image::test(cli, subject, image.as_deref()),
        Command::Lock { why: Some(package), .. } => lock::why(cli, package),
        Command::Lock { upgrade, dry_run, .. } => lock::lock(cli, upgrade.as_deref(), *dry_run),
        Command::Fetch { whose } => lock::fetch(cli, whose),
        Command::Diff { old, new } => image::diff(cli, old, new),
        Command::Clean { keep, dry_run } => cache::clean(cli, *keep, *dry_run),
        Command::Schema { document, write } => fleet::schema(cli, *document, *write),
        Command::Completions { shell } => words::completions(*shell),
        Command::Man { dir } => words::man(cli, dir),
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
