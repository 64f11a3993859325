//! The words of the command line. What each command does is in `main.rs` and the modules that it names.

use clap::{Args, Parser, Subcommand};
use profiles::size::Size;
use std::path::PathBuf;

/// Makes bootable Debian 13 images for the machines of a fleet.
///
/// Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 refused,
/// 4 still waiting.
#[derive(Parser)]
#[command(name = "mimg", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// The fleet's folder. Default: this one if it has a fleet.toml, else the catalog that comes with mimg alone.
    #[arg(long, global = true, value_name = "DIR")]
    pub fleet: Option<PathBuf>,

    /// Where downloads and work in progress are kept. Default: $XDG_CACHE_HOME/mimg or ~/.cache/mimg.
    #[arg(long, global = true, value_name = "DIR", env = "MIMG_CACHE")]
    pub cache: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a fleet: a commented fleet.toml with a fresh id, one example node, a .gitignore.
    Init {
        /// The folder; made if it does not exist. Nothing in it is replaced.
        dir: PathBuf,
    },
    /// Check the whole fleet, and tell all that is wrong with it at once.
    Check,
    /// List the profiles that there are, and what each is for.
    Profiles,
    /// Show the merged Spec of a node or profile, as a machine will read it.
    Spec(Subject),
    /// Build a bootable image, or those of the whole fleet.
    Build {
        #[command(flatten)]
        subjects: Subjects,
        /// The image's file. Default: NAME.img in this folder. A manifest is written beside it.
        #[arg(long, value_name = "FILE", conflicts_with = "all")]
        out: Option<PathBuf>,
        /// The folder for NAME.img. Default: this one.
        #[arg(long, value_name = "DIR", conflicts_with = "out")]
        out_dir: Option<PathBuf>,
    },
    /// Write a node's seed: a small medium, labelled MIMG-SEED, that makes a waiting machine that node.
    Seed {
        node: String,
        /// The medium's image: write it to a stick, or attach it to a virtual machine.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Build an image (unless --image names one), boot it in QEMU under BIOS and UEFI, and print the machine's report.
    Test {
        #[command(flatten)]
        subject: Subject,
        /// Boot this image instead of building one. It is not changed.
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
    /// Empty the cache, or make it smaller. What a running build uses stays.
    Clean {
        /// Keep at most this much of what was used last, such as 10G. Default: nothing.
        #[arg(long, value_name = "SIZE", value_parser = Size::parse)]
        keep: Option<Size>,
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// What an image or Spec is made of: one profile, or one node of the fleet.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// A profile, of the fleet or of the catalog: an image that waits for its seed.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// A node of the fleet: an image that is that machine.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
}

/// As Subject, or all that the fleet has.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Subjects {
    /// A profile, of the fleet or of the catalog: an image that waits for its seed.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// A node of the fleet: an image that is that machine.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Every node, and every profile of the fleet's own, one after the other; without a fleet every profile.
    #[arg(long)]
    pub all: bool,
}

impl Subjects {
    /// The one that is named; None for all.
    pub fn one(&self) -> Option<Subject> {
        let Subjects { profile, node, all } = self.clone();
        (!all).then_some(Subject { profile, node })
    }
}

impl Subject {
    /// The name in either case.
    pub fn name(&self) -> &str {
        self.node.as_deref().or(self.profile.as_deref()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
