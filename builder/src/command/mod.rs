//! What each command of `mimg` does with the library: one file for each noun, and how all of them answer.

pub mod build;
pub mod cache;
pub mod fleet;
mod hand;
pub mod image;
pub mod lock;
pub mod plan;
pub mod secrets;
pub mod words;

use anyhow::Result;
use builder::cli::Cli;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
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
