//! Where Debian is fetched from: named in fleet.toml, or as the host's own apt does.

use anyhow::{Context, Result, bail};
use fs_err as fs;
use std::path::{Path, PathBuf};

/// Addresses of Debian's archive and of its security updates, each in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub archive: Vec<String>,
    pub security: Vec<String>,
}

/// One source of apt's that offers binary packages.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// A key's path, fingerprint or text; empty if not said.
    pub signed_by: String,
}

impl Mirror {
    /// The mirrors as named, and the host's for what is not named.
    pub fn new(archive: Option<&str>, security: Option<&str>) -> Result<Self> {
        Self::named(archive, security, Path::new("/etc/apt"))
    }

    /// The mirrors that the host's apt uses for Debian, whatever its release.
    pub fn of_host() -> Result<Self> {
        Self::new(None, None)
    }

    /// As `new`, with the host's apt configuration in the folder `apt`.
    pub fn named(archive: Option<&str>, security: Option<&str>, apt: &Path) -> Result<Self> {
        if let (Some(archive), Some(security)) = (archive, security) {
            return Ok(Mirror { archive: vec![address(archive)?], security: vec![address(security)?] });
        }
        let entries = entries(apt)?;
        let pick = |named: Option<&str>, key: &str, what: &str, is: fn(&str) -> bool| match named {
            Some(named) => Ok(vec![address(named)?]),
            None => addresses(&entries, is, apt).with_context(|| missing(apt, key, what)),
        };
        Ok(Mirror {
            archive: pick(archive, "mirror", "Debian", is_release)?,
            security: pick(security, "security-mirror", "Debian's security updates", is_security)?,
        })
    }
}

fn missing(apt: &Path, key: &str, what: &str) -> String {
    format!(
        "looking in {} for a mirror of {what} (cure: name one in fleet.toml, as {key} = \"https://…\" under [archive])",
        apt.display()
    )
}

/// A codename or name of a release, without a pocket such as `-updates`.
fn is_release(suite: &str) -> bool {
    const KNOWN: [&str; 10] =
        ["bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable", "duke"];
    KNOWN.contains(&suite)
}

fn is_security(suite: &str) -> bool {
    suite.strip_suffix("-security").is_some_and(is_release)
}

/// The addresses of the entries that are Debian's own. Others use Debian's suite names too: they are told apart by the
/// key they are signed with, and where that is not said, by having no `debian` in their path.
fn addresses(entries: &[Entry], is: fn(&str) -> bool, apt: &Path) -> Result<Vec<String>> {
    let debian = |entry: &&Entry| {
        entry.suites.iter().any(|suite| is(suite))
            && entry.components.iter().any(|component| component == "main")
            && (entry.signed_by.is_empty() || entry.signed_by.contains("debian-archive"))
    };
    let mut seen: Vec<String> = Vec::new();
    for entry in entries.iter().filter(debian) {
        for uri in &entry.uris {
            seen.extend(listed(uri, apt)?);
        }
    }
    let (mut uris, other): (Vec<String>, Vec<String>) =
        seen.iter().cloned().partition(|uri| uri.starts_with("http://") || uri.starts_with("https://"));
    if uris.iter().any(|uri| has_debian(uri)) {
        uris.retain(|uri| has_debian(uri));
    }
    let mut known = std::collections::HashSet::new();
    uris.retain(|uri| known.insert(uri.clone()));
    match (uris.is_empty(), other.is_empty()) {
        (false, _) => Ok(uris),
        (true, true) => bail!("apt names none"),
        (true, false) => bail!("apt names only {}: wanted http:// or https://", other.join(", ")),
    }
}

fn has_debian(uri: &str) -> bool {
    uri.split('/').skip(3).any(|part| part.starts_with("debian"))
}

/// Cloud images name a file that lists the mirrors, one a line.
fn listed(uri: &str, apt: &Path) -> Result<Vec<String>> {
    let Some(path) = uri.strip_prefix("mirror+file:") else { return Ok(vec![trimmed(uri)]) };
    let path = Path::new("/").join(path.trim_start_matches('/'));
    let inside = path.strip_prefix("/etc/apt").map(|rest| apt.join(rest)).unwrap_or(path);
    let text = fs::read_to_string(inside)?;
    let lines = text.lines().map(uncommented).filter_map(|line| line.split_whitespace().next());
    Ok(lines.map(trimmed).collect())
}

/// A mirror that a person named.
fn address(named: &str) -> Result<String> {
    if named.starts_with("http://") || named.starts_with("https://") {
        return Ok(trimmed(named));
    }
    bail!("the mirror {named:?} in fleet.toml is no address: wanted http://… or https://…")
}

fn trimmed(uri: &str) -> String {
    uri.trim().trim_end_matches('/').to_owned()
}

fn uncommented(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// All entries of a configuration folder, in apt's order: the main file first, then the parts by name.
fn entries(apt: &Path) -> Result<Vec<Entry>> {
    let mut files = vec![apt.join("sources.list")];
    let mut parts = Vec::new();
    if apt.join("sources.list.d").is_dir() {
        for entry in fs::read_dir(apt.join("sources.list.d"))? {
            parts.push(entry?.path());
        }
    }
    parts.sort();
    files.extend(parts);
    let mut entries = Vec::new();
    for file in files.into_iter().filter(|file| file.is_file()) {
        entries.extend(of_file(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(entries)
}

fn of_file(file: &PathBuf) -> Result<Vec<Entry>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some(kind @ ("list" | "sources")) => Entry::parse(kind, &String::from_utf8_lossy(&fs::read(file)?)),
        _ => Ok(Vec::new()),
    }
}

impl Entry {
    /// Reads a file of apt's by the ending of its name: one line each in a `list`, one paragraph each in `sources`.
    pub fn parse(kind: &str, text: &str) -> Result<Vec<Entry>> {
        match kind {
            "list" => Ok(text.lines().filter_map(one_line).collect()),
            _ => deb822(text),
        }
    }
}

/// `deb [signed-by=… arch=…] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Entry> {
    let rest = uncommented(line).strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.unwrap_or_default().to_owned(),
    })
}

fn deb822(text: &str) -> Result<Vec<Entry>> {
    let without_comments: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let paragraphs: deb822_fast::Deb822 = without_comments.parse()?;
    let words = |field: Option<&str>| -> Vec<String> {
        field.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let on = |paragraph: &&deb822_fast::Paragraph| {
        let enabled = paragraph.get("Enabled").unwrap_or("yes").trim().to_lowercase();
        words(paragraph.get("Types")).iter().any(|typ| typ == "deb")
            && !["no", "false", "0", "off", "without", "disable"].contains(&enabled.as_str())
    };
    Ok(paragraphs
        .iter()
        .filter(on)
        .map(|paragraph| Entry {
            uris: words(paragraph.get("URIs")),
            suites: words(paragraph.get("Suites")),
            components: words(paragraph.get("Components")),
            signed_by: paragraph.get("Signed-By").unwrap_or_default().to_owned(),
        })
        .collect())
}
