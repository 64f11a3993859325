//! The words of the command line. What each command does is in `main.rs` and the modules that it names.

use crate::completion::{self, Shell};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use profiles::schema::Document;
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
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub fleet: Option<PathBuf>,

    /// Where downloads and work in progress are kept. Default: $XDG_CACHE_HOME/mimg or ~/.cache/mimg.
    #[arg(long, global = true, value_name = "DIR", env = "MIMG_CACHE", value_hint = ValueHint::DirPath)]
    pub cache: Option<PathBuf>,

    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a fleet: a commented fleet.toml with a fresh id, one example node, schemas for editors, a .gitignore.
    Init {
        /// The folder; made if it does not exist. Nothing in it is replaced.
        #[arg(value_hint = ValueHint::DirPath)]
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
    /// Write a node's seed: a small medium, labelled MIMG-SEED, that makes a waiting machine that node.
    Seed {
        /// The node's name.
        #[arg(add = ArgValueCandidates::new(completion::nodes))]
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
    /// Print the JSON Schema of a kind of file, or renew the ones that the fleet's editors use.
    Schema {
        /// fleet: of fleet.toml; node: of nodes/NAME.toml; profile: of profiles/NAME.toml.
        #[arg(value_name = "KIND", value_parser = document(), required_unless_present = "write")]
        document: Option<Document>,
        /// Write all of them into the fleet's folder schemas/, in the place of those of another mimg.
        #[arg(long, conflicts_with = "document")]
        write: bool,
    },
    /// Print the script that makes a shell complete mimg's words, names of nodes and profiles among them.
    Completions { shell: Shell },
    /// Write man pages, one for each command.
    Man {
        /// The folder; made if it does not exist.
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

fn document() -> impl TypedValueParser<Value = Document> {
    PossibleValuesParser::new(Document::ALL.map(Document::name))
        .try_map(|name| Document::ALL.into_iter().find(|document| document.name() == name).ok_or("no such kind"))
}

/// What an image or Spec is made of: one profile, or one node of the fleet.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// A profile, of the fleet or of the catalog: an image that waits for its seed.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::profiles))]
    pub profile: Option<String>,
    /// A node of the fleet: an image that is that machine.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::nodes))]
    pub node: Option<String>,
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
