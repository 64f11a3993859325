//! Overlays: files copied into a tree as they stand, by the name of a profile.

use crate::tree::dpkg;
use crate::tree::root::{Attributes, Root, inside};
use anyhow::{Context, Result, bail, ensure};
use profiles::problem::{Problem, Problems};
use profiles::spec::Spec;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Files of one overlay, checked: paths relative to the root, in their order.
pub struct Overlay {
    name: String,
    entries: BTreeMap<PathBuf, Entry>,
}

enum Entry {
    Dir { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: PathBuf },
}

/// Bytes of a file in an overlay: it is held in memory.
const LARGEST: u64 = 1 << 30;

/// A file of a package in whose place an overlay puts its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// As the overlay has it, relative to the root.
    pub path: PathBuf,
    /// As the package has it.
    pub listed: PathBuf,
    pub package: String,
    /// Is it one of the package's conffiles? dpkg keeps what stands in their place.
    pub conffile: bool,
}

/// The repository's overlays/ folder, as a tar made by build.rs.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/overlays.tar"));

impl Overlay {
    /// Those of a Spec, in the order in which they are copied: for each profile mimg's own, then that in the fleet's
    /// folder `overlays`. Without the base's own, which is in a tree before its packages are configured.
    pub fn of(spec: &Spec, overlays: Option<&Path>) -> Result<Vec<Overlay>> {
        let shipped = Self::embedded_names()?;
        let mut all = Vec::new();
        for profile in spec.profiles() {
            if shipped.contains(&profile) && profile != "base" {
                all.push(Self::embedded(&profile)?);
            }
            let own = overlays.map(|folder| folder.join(&profile)).filter(|folder| folder.is_dir());
            if let Some(own) = own {
                all.push(Self::from_folder(&profile, &own)?);
            }
        }
        Ok(all)
    }

