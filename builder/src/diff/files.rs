//! What differs between the files of two volumes.

use crate::diff::volume::{Entry, Kind, Volume, shown};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::io::{self, Read};

/// Bytes that are compared at a time.
const PIECE: usize = 1 << 18;

/// Files, folders and links that one side has and the other has not, or has otherwise.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Files {
    pub added: Vec<Found>,
    pub removed: Vec<Found>,
    pub changed: Vec<Changed>,
}

/// What one side has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    pub path: String,
    pub entry: Entry,
}

/// What both sides have, but not equal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changed {
    pub path: String,
    pub old: Entry,
    pub new: Entry,
    /// Two files whose bytes differ.
    pub content: bool,
}

impl Files {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Adds what differs between two volumes. `place` stands before each path: what the volume is called, if it is not
    /// the root.
    pub fn add(&mut self, place: &str, old: &Volume, new: &Volume) -> Result<()> {
        let (before, mut after) = (old.entries()?, new.entries()?);
        for (path, entry) in before {
            let name = format!("{place}{}", shown(&path));
            let Some(now) = after.remove(&path) else {
                self.removed.push(Found { path: name, entry });
                continue;
            };
            let content = entry.kind == Kind::File
                && now.kind == Kind::File
                && (entry.size != now.size || differs(&path, old, new).with_context(|| format!("comparing {name}"))?);
            if content || entry != now {
                self.changed.push(Changed { path: name, old: entry, new: now, content });
            }
        }
        let found = |(path, entry): (Vec<u8>, Entry)| Found { path: format!("{place}{}", shown(&path)), entry };
        self.added.extend(after.into_iter().map(found));
        Ok(())
    }

    pub fn append(&mut self, other: Files) {
        self.added.extend(other.added);
        self.removed.extend(other.removed);
        self.changed.extend(other.changed);
    }

    /// Bytes of content that one side has more than the other.
    fn grown(&self) -> i128 {
        let sum = |found: &[Found]| found.iter().map(|one| i128::from(one.entry.size)).sum::<i128>();
        let changed = self.changed.iter().map(|one| i128::from(one.new.size) - i128::from(one.old.size));
        sum(&self.added) - sum(&self.removed) + changed.sum::<i128>()
    }
}

fn differs(path: &[u8], old: &Volume, new: &Volume) -> Result<bool> {
    let (mut old, mut new) = (old.file(path)?, new.file(path)?);
    let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let (had, have) = (fill(&mut old, &mut one)?, fill(&mut new, &mut other)?);
        if one[..had] != other[..have] {
            return Ok(true);
        }
        if had < PIECE {
            return Ok(false);
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match (self.kind, &self.target) {
            (Kind::File, _) => write!(out, "{} bytes", self.size),
            (Kind::Folder, _) => write!(out, "folder"),
            (Kind::Link, target) => write!(out, "link to {}", target.as_deref().unwrap_or("nowhere")),
            (Kind::Device, _) => write!(out, "device"),
            (Kind::Pipe, _) => write!(out, "pipe"),
            (Kind::Socket, _) => write!(out, "socket"),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Changed { path, old, new, content } = self;
        let mut said = Vec::new();
        if (old.kind, &old.target, old.size) != (new.kind, &new.target, new.size) {
            said.push(format!("{old} -> {new}"));
        } else if *content {
            said.push(format!("{old} with other content"));
        }
        let none = || "-".to_owned();
        for (what, old, new) in [("mode", &old.mode, &new.mode), ("owner", &old.owner, &new.owner)] {
            if old != new {
                let (old, new) = (old.clone().unwrap_or_else(none), new.clone().unwrap_or_else(none));
                said.push(format!("{what} {old} -> {new}"));
            }
        }
        write!(out, "changed  {path}  {}", said.join(", "))
    }
}

impl fmt::Display for Files {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.added.iter().try_for_each(|Found { path, entry }| writeln!(out, "added    {path}  {entry}"))?;
        self.removed.iter().try_for_each(|Found { path, entry }| writeln!(out, "removed  {path}  {entry}"))?;
        self.changed.iter().try_for_each(|changed| writeln!(out, "{changed}"))?;
        let (added, removed, changed) = (self.added.len(), self.removed.len(), self.changed.len());
        let grown = self.grown() as f64 / 1e6;
        writeln!(out, "{added} added, {removed} removed, {changed} changed, {grown:+.1} MB of files")
    }
}
