//! What a machine's own files change in a packed root file system: written into it by the tree's own debugfs.
//!
//! Whether the file system was packed a moment ago or by an earlier run, the same edits are made in it. So both give the
//! same bits.

use crate::tree::root::Root;
use crate::tree::state::{Kind, Node, State};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const CAPABILITY: &str = "security.capability";

/// Paths that are gone, and those that are new or changed.
#[derive(Default)]
pub struct Edit {
    /// Where the changed tree is.
    tree: PathBuf,
    removed: Vec<(PathBuf, Kind)>,
    changed: BTreeMap<PathBuf, Node>,
    /// Those of the changed that were there before.
    before: BTreeMap<PathBuf, Kind>,
    sums: BTreeMap<PathBuf, String>,
}

impl Edit {
    /// What leads from one state of the tree at `root` to its present one.
    pub fn between(root: &Root, before: &State, after: &State) -> Result<Edit> {
        let changed: BTreeMap<PathBuf, Node> = after
            .0
            .iter()
            .filter(|(path, node)| before.0.get(*path) != Some(node))
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect();
        let gone = before.0.iter().filter(|(path, _)| !after.0.contains_key(*path));
        let is_file = |node: &Node| matches!(node.kind, Kind::Own(..) | Kind::Payload(..) | Kind::LeftOut);
        let sum = |path: &PathBuf| -> Result<(PathBuf, String)> {
            let content = fs_err::read(root.path().join(path))?;
            Ok((path.clone(), hex::encode(Sha256::digest(content))))
        };
        Ok(Edit {
            tree: root.path().to_owned(),
            removed: gone.map(|(path, node)| (path.clone(), node.kind.clone())).rev().collect(),
            before: changed.keys().filter_map(|p| Some((p.clone(), before.0.get(p)?.kind.clone()))).collect(),
            sums: changed.iter().filter(|(_, node)| is_file(node)).map(|(path, _)| sum(path)).collect::<Result<_>>()?,
            changed,
        })
    }

