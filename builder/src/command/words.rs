//! Commands about the command line itself: completion and man pages.

use super::wrote;
use anyhow::Result;
use builder::cli::Cli;
use builder::completion::{self, Shell};
use builder::man;
use std::path::Path;
use std::process::ExitCode;

pub fn completions(shell: Shell) -> Result<ExitCode> {
    completion::register(shell, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

pub fn man(cli: &Cli, dir: &Path) -> Result<ExitCode> {
    wrote(cli, dir, &man::write(dir)?)
}
