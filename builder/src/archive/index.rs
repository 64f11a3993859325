//! An archive's index of packages: one paragraph per package.

use crate::archive::cache::is_sha256;
use anyhow::{Context, Result, bail};
use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParser};
use std::borrow::Cow;
use std::collections::HashMap;

/// One `Packages` file, verified.
#[derive(Debug)]
pub struct Index {
    pub text: String,
    /// Its suite, by its place among the archive's suites.
    pub suite: usize,
}

/// One package in an index, with the fields that the solver asks for.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    /// When the name was first mentioned, as a package or by another one: apt decides by it where nothing else does.
    pub order: u32,
    /// The whole paragraph, without a line end at its end.
    pub paragraph: &'a str,
    /// The suite's place among the archive's suites.
    pub suite: usize,
    pub essential: bool,
    /// `Protected` or `Important`: hard to remove, and preferred among providers.
    pub protected: bool,
    pub priority: Priority,
    /// `Multi-Arch: allowed`: satisfies `:any`.
    pub any: bool,
    pub pre_depends: Cow<'a, str>,
    pub depends: Cow<'a, str>,
    pub conflicts: Cow<'a, str>,
    pub breaks: Cow<'a, str>,
    pub provides: Cow<'a, str>,
    pub filename: &'a str,
    pub size: u64,
    pub sha256: &'a str,
}

/// How much a distribution wants a package, the most wanted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Required,
    Important,
    Standard,
    Optional,
    Extra,
}

impl Priority {
    fn parse(text: &str) -> Self {
        match text {
            "required" => Priority::Required,
            "important" => Priority::Important,
            "standard" => Priority::Standard,
            "extra" => Priority::Extra,
            _ => Priority::Optional,
        }
    }

    /// As control files write it.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Required => "required",
            Priority::Important => "important",
            Priority::Standard => "standard",
            Priority::Optional => "optional",
            Priority::Extra => "extra",
        }
    }
}

impl Index {
    /// All packages of the index for the architectures that an image may hold, in the index's order. `names` gathers all
    /// names that are mentioned.
    pub fn entries<'a>(&'a self, names: &mut Names<'a>) -> Result<Vec<Entry<'a>>> {
        let mut entries = Vec::with_capacity(self.text.len() / 800);
        for paragraph in self.text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')) {
            if !paragraph.is_empty() {
                entries.extend(self.entry(paragraph, names).with_context(|| {
                    format!("reading the paragraph of {:?}", paragraph.lines().next().unwrap_or_default())
                })?);
            }
        }
        Ok(entries)
    }

    fn entry<'a>(&self, text: &'a str, names: &mut Names<'a>) -> Result<Option<Entry<'a>>> {
        let paragraphs = BorrowedParser::new(text).parse_all().map_err(|error| anyhow::anyhow!("{error}"))?;
        let [paragraph] = &paragraphs[..] else { bail!("it is not one paragraph") };
        let fields = Fields(paragraph);
        let architecture = fields.must("Architecture")?;
        if !crate::archive::source::ARCHITECTURES.contains(&architecture) {
            return Ok(None);
        }
        let name = fields.must("Package")?;
        let order = names.mention(name);
        for field in MENTIONING {
            paragraph.get(field).into_iter().flatten().for_each(|line| names.mention_all(line));
        }
        Ok(Some(Entry {
            name,
            order,
            version: fields.must("Version")?,
            architecture,
            paragraph: text,
            suite: self.suite,
            essential: fields.is("Essential", "yes"),
            protected: fields.is("Protected", "yes") || fields.is("Important", "yes"),
            priority: Priority::parse(fields.may("Priority")),
            any: fields.is("Multi-Arch", "allowed"),
            pre_depends: fields.joined("Pre-Depends"),
            depends: fields.joined("Depends"),
            conflicts: fields.joined("Conflicts"),
            breaks: fields.joined("Breaks"),
            provides: fields.joined("Provides"),
            filename: fields.must("Filename")?,
            size: fields.must("Size")?.parse().context("reading Size")?,
            sha256: digest(fields.must("SHA256")?)?,
        }))
    }
}

/// The fields that mention other packages, in the order in which apt reads them.
const MENTIONING: [&str; 9] =
    ["Pre-Depends", "Depends", "Conflicts", "Breaks", "Recommends", "Suggests", "Replaces", "Enhances", "Provides"];

/// All names of packages, numbered as they are first mentioned.
#[derive(Default)]
pub struct Names<'a>(HashMap<&'a str, u32>);

impl<'a> Names<'a> {
    fn mention(&mut self, name: &'a str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name).or_insert(next)
    }

    /// The names in one line of a field. A name with an architecture is another name to apt.
    fn mention_all(&mut self, line: &'a str) {
        for text in line.split([',', '|']) {
            let text = text.trim_start();
            let end = text.find([' ', '(']).unwrap_or(text.len());
            if end > 0 {
                self.mention(&text[..end]);
            }
        }
    }
}

struct Fields<'p, 'a>(&'p BorrowedParagraph<'a>);

impl<'a> Fields<'_, 'a> {
    fn may(&self, name: &str) -> &'a str {
        self.0.get_single(name).unwrap_or_default().trim()
    }

    fn must(&self, name: &str) -> Result<&'a str> {
        match self.may(name) {
            "" => bail!("it has no {name}"),
            value => Ok(value),
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.may(name) == value
    }

    fn joined(&self, name: &str) -> Cow<'a, str> {
        match self.0.get(name) {
            None => Cow::Borrowed(""),
            Some([line]) => Cow::Borrowed(line),
            Some(lines) => Cow::Owned(lines.join(" ")),
        }
    }
}

fn digest(text: &str) -> Result<&str> {
    if is_sha256(text) {
        return Ok(text);
    }
    bail!("its SHA256 is {text:?}: wanted 64 hexadecimal digits")
}
