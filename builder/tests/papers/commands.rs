//! docs/commands.md, from the definitions of the command lines.

use builder::cli::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

/// The whole page.
pub fn page(note: &str) -> String {
    let mut out = format!("# Commands\n\n{note}\n\n");
    program(&mut out, Cli::command(), "`--help` says the same. The .deb has man pages: `man mimg`, `man mimg-build` …");
    program(&mut out, firstboot::cli::command(), "On each machine, and on no other.");
    out
}

fn program(out: &mut String, command: Command, note: &str) {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(out, "## {}\n\n{}\n\n{note}\n", command.get_name(), unwrapped(&about)).expect("a String");
    options(out, command.get_arguments().filter(|argument| argument.is_global_set()));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let about = below.get_long_about().or(below.get_about()).map(ToString::to_string).unwrap_or_default();
        let usage = below.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace(" [OPTIONS]", "");
        writeln!(out, "### {}\n\n{}\n", below.get_bin_name().unwrap_or_default(), ended(&unwrapped(&about)))
            .expect("a String");
        writeln!(out, "```text\n{usage}\n```\n").expect("a String");
        options(out, below.get_arguments().filter(|argument| !argument.is_global_set()));
    }
}

fn options<'a>(out: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let shown = arguments
        .filter(|argument| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str()));
    let rows: Vec<String> = shown.map(row).collect();
    if !rows.is_empty() {
        writeln!(out, "| argument | meaning |\n|---|---|\n{}\n", rows.join("\n")).expect("a String");
    }
}

fn row(argument: &Arg) -> String {
    let names: Vec<&str> = argument.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    let values = if argument.get_action().takes_values() { names.join(" ") } else { String::new() };
    let name = match argument.get_long() {
        Some(long) => format!("--{long} {values}"),
        None => values,
    };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = ended(&unwrapped(&help));
    let possible: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !possible.is_empty() {
        write!(meaning, " One of {}.", possible.join(", ")).expect("a String");
    }
    for default in argument.get_default_values().iter().filter(|_| argument.get_action().takes_values()) {
        write!(meaning, " Default: {}.", default.to_string_lossy()).expect("a String");
    }
    if let Some(variable) = argument.get_env() {
        write!(meaning, " Also from the environment: `{}`.", variable.to_string_lossy()).expect("a String");
    }
    format!("| `{}` | {} |", name.trim(), meaning.trim().replace('|', "\\|"))
}

/// Paragraphs as they were meant, without the line breaks of the source.
fn unwrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// clap takes the full stop away from one-line helps.
fn ended(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', ':', '…']) { text.to_owned() } else { format!("{text}.") }
}