    /// The names of the overlays that mimg brings.
    pub fn embedded_names() -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in tar::Archive::new(EMBEDDED).entries()? {
            let path = entry?.path()?.into_owned();
            names.extend(path.iter().next().map(|name| name.to_string_lossy().into_owned()));
        }
        names.dedup();
        Ok(names)
    }

    /// An overlay that mimg brings. All of it is root's.
    pub fn embedded(name: &str) -> Result<Overlay> {
        let mut overlay = Overlay { name: name.to_owned(), entries: BTreeMap::new() };
        for entry in tar::Archive::new(EMBEDDED).entries().context("reading the overlays in mimg")? {
            let mut entry = entry.context("reading the overlays in mimg")?;
            let path = entry.path()?.into_owned();
            let Ok(path) = path.strip_prefix(name) else { continue };
            // Git keeps no bits for group and others: they come from the umask of whoever checked this out.
            let (mode, mut content) = (entry.header().mode()? & !0o022, Vec::new());
            let found = match entry.header().entry_type() {
                tar::EntryType::Directory => Entry::Dir { mode },
                tar::EntryType::Symlink => Entry::Link { target: entry.link_name()?.unwrap_or_default().into_owned() },
                _ => {
                    entry.read_to_end(&mut content)?;
                    Entry::File { mode, content }
                }
            };
            overlay.add(path, found)?;
        }
        ensure!(
            !overlay.entries.is_empty(),
            "mimg has no overlay {name:?}; it has {}",
            Self::embedded_names()?.join(", ")
        );
        Ok(overlay)
    }

    /// An overlay from a folder, with the modes that its files have; all of it will be root's.
    pub fn from_folder(name: &str, folder: &Path) -> Result<Overlay> {
        let mut overlay = Overlay { name: name.to_owned(), entries: BTreeMap::new() };
        overlay.gather(folder, Path::new(""))?;
        Ok(overlay)
    }

    fn gather(&mut self, folder: &Path, below: &Path) -> Result<()> {
        for entry in fs_err::read_dir(folder.join(below))? {
            let entry = entry?;
            let (path, kind) = (below.join(entry.file_name()), entry.file_type()?);
            let mode = || -> Result<u32> { Ok(entry.metadata()?.permissions().mode() & 0o7777) };
            if kind.is_dir() {
                self.add(&path, Entry::Dir { mode: mode()? })?;
                self.gather(folder, &path)?;
            } else if kind.is_symlink() {
                self.add(&path, Entry::Link { target: fs_err::read_link(entry.path())? })?;
            } else if kind.is_file() {
                let size = entry.metadata()?.len();
                ensure!(
                    size <= LARGEST,
                    "the overlay {} holds {}, {size} bytes; wanted {LARGEST} at most: make a package of it, or a volume",
                    self.name,
                    entry.path().display()
                );
                self.add(&path, Entry::File { mode: mode()?, content: fs_err::read(entry.path())? })?;
            } else {
                bail!(
                    "the overlay {} holds {}, a device, pipe or socket; wanted files, folders and links: remove it",
                    self.name,
                    entry.path().display()
                );
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, entry: Entry) -> Result<()> {
        let name = self.name.clone();
        let path = inside(path).with_context(|| format!("reading the overlay {name}: rename or remove the file"))?;
        if let Entry::File { mode, .. } = &entry {
            ensure!(
                mode & 0o6000 == 0,
                "the overlay {name} holds {}, set-user-id or set-group-id (mode {mode:o}); \
                 take that bit away: a package or a unit gives rights better",
                path.display()
            );
        }
        if let Entry::Link { target } = &entry {
            ensure!(stays_inside(&path, target), link_error(&name, &path, target));
        }
        if !path.as_os_str().is_empty() {
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    /// The paths of its files, folders and links, relative to the root.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.keys().map(PathBuf::as_path)
    }

    /// The paths of its files and links, relative to the root.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.entries.iter().filter(|(_, entry)| !matches!(entry, Entry::Dir { .. }));
        files.map(|(path, _)| path.as_path())
    }

    /// Copies the overlay into a tree. A path that a package ships is refused unless it is among `allowed`.
    pub fn copy_into(&self, root: &Root, epoch: i64, allowed: &[&str]) -> Result<()> {
        self.replaced(root, allowed)?;
        for (path, entry) in &self.entries {
            let copied = match entry {
                Entry::Dir { mode } => self.copy_dir(root, path, attributes(*mode, epoch)),
                Entry::File { mode, content } => root.write(path, content, attributes(*mode, epoch)),
                Entry::Link { target } => {
                    let parent = root.make_dirs(path.parent().unwrap_or(Path::new("")));
                    parent
                        .map_err(anyhow::Error::from)
                        .and_then(|_| root.place(path)?.link_to(target.as_os_str(), attributes(0o777, epoch)))
                }
            };
            copied.with_context(|| format!("copying {} of the overlay {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// A folder that the tree has already stays as it is: an overlay's checkout says nothing about /etc's mode.
    fn copy_dir(&self, root: &Root, path: &Path, attributes: Attributes) -> Result<()> {
        if root.dir(path).is_ok() {
            return Ok(());
        }
        root.make_dirs(path)?;
        root.place(path)?.dress(attributes)
    }

    /// The packages' files that it would replace. Those that are not among `allowed` (absolute paths) are refused, all of
    /// them at once.
    pub fn replaced(&self, root: &Root, allowed: &[&str]) -> Result<Vec<Replaced>> {
        let (owners, conffiles) = (dpkg::owners(root)?, dpkg::conffiles(root)?);
        let replaced: Vec<Replaced> = self
            .files()
            .filter_map(|path| {
                let (listed, package) = owner(root, &owners, path)?;
                let (listed, package) = (listed.clone(), package.clone());
                Some(Replaced { path: path.to_owned(), conffile: conffiles.contains(&listed), listed, package })
            })
            .collect();
        let refused =
            replaced.iter().filter(|file| !allowed.iter().any(|one| Path::new("/").join(&file.path) == Path::new(one)));
        Problems(refused.map(|file| self.refusal(file)).collect()).or(replaced).map_err(anyhow::Error::from)
    }

    fn refusal(&self, Replaced { path, package, .. }: &Replaced) -> Problem {
        let (name, path) = (&self.name, path.display());
        Problem::of_none(
            format!("overlays/{name}/{path} would replace a file of the package {package}"),
            "files that no package has, or the permission to replace them",
            format!(
                "write replaces = [\"/{path}\"] in profiles/{name}.toml, or use a drop-in file if the program reads such"
            ),
        )
    }
}

/// Folders that are links into usr/ on a Debian system, and may have been named without it by an older package.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Whose a path is, and how its package calls it: under the path itself, without links (/bin/x is /usr/bin/x), or as it
/// was before usr/ was merged.
fn owner<'a>(root: &Root, owners: &'a HashMap<PathBuf, String>, path: &Path) -> Option<(&'a PathBuf, &'a String)> {
    let canonical = root.place(path).ok().and_then(|place| root.canonical(&place).ok());
    let canonical = canonical.as_deref().unwrap_or(path);
    let before = canonical.strip_prefix("usr").ok().filter(|path| MERGED.iter().any(|folder| path.starts_with(folder)));
    [Some(path), Some(canonical), before].into_iter().flatten().find_map(|path| owners.get_key_value(path))
}

/// A relative target must not climb above the root; an absolute one is the image's own path.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = if target.is_absolute() { 0 } else { path.components().count() as i64 - 1 };
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => depth -= 1,
            std::path::Component::Normal(_) => depth += 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    !target.as_os_str().is_empty() && !target.to_string_lossy().chars().any(char::is_control)
}

fn link_error(name: &str, path: &Path, target: &Path) -> String {
    format!(
        "the overlay {name} holds the link {} to {target:?}, which leads out of the image; remove it",
        path.display()
    )
}

fn attributes(mode: u32, epoch: i64) -> Attributes {
    Attributes { uid: 0, gid: 0, mode, mtime: epoch }
}
