//! Commands about what is kept between builds.

use super::{hand, print_json};
use anyhow::Result;
use builder::clean;
use builder::cli::Cli;
use builder::tree::sandbox;
use profiles::size::Size;
use std::process::ExitCode;

pub fn clean(cli: &Cli, keep: Option<Size>, dry: bool) -> Result<ExitCode> {
    sandbox::become_root()?;
    let cache = hand::cache(cli)?;
    let freed = clean::clean(&cache, keep.map_or(0, |Size(bytes)| bytes), dry)?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    if cli.json {
        print_json(&freed)?;
    } else {
        for entry in freed.removed.iter().filter(|_| dry) {
            println!("{:>12}  {}  {}", mib(entry.bytes), entry.used.strftime("%Y-%m-%d %H:%M"), entry.path.display());
        }
        let verb = if dry { "would be freed" } else { "freed" };
        println!("{} {verb}, {} kept in {}", mib(freed.freed), mib(freed.kept), cache.display());
    }
    if !freed.reached {
        eprintln!("{} may be in use by builds at work; run `mimg clean` again when they are done", mib(freed.in_use));
    }
    Ok(ExitCode::from(if freed.reached { 0 } else { 4 }))
}
