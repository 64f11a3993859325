//! The words of the command line. What each command does is in `command/` beside `main.rs`, and in the modules that it names.

use crate::completion::{self, Shell};
use crate::publish::Format;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use profiles::schema::Document;
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
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub fleet: Option<PathBuf>,

    /// Where downloads and work in progress are kept. Default: $XDG_CACHE_HOME/mimg or ~/.cache/mimg.
    #[arg(long, global = true, value_name = "DIR", env = "MIMG_CACHE", value_hint = ValueHint::DirPath)]
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
    /// Start a fleet: a commented fleet.toml with a fresh id, one example node, schemas for editors, what git has to know.
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
    /// Build a bootable image, or those of the whole fleet.
    Build(Build),
    /// Check that an image is what the fleet built and signed, and whole. Exit code 3 if it is not.
    Verify {
        /// The image: raw, .zst or .qcow2. What was written with it lies beside it.
        image: PathBuf,
        /// The public key that must have signed it. Default: secrets/signing.pub of the fleet.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Keep the fleet's secrets.
    Secrets {
        #[command(subcommand)]
        what: Secrets,
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
    /// Show what differs between two locks, two images, or the manifests of two images.
    ///
    /// Of images it reads the file systems: packages, files with their content, size, mode and owner, and partitions. Of
    /// times and extended attributes it says only that something differs.
    Diff {
        /// mimg.lock, IMAGE.manifest.json, or an image: raw, .zst or .qcow2.
        old: PathBuf,
        new: PathBuf,
    },
    /// Show what firstboot would do on a machine, from what it answered: the lines are those of `firstboot plan` there.
    Plan {
        /// The node's name.
        #[arg(add = ArgValueCandidates::new(completion::nodes))]
        node: String,
        /// What the machine answered: the output of `firstboot facts --json` on it.
        #[arg(long, value_name = "FILE")]
        facts: PathBuf,
        /// Draw it too, as SVG: disks and all that stands on them, now and afterwards.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
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
    /// Empty the cache, or make it smaller. What a running build uses stays.
    Clean {
        /// Keep at most this much of what was used last, such as 10G. Default: nothing.
        #[arg(long, value_name = "SIZE", value_parser = Size::parse)]
        keep: Option<Size>,
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
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

/// What is built, and what is made of it.
#[derive(Args)]
pub struct Build {
    #[command(flatten)]
    pub subjects: Subjects,
    /// The raw image's file, and so where the others are. Default: NAME.img in this folder.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub out: Option<PathBuf>,
    /// The folder for NAME.img. Default: this one.
    #[arg(long, value_name = "DIR", conflicts_with = "out", value_hint = ValueHint::DirPath)]
    pub out_dir: Option<PathBuf>,
    /// What is made of it, one or several: raw, zst (NAME.img.zst and its block map for bmaptool), qcow2.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "raw", value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Make all of it anew: nothing that earlier builds kept is used but downloads. The bits are the same.
    #[arg(long)]
    pub no_cache: bool,
    /// Do not sign, though the fleet has a key for that.
    #[arg(long)]
    pub unsigned: bool,
    /// Your private key, which opens the fleet's secrets: of ssh (ed25519), or what age-keygen wrote.
    /// Default: ~/.ssh/id_ed25519.
    #[arg(long, value_name = "FILE", env = "MIMG_IDENTITY")]
    pub identity: Option<PathBuf>,
}

/// What is done with secrets.
#[derive(Subcommand)]
pub enum Secrets {
    /// Make secrets/ in the fleet: who can open secrets, and the key that signs images. What is there is not changed.
    Init {
        /// An administrator's public key (ssh-ed25519 … or age1…), or a file with it; may be repeated.
        /// Default: the ssh keys of those users of fleet.toml who have `sudo = true`.
        #[arg(long, value_name = "KEY")]
        recipient: Vec<String>,
        /// One more public key, whose private half is kept where a fire or a thief does not get at both.
        #[arg(long, value_name = "KEY")]
        offline_recipient: Option<String>,
    },
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

/// As Subject, or all that the fleet has.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub struct Subjects {
    /// A profile, of the fleet or of the catalog: an image that waits for its seed.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::profiles))]
    pub profile: Option<String>,
    /// A node of the fleet: an image that is that machine.
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(completion::nodes))]
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
