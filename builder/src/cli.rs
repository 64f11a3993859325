//! The words of the command line. What each command does is in `main.rs` and the modules that it names.

use clap::{Args, Parser, Subcommand};
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

    /// Open no connection: what the cache lacks is listed at once. For build, test, lock and fetch.
    #[arg(long, global = true)]
    pub offline: bool,

    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a fleet: a commented fleet.toml with a fresh id, one example node, what git has to know.
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
    /// Build a bootable image.
    Build {
        #[command(flatten)]
        subject: Subject,
        /// The image's file. Default: NAME.img in this folder. A manifest is written beside it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Lock the exact packages of all nodes and profiles, in mimg.lock. What is locked stays; what is new is added.
    Lock {
        /// Move these packages to what the archive has; without names, all.
        #[arg(long, value_name = "PACKAGE", num_args = 0.., conflicts_with = "why")]
        upgrade: Option<Vec<String>>,
        /// Show what would change, and write nothing.
        #[arg(long, conflicts_with = "why")]
        dry_run: bool,
        /// Show who asks for this package, and what leads to it. Reads the lock only.
        #[arg(long, value_name = "PACKAGE")]
        why: Option<String>,
    },
    /// Download all packages of the lock into the cache, to build without a network later, or elsewhere.
    Fetch {
        #[command(flatten)]
        whose: Whose,
    },
    /// Show what differs between two locks, or between the manifests of two images.
    Diff {
        /// mimg.lock, or IMAGE.manifest.json.
        old: PathBuf,
        new: PathBuf,
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
    /// Empty the cache: downloads, and what killed runs left behind.
    Clean,
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

impl Subject {
    /// The name in either case.
    pub fn name(&self) -> &str {
        self.node.as_deref().or(self.profile.as_deref()).unwrap_or_default()
    }
}

/// Whose packages: a profile's, a node's, or those of all.
#[derive(Args, Clone)]
#[group(multiple = false)]
pub struct Whose {
    /// Only those of this profile.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Only those of this node.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Those of all nodes and profiles of the lock. This is the default.
    #[arg(long)]
    pub all: bool,
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
