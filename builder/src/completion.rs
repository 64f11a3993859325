//! Completion of mimg's words in a shell. The shell asks mimg itself at each TAB, so that it knows the commands of the
//! mimg that is installed, and the nodes and profiles of the fleet at hand.

use crate::cli::Cli;
use crate::folder;
use anyhow::Result;
use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use profiles::fleet::Fleet;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Set by the shells' scripts: mimg is asked to complete, and for whom.
const ASKED: &str = "MIMG_COMPLETE";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Answers a shell that asks, and ends the process then. Nothing may be printed before.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command).var(ASKED).complete();
}

/// Writes what makes a shell ask.
pub fn register(shell: Shell, out: &mut impl Write) -> Result<()> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    completer.write_registration(ASKED, "mimg", "mimg", "mimg", out)?;
    if matches!(shell, Shell::Zsh) {
        // As a file of $fpath it is run at the first TAB, and has to answer that one too.
        writeln!(out, "[[ $funcstack[1] == _mimg ]] && _clap_dynamic_completer_mimg \"$@\"\ntrue")?;
    }
    Ok(())
}

/// Names of the fleet's nodes.
pub fn nodes() -> Vec<CompletionCandidate> {
    names(&files(), "nodes/").map(CompletionCandidate::new).collect()
}

/// Names of all profiles; those of the catalog with what they are for.
pub fn profiles() -> Vec<CompletionCandidate> {
    let files = files();
    let own: Vec<&str> = names(&files, "profiles/").collect();
    let mut candidates: Vec<CompletionCandidate> = own.iter().map(CompletionCandidate::new).collect();
    if let Ok(catalog) = Fleet::catalog() {
        for name in catalog.profiles().into_iter().filter(|name| !own.contains(name)) {
            let about = catalog.profile(name).ok().and_then(|spec| spec.settings.about);
            candidates.push(CompletionCandidate::new(name).help(about.map(Into::into)));
        }
    }
    candidates
}

/// The files of the fleet at hand. Their names count, even where what is in them is wrong.
fn files() -> BTreeMap<String, String> {
    let folder = fleet(std::env::args_os().skip_while(|word| word != "--"));
    folder::read(&folder).unwrap_or_default()
}

/// The folder that a command line names, which need not be finished yet; else this one.
fn fleet(words: impl Iterator<Item = OsString>) -> PathBuf {
    let mut folder = PathBuf::from(".");
    let mut words = words;
    while let Some(word) = words.next() {
        if word == "--fleet" {
            folder = words.next().map_or(folder, PathBuf::from);
        } else if let Some(named) = word.to_str().and_then(|word| word.strip_prefix("--fleet=")) {
            folder = PathBuf::from(named);
        }
    }
    folder
}

fn names<'a>(files: &'a BTreeMap<String, String>, folder: &'a str) -> impl Iterator<Item = &'a str> {
    files.keys().filter_map(move |path| path.strip_prefix(folder)?.strip_suffix(".toml"))
}