    /// Files and links that are new, changed or gone.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let changed = self.changed.iter().map(|(path, node)| (path, &node.kind));
        let all = changed.chain(self.removed.iter().map(|(path, kind)| (path, kind)));
        all.filter(|(_, kind)| **kind != Kind::Dir).map(|(path, _)| path.as_path())
    }

    /// Paths that are new, changed or gone.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changed.keys().chain(self.removed.iter().map(|(path, _)| path)).map(PathBuf::as_path)
    }

    /// How many entries a tree has after this that had `before`.
    pub fn count(&self, before: u64) -> u64 {
        before + (self.changed.len() - self.before.len()) as u64 - self.removed.len() as u64
    }

    /// The digest of a tree after this, of which `before` is the digest before it.
    pub fn digest(&self, before: &str, epoch: i64) -> String {
        let mut hash = Sha256::new();
        hash.update(before);
        self.removed.iter().for_each(|(path, _)| hash.update(format!("\n- {path:?}")));
        for (path, node) in &self.changed {
            let (sum, target) = (self.sums.get(path), if let Kind::Link(to) = &node.kind { Some(to) } else { None });
            let (kind, mtime) = (letter(&node.kind), node.mtime.0.min(epoch));
            let line =
                format!("\n{kind} {path:?} {:o} {}:{} {mtime} {sum:?} {target:?}", node.mode, node.uid, node.gid);
            hash.update(line);
        }
        hex::encode(hash.finalize())
    }

    /// Makes the changes in the file system at byte `start` of `disk`. Files come from the tree, and so does debugfs.
    pub fn apply(&self, disk: &Path, start: u64, epoch: i64) -> Result<()> {
        if self.changed.is_empty() && self.removed.is_empty() {
            return Ok(());
        }
        let values = tempfile::tempdir()?;
        let script = self.script(values.path(), epoch)?;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(script.as_bytes())?;
        let libraries = self.tree.join(LIBRARIES);
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(self.tree.join("usr/sbin/debugfs"));
        command.arg("-w").arg("-f").arg(file.path()).arg(format!("{}?offset={start}", disk.display()));
        command.env_clear().env("LC_ALL", "C").env("E2FSPROGS_FAKE_TIME", epoch.to_string());
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the image's debugfs: it needs the package e2fsprogs")?;
        let mut said = String::new();
        child.stderr.take().context("taking the stderr of debugfs")?.read_to_string(&mut said)?;
        let status = child.wait().context("waiting for debugfs")?;
        // It ends with 0 whatever failed; its first line is its version.
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("debugfs 1.")).collect();
        ensure!(status.success() && said.is_empty(), "debugfs ended with {status}: {}", said.join("; "));
        Ok(())
    }

    fn script(&self, values: &Path, epoch: i64) -> Result<String> {
        // A count of all kilobytes ever written: it would tell how the writing went. Zero stays zero.
        let mut script = "ssv kbytes_written 0\n".to_owned();
        for (path, kind) in &self.removed {
            writeln!(script, "{} {}", if *kind == Kind::Dir { "rmdir" } else { "rm" }, quoted(path)?)?;
        }
        let mut names: HashMap<u64, (&Path, u32)> = HashMap::new();
        for (path, node) in &self.changed {
            let to = quoted(path)?;
            match (self.before.get(path), &node.kind) {
                (Some(Kind::Dir), Kind::Dir) | (None, _) => {}
                (Some(Kind::Dir), _) => writeln!(script, "rmdir {to}")?,
                (Some(_), _) => writeln!(script, "rm {to}")?,
            }
            let first = match &node.kind {
                Kind::Own(inode, ..) => names.get_mut(inode),
                _ => None,
            };
            if let Some((first, count)) = first {
                // `ln` leaves the count of links to us.
                *count += 1;
                writeln!(script, "ln {} {to}\nsif {to} links_count {count}", quoted(first)?)?;
                continue;
            }
            if let Kind::Own(inode, ..) = &node.kind {
                names.insert(*inode, (path, 1));
            }
            match &node.kind {
                Kind::Dir if self.before.get(path) == Some(&Kind::Dir) => {}
                Kind::Dir => writeln!(script, "mkdir {to}")?,
                Kind::Link(target) => writeln!(script, "symlink {to} {}", words(target)?)?,
                Kind::Pipe => writeln!(script, "mknod {to} p")?,
                Kind::Own(..) | Kind::Payload(..) | Kind::LeftOut => {
                    writeln!(script, "write {} {to}", words(&self.tree.join(path))?)?
                }
            }
            dress(&mut script, &to, node, epoch)?;
            if let Some(capability) = capability(&self.tree.join(path), node)? {
                let value = values.join(names.len().to_string());
                fs_err::write(&value, capability)?;
                writeln!(script, "ea_set -f {} {to} {CAPABILITY}", words(&value)?)?;
            }
        }
        // Adding to a folder sets its time: so folders come once more, at the end.
        let gone: BTreeSet<&Path> = self.removed.iter().map(|(path, _)| path.as_path()).collect();
        let parents: BTreeSet<&Path> =
            self.paths().filter_map(Path::parent).filter(|path| !gone.contains(path)).collect();
        for (path, node) in self.changed.iter().filter(|(_, node)| node.kind == Kind::Dir) {
            dress(&mut script, &quoted(path)?, node, epoch)?;
        }
        for path in parents.into_iter().filter(|path| !self.changed.contains_key(*path)) {
            stamp(&mut script, &quoted(path)?, epoch)?;
        }
        Ok(script)
    }
}

fn letter(kind: &Kind) -> char {
    match kind {
        Kind::Dir => 'd',
        Kind::Link(_) => 'l',
        Kind::Pipe => 'p',
        Kind::Own(..) | Kind::Payload(..) | Kind::LeftOut => 'f',
    }
}

fn dress(script: &mut String, to: &str, node: &Node, epoch: i64) -> Result<()> {
    let kind = match node.kind {
        Kind::Dir => libc::S_IFDIR,
        Kind::Link(_) => libc::S_IFLNK,
        Kind::Pipe => libc::S_IFIFO,
        Kind::Own(..) | Kind::Payload(..) | Kind::LeftOut => libc::S_IFREG,
    };
    writeln!(script, "sif {to} mode 0{:o}\nsif {to} uid {}\nsif {to} gid {}", kind | node.mode, node.uid, node.gid)?;
    stamp(script, to, node.mtime.0.min(epoch))
}

fn stamp(script: &mut String, to: &str, time: i64) -> Result<()> {
    for field in ["atime", "ctime", "mtime", "crtime"] {
        writeln!(script, "sif {to} {field} @{time}\nsif {to} {field}_extra 0")?;
    }
    Ok(())
}

fn capability(path: &Path, node: &Node) -> Result<Option<Vec<u8>>> {
    match node.kind {
        Kind::Own(..) | Kind::Payload(..) | Kind::LeftOut => Ok(xattr::get(path, CAPABILITY)?),
        _ => Ok(None),
    }
}

/// A path of the tree as debugfs reads it.
fn quoted(path: &Path) -> Result<String> {
    words(&Path::new("/").join(path))
}

/// In quotes, in which a quote is written twice.
fn words(path: &Path) -> Result<String> {
    let Some(text) = path.to_str().filter(|text| !text.contains(char::is_control)) else {
        bail!("{path:?} has a name that debugfs cannot be told: rename the file");
    };
    Ok(format!("\"{}\"", text.replace('"', "\"\"")))
}
