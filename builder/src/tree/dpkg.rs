//! dpkg's database in a tree (/var/lib/dpkg), written as dpkg itself writes it when it has unpacked a package.

use crate::tree::deb::Deb;
use crate::tree::root::{Attributes, Root, quoted};
use crate::tree::unpack::Unpacked;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/var/lib/dpkg";

/// What the database says about paths and owners, read when a round of unpacking begins.
pub struct Rules {
    diversions: HashMap<PathBuf, (PathBuf, String)>,
    overrides: HashMap<PathBuf, (u32, u32, u32)>,
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

/// Makes an empty database.
pub fn create(root: &Root, epoch: i64) -> Result<()> {
    for (file, content) in [("status", ""), ("diversions", ""), ("statoverride", ""), ("info/format", "1\n")] {
        put(root, epoch, file, content.as_bytes())?;
    }
    for folder in ["updates", "triggers"] {
        root.make_dirs(&Path::new(FOLDER).join(folder)).with_context(|| format!("making dpkg's folder {folder}"))?;
    }
    put(root, epoch, "triggers/Unincorp", b"")
}

/// Records packages as unpacked: status, info/*, and the triggers that they are interested in or set off.
pub fn record(root: &Root, epoch: i64, packages: &[(&Deb, &Unpacked)]) -> Result<()> {
    let mut status = root.text("/var/lib/dpkg/status")?;
    for (deb, unpacked) in packages {
        info(root, epoch, deb, unpacked)?;
        writeln!(status, "{}\n", paragraph(deb, unpacked)?)?;
    }
    put(root, epoch, "status", status.as_bytes())?;
    let interests = interests(root, epoch, packages)?;
    set_off(root, epoch, packages, &interests)
}

/// Takes paths that another package replaced off the lists of the packages that shipped them.
pub fn forget(root: &Root, epoch: i64, deb: &Deb, paths: &BTreeSet<PathBuf>) -> Result<()> {
    let file = format!("info/{}.list", deb.info_name());
    let list = root.text(&format!("{FOLDER}/{file}"))?;
    let kept = list.lines().filter(|line| !paths.contains(Path::new(line.trim_start_matches('/'))));
    put(root, epoch, &file, kept.map(|line| format!("{line}\n")).collect::<String>().as_bytes())
}

/// The conffiles of all packages, relative to the root.
pub fn conffiles(root: &Root) -> Result<HashSet<PathBuf>> {
    let status = root.text(&format!("{FOLDER}/status"))?;
    let (mut conffiles, mut within) = (HashSet::new(), false);
    for line in status.lines() {
        match line.strip_prefix(" /") {
            Some(line) if within => conffiles.extend(line.split(' ').next().map(PathBuf::from)),
            Some(_) => {}
            None => within = line == "Conffiles:",
        }
    }
    Ok(conffiles)
}

/// Packages by the paths in their lists.
pub fn owners(root: &Root) -> Result<HashMap<PathBuf, String>> {
    let folder = Path::new(FOLDER).join("info");
    let mut owners = HashMap::new();
    for name in root.names(&folder)? {
        let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
        let list = root.text(&format!("{FOLDER}/info/{package}.list"))?;
        owners.extend(list.lines().map(|line| (PathBuf::from(line.trim_start_matches('/')), package.to_owned())));
    }
    Ok(owners)
}

fn paragraph(deb: &Deb, unpacked: &Unpacked) -> Result<String> {
    let mut text = format!("{}\nStatus: install ok unpacked\n", deb.control);
    if !unpacked.conffiles.is_empty() {
        text.push_str("Conffiles:\n");
        for conffile in &unpacked.conffiles {
            let hash = conffile.hash.as_deref().unwrap_or("newconffile");
            let remove = if conffile.remove_on_upgrade { " remove-on-upgrade" } else { "" };
            writeln!(text, " /{} {hash}{remove}", conffile.path.display())?;
        }
    }
    Ok(text)
}

fn info(root: &Root, epoch: i64, deb: &Deb, unpacked: &Unpacked) -> Result<()> {
    let name = deb.info_name();
    let folder = Path::new(FOLDER).join("info");
    for (member, file) in &deb.members {
        let attributes = Attributes { uid: 0, gid: 0, mode: file.mode, mtime: file.mtime };
        root.write(&folder.join(format!("{name}.{member}")), &file.content, attributes)?;
    }
    let mut list = String::new();
    for path in &unpacked.paths {
        writeln!(list, "/{}", if path.as_os_str().is_empty() { ".".into() } else { path.to_string_lossy() })?;
    }
    put(root, epoch, &format!("info/{name}.list"), list.as_bytes())?;
    if !deb.members.contains_key("md5sums") {
        let line = |(path, hash): &(PathBuf, String)| format!("{hash}  {}\n", path.display());
        let sums: String = unpacked.md5.iter().map(line).collect();
        put(root, epoch, &format!("info/{name}.md5sums"), sums.as_bytes())?;
    }
    Ok(())
}

/// Registers interests, and gives those in files that the tree has so far: path -> (package, awaited).
fn interests(root: &Root, epoch: i64, packages: &[(&Deb, &Unpacked)]) -> Result<HashMap<PathBuf, Vec<(String, bool)>>> {
    let mut files = root.text("/var/lib/dpkg/triggers/File")?;
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (deb, _) in packages {
        for (trigger, awaited) in directives(deb, "interest")? {
            let who = deb.info_name() + if awaited { "" } else { "/noawait" };
            if trigger.starts_with('/') {
                writeln!(files, "{trigger} {who}")?;
            } else {
                writeln!(named.entry(trigger).or_default(), "{who}")?;
            }
        }
    }
    for (trigger, lines) in named {
        let file = format!("triggers/{trigger}");
        let text = root.text(&format!("{FOLDER}/{file}"))? + &lines;
        put(root, epoch, &file, text.as_bytes())?;
    }
    put(root, epoch, "triggers/File", files.as_bytes())?;
    let mut interests: HashMap<PathBuf, Vec<(String, bool)>> = HashMap::new();
    for (path, who) in files.lines().filter_map(|line| line.split_once(' ')) {
        let (package, awaited) = who.strip_suffix("/noawait").map_or((who, true), |package| (package, false));
        let path = PathBuf::from(path.trim_start_matches('/'));
        interests.entry(path).or_default().push((package.to_owned(), awaited));
    }
    Ok(interests)
}

/// Appends to triggers/Unincorp what the packages set off: lines `TRIGGER WHO …`, `-` for one who does not wait.
/// dpkg takes it from there at its next start, and drops what concerns packages that are not configured.
fn set_off(
    root: &Root,
    epoch: i64,
    packages: &[(&Deb, &Unpacked)],
    interests: &HashMap<PathBuf, Vec<(String, bool)>>,
) -> Result<()> {
    let mut triggers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (deb, unpacked) in packages {
        let waiting = |awaited: bool| if awaited { deb.info_name() } else { "-".to_owned() };
        for (trigger, awaited) in directives(deb, "activate")? {
            triggers.entry(trigger).or_default().insert(waiting(awaited));
        }
        for path in unpacked.used.iter().flat_map(|path| path.ancestors()) {
            for (_, awaited) in interests.get(path).into_iter().flatten() {
                triggers.entry(format!("/{}", path.display())).or_default().insert(waiting(*awaited));
            }
        }
    }
    let mut text = root.text("/var/lib/dpkg/triggers/Unincorp")?;
    for (trigger, who) in triggers {
        writeln!(text, "{trigger} {}", who.into_iter().collect::<Vec<_>>().join(" "))?;
    }
    put(root, epoch, "triggers/Unincorp", text.as_bytes())
}

/// The triggers named after `verb` (interest, activate) in a package's triggers file, and whether they are awaited.
fn directives(deb: &Deb, verb: &str) -> Result<Vec<(String, bool)>> {
    let mut found = Vec::new();
    for line in deb.text("triggers")?.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let Some((directive, trigger)) = line.split_once(char::is_whitespace) else { continue };
        let Some(how) = directive.strip_prefix(verb) else { continue };
        let trigger = trigger.trim();
        let plain = |c: char| c.is_ascii_graphic();
        let is_path = trigger.contains('/') || [".", ".."].contains(&trigger);
        if !trigger.chars().all(plain) || (is_path && !trigger.starts_with('/')) {
            let seen = quoted(trigger);
            bail!("{} names the trigger {seen}; wanted a name or an absolute path", deb.path.display());
        }
        found.push((trigger.to_owned(), how != "-noawait"));
    }
    Ok(found)
}

