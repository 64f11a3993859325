//! `mimg plan`: what firstboot would do on a machine, told far from it.

use super::hand::with_fleet;
use super::print_json;
use anyhow::{Context, Result};
use builder::{cli::Cli, picture};
use profiles::facts::Facts;
use profiles::plan::{self, open_questions};
use profiles::report::Report;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

/// Plans a node from a recording, as firstboot does from the machine itself.
pub fn plan(cli: &Cli, node: &str, recording: &Path, picture: Option<&Path>) -> Result<ExitCode> {
    let shown = recording.display();
    let text = fs_err::read_to_string(recording)?;
    let facts: Facts = serde_json::from_str(&text)
        .with_context(|| format!("reading {shown}: it is not what `firstboot facts --json` prints"))?;
    let spec = with_fleet(cli, |fleet| Ok(fleet.node(node)?))?;
    let parts = spec.parts();
    let open: BTreeSet<_> = parts.iter().flat_map(|part| open_questions(part.as_ref(), &spec, &facts)).collect();
    if !open.is_empty() {
        eprintln!(
            "{shown} was not recorded for node {node}: it leaves {} questions open, and what hangs on them waits, or is \
             shown as if to be done.\nTo have them answered: mimg spec --node {node} | ssh MACHINE firstboot facts --json --spec -",
            open.len()
        );
    }
    let source = format!("node {node} of the fleet");
    let report =
        Report::new(&spec, &source, env!("CARGO_PKG_VERSION")).with_plan(&spec, plan::plan(&spec, &parts, &facts));
    if let Some(path) = picture {
        fs_err::write(path, picture::draw(&spec, &report.plan, &facts)?)?;
    }
    if cli.json {
        print_json(&serde_json::json!({ "hash": report.hash, "plan": report.plan }))?;
    } else {
        print!("{report}");
    }
    Ok(ExitCode::from(report.code()))
}
