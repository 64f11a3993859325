//! The command line.

use crate::apply::Agreed;
use crate::console::{self, say, warn};
use crate::find::Found;
use crate::log::Log;
use crate::machine::Machine;
use crate::pass::{Ended, Extent, pass, pass_of};
use crate::place::REPORT;
use crate::{record, resident};
use anyhow::{Context, Result, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand};
use nix::unistd::geteuid;
use profiles::ask::Consent;
use profiles::report::Report;
use profiles::spec::Spec;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Between two passes of `apply` while something waits.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes this machine what its Spec says.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 something still waits or is left to do.
#[derive(Parser)]
#[command(name = "firstboot", version)]
struct Cli {
    #[command(subcommand)]
    verb: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Show what would be done now, and do nothing
    Plan {
        #[command(flatten)]
        whose: Whose,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
    /// Do what is to be done, and go on while something waits
    Apply {
        /// Only if this is the plan of now: nothing is erased or decided that it did not show
        #[arg(long, value_name = "HASH")]
        plan: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Give the place of a disk that is gone for good to a new one, and do what is to be done
    Replace {
        /// The place: GROUP/SLOT, as the refusal of the new disk has told it
        slot: String,
        #[command(flatten)]
        how: How,
    },
    /// Show the report of the last pass; needs no root
    Status {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what the machine answers to every question, as said; all that is to be known of its disks included
    Facts {
        #[command(flatten)]
        whose: Whose,
        /// Print the facts as JSON that can be read again as a recording
        #[arg(long)]
        json: bool,
    },
    /// Stay and look after the machine: what firstboot.service does
    Run,
}

#[derive(Args)]
struct Whose {
    /// As if this were the machine's Spec: the output of `mimg spec --node NODE`; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

impl Whose {
    /// The Spec that was named.
    fn found(&self) -> Result<Option<Found>> {
        let Some(path) = &self.spec else { return Ok(None) };
        let source = path.display().to_string();
        let text = match source.as_str() {
            "-" => std::io::read_to_string(std::io::stdin()).context("reading stdin"),
            _ => Ok(fs_err::read_to_string(path)?),
        }?;
        let wanted = "wanted: the output of `mimg spec --node NODE`";
        let spec = Spec::read(&text).map_err(|saw| anyhow!("{source} cannot be used: {saw}; {wanted}"))?;
        Ok(Some(Found { spec, source, refusal: None }))
    }
}

#[derive(Args)]
struct How {
    /// Print the report as JSON; steps are told on stderr
    #[arg(long)]
    json: bool,
    /// How long to go on while something waits
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// The definition of the command line, for its man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The binary's whole story: reads the command line, does what it says, gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    ExitCode::from(start(&cli.verb).unwrap_or_else(|error| {
        warn(format!("firstboot: {error:#}"));
        FAILED
    }))
}

fn start(verb: &Cmd) -> Result<u8> {
    if let Cmd::Status { json } = verb {
        return status(Path::new("/"), *json);
    }
    if !geteuid().is_root() {
        warn("firstboot: this needs root; try it with sudo. `firstboot status` does not.");
        return Ok(USAGE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let machine = Machine::here();
        match verb {
            Cmd::Plan { whose, json } => plan(&machine, whose, *json).await,
            Cmd::Apply { plan, how } => {
                let agreed = plan.clone().map_or(Agreed::Spec, Agreed::Plan);
                apply(&machine, agreed, how).await
            }
            Cmd::Replace { slot, how } => {
                let machine = machine.allowing(Consent::Replace(slot.clone()));
                apply(&machine, Agreed::Spec, how).await
            }
            Cmd::Facts { whose, json } => facts(&machine, whose, *json).await,
            Cmd::Status { json } => status(machine.root(), *json),
            Cmd::Run => run(&machine).await,
        }
    })
}

async fn look(machine: &Machine, whose: &Whose, extent: Extent) -> Result<Ended> {
    let mut log = Log { root: machine.root().to_owned(), resident: false };
    let ended = match whose.found()? {
        Some(found) => pass_of(machine, found, extent, Agreed::Spec, &mut log).await,
        None => pass(machine, extent, Agreed::Spec, &mut log).await,
    }?;
    ended.unanswered.iter().for_each(|note| warn(format!("no answer: {note}")));
    Ok(ended)
}

async fn plan(machine: &Machine, whose: &Whose, json: bool) -> Result<u8> {
    let report = look(machine, whose, Extent::Look).await?.report;
    if json {
        say(pretty(&serde_json::json!({ "hash": report.hash, "plan": report.plan }))?)
    } else {
        say(report.to_string().trim_end())
    }
    Ok(report.code())
}

async fn facts(machine: &Machine, whose: &Whose, json: bool) -> Result<u8> {
    let ended = look(machine, whose, Extent::Survey).await?;
    if json {
        say(pretty(&ended.facts)?);
        return Ok(0);
    }
    for (ask, answer) in ended.facts.iter() {
        say(format!("{}\n    {}", serde_json::to_string(ask)?, serde_json::to_string(answer)?));
    }
    Ok(0)
}

async fn apply(machine: &Machine, mut agreed: Agreed, how: &How) -> Result<u8> {
    const WAITING: u8 = 4;
    let deadline = Instant::now() + Duration::from_secs(how.timeout);
    let mut log = Log { root: machine.root().to_owned(), resident: false };
    let mut done = Vec::new();
    let report = loop {
        let mut ended = pass(machine, Extent::Apply, agreed, &mut log).await?;
        agreed = ended.agreed;
        done.append(&mut ended.report.done);
        if ended.report.code() != WAITING || Instant::now() + PAUSE > deadline {
            break Report { done, ..ended.report };
        }
        tokio::time::sleep(PAUSE).await;
    };
    show(&report, how.json)?;
    Ok(report.code())
}

fn status(root: &Path, json: bool) -> Result<u8> {
    let report = record::read(root, REPORT)?.with_context(|| {
        format!("there is no report at {REPORT}: no pass has ended since boot; see `journalctl -b -u firstboot`")
    })?;
    show(&report, json)?;
    Ok(report.code())
}

fn show(report: &Report, json: bool) -> Result<()> {
    say(if json { record::json(report)? } else { report.to_string() }.trim_end());
    Ok(())
}

fn pretty(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// What ends the resident mode is shown at the prompt too: without a Spec there is no Report to show.
async fn run(machine: &Machine) -> Result<u8> {
    let ended = resident::run(machine).await;
    if let Err(error) = &ended {
        let text = console::escaped(&format!("firstboot FAILED: {error:#}\nMore: journalctl -u firstboot\n\n"));
        console::Console::new(machine.root()).notice(&text).await.context("writing the notice")?;
    }
    ended
}