impl Rules {
    /// Reads diversions, statoverrides, users and groups of a tree; what it does not have yet is empty.
    pub fn read(root: &Root) -> Result<Rules> {
        let text = |file: &str| root.text(&format!("{FOLDER}/{file}"));
        Self::parse(&root.text("/etc/passwd")?, &root.text("/etc/group")?, &text("diversions")?, &text("statoverride")?)
    }

    /// As `read`, of the texts of these files.
    pub fn parse(passwd: &str, group: &str, diversions: &str, statoverride: &str) -> Result<Rules> {
        let ids = |text: &str| -> HashMap<String, u32> {
            let id = |line: &str| {
                let mut parts = line.split(':');
                Some((parts.next()?.to_owned(), parts.nth(1)?.parse().ok()?))
            };
            text.lines().filter_map(id).collect()
        };
        let (users, groups) = (ids(passwd), ids(group));
        let mut rules = Rules { diversions: HashMap::new(), overrides: HashMap::new(), users, groups };
        let relative = |path: &str| PathBuf::from(path.trim_start_matches('/'));
        for lines in diversions.lines().collect::<Vec<_>>().chunks(3) {
            let [from, to, package] = lines else { bail!("var/lib/dpkg/diversions ends within a diversion") };
            rules.diversions.insert(relative(from), (relative(to), (*package).to_owned()));
        }
        for line in statoverride.lines() {
            let wrong = || format!("var/lib/dpkg/statoverride has the line {line:?}; wanted `user group mode path`");
            let parts: Vec<&str> = line.splitn(4, ' ').collect();
            let [user, group, mode, path] = parts[..] else { bail!(wrong()) };
            let mode = u32::from_str_radix(mode, 8).with_context(wrong)?;
            let ids = rules.user(user).zip(rules.group(group)).with_context(wrong)?;
            rules.overrides.insert(relative(path), (ids.0, ids.1, mode));
        }
        Ok(rules)
    }

    /// Where a package's file goes: `path`, or the place that another package diverted it to.
    pub fn place(&self, path: &Path, package: &str) -> PathBuf {
        match self.diversions.get(path) {
            Some((to, by)) if by != package => to.clone(),
            _ => path.to_owned(),
        }
    }

    /// Owner, group and mode that an administrator or a script set for `path`.
    pub fn overridden(&self, path: &Path) -> Option<(u32, u32, u32)> {
        self.overrides.get(path).copied()
    }

    /// The id of a user, by name, or `#number` as statoverride writes it.
    pub fn user(&self, name: &str) -> Option<u32> {
        name.strip_prefix('#').map_or_else(|| self.users.get(name).copied(), |number| number.parse().ok())
    }

    /// The id of a group, as for `user`.
    pub fn group(&self, name: &str) -> Option<u32> {
        name.strip_prefix('#').map_or_else(|| self.groups.get(name).copied(), |number| number.parse().ok())
    }
}

fn put(root: &Root, epoch: i64, file: &str, content: &[u8]) -> Result<()> {
    root.write(&Path::new(FOLDER).join(file), content, Attributes { uid: 0, gid: 0, mode: 0o644, mtime: epoch })
}
