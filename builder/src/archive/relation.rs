//! Relations between packages as control files write them: `a (>= 1) | b:any, c`.

use anyhow::{Context, Result, bail};
use debversion::Version;
use std::cmp::Ordering;
use std::fmt;

/// How a version has to compare with the one that a relation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// The part after the colon of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// None, or the image's own architecture: any package that the image can hold.
    Own,
    /// `:any`: only packages that are `Multi-Arch: allowed`.
    Any,
    /// Another architecture: nothing in an amd64 image.
    Foreign,
}

/// One alternative: a name, maybe a qualifier, maybe a version bound.
#[derive(Clone, Debug)]
pub struct Relation<'a> {
    pub name: &'a str,
    pub qualifier: Qualifier,
    pub version: Option<(Compare, Version)>,
    text: &'a str,
}

impl<'a> Relation<'a> {
    /// Reads one alternative such as `libc6:any (>= 2.36)`; build profiles and architecture lists are of source packages
    /// and are refused.
    pub fn parse(text: &'a str) -> Result<Self> {
        let text = text.trim();
        let (target, bound) = match text.split_once('(') {
            Some((target, rest)) => (target.trim(), Some(bound(rest).with_context(|| format!("in {text:?}"))?)),
            None => (text, None),
        };
        let (name, qualifier) = match target.split_once(':') {
            Some((name, "any")) => (name, Qualifier::Any),
            Some((name, "native" | "amd64" | "all")) => (name, Qualifier::Own),
            Some((name, _)) => (name, Qualifier::Foreign),
            None => (target, Qualifier::Own),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || "[]<>(),|".contains(c)) {
            bail!("{text:?} is no relation: wanted a package name, maybe with a version in parentheses");
        }
        Ok(Relation { name, qualifier, version: bound, text })
    }

    /// Reads a whole field: groups that must all hold, each a list of alternatives in order of preference.
    pub fn groups(field: &'a str) -> Result<Vec<Vec<Self>>> {
        let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
        groups.map(|group| group.split('|').map(Relation::parse).collect()).collect()
    }

    /// Does `version` lie within the bound? Always, if there is none.
    pub fn admits(&self, version: &Version) -> bool {
        let Some((compare, bound)) = &self.version else { return true };
        let order = version.cmp(bound);
        match compare {
            Compare::Earlier => order == Ordering::Less,
            Compare::EarlierOrEqual => order != Ordering::Greater,
            Compare::Equal => order == Ordering::Equal,
            Compare::LaterOrEqual => order != Ordering::Less,
            Compare::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// What `Provides` says: a name, and the version under which it is provided, if it says one.
#[derive(Clone, Debug)]
pub struct Provided<'a> {
    pub name: &'a str,
    pub version: Option<Version>,
}

impl<'a> Provided<'a> {
    /// Reads a `Provides` field.
    pub fn list(field: &'a str) -> Result<Vec<Self>> {
        let items = field.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(Provided::parse).collect()
    }

    fn parse(text: &'a str) -> Result<Self> {
        let relation = Relation::parse(text)?;
        match relation.version {
            None => Ok(Provided { name: relation.name, version: None }),
            Some((Compare::Equal, version)) => Ok(Provided { name: relation.name, version: Some(version) }),
            Some(_) => bail!("{text:?} provides a range: wanted a name, or a name with (= version)"),
        }
    }
}

fn bound(rest: &str) -> Result<(Compare, Version)> {
    let inner = rest.trim_end().strip_suffix(')').context("the parenthesis is not closed")?.trim();
    let digits = inner.find(|c: char| !"<>=".contains(c)).unwrap_or(inner.len());
    let (sign, version) = inner.split_at(digits);
    let compare = match sign {
        "<<" => Compare::Earlier,
        "<=" | "<" => Compare::EarlierOrEqual,
        "=" => Compare::Equal,
        ">=" | ">" => Compare::LaterOrEqual,
        ">>" => Compare::Later,
        other => bail!("{other:?} compares nothing: wanted <<, <=, =, >= or >>"),
    };
    Ok((compare, parse_version(version.trim())?))
}

/// Reads a version; what is no version is named in the error.
pub fn parse_version(text: &str) -> Result<Version> {
    text.parse().map_err(|_| anyhow::anyhow!("{text:?} is no Debian version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        parse_version(text).unwrap()
    }

    #[test]
    fn a_field_is_groups_of_alternatives() {
        let groups = Relation::groups("debconf (>= 0.5) | debconf-2.0, perl:any, libc6 (>= 2.36),").unwrap();
        let names: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(|r| r.name).collect()).collect();
        assert_eq!(names, [vec!["debconf", "debconf-2.0"], vec!["perl"], vec!["libc6"]]);
        assert_eq!(groups[1][0].qualifier, Qualifier::Any);
        assert_eq!(groups[0][0].to_string(), "debconf (>= 0.5)");
    }

    #[test]
    fn bounds_follow_debian_order() {
        let relation = |text| Relation::parse(text).unwrap();
        assert!(relation("a (>= 1.0~rc1)").admits(&version("1.0")));
        assert!(!relation("a (>= 1.0)").admits(&version("1.0~rc1")));
        assert!(relation("a (<< 1:0)").admits(&version("9.9-1")));
        assert!(relation("a (= 1.0-1)").admits(&version("1.0-1")));
        assert!(!relation("a (>> 1.0-1)").admits(&version("1.0-1")));
        assert!(relation("a(<=2)").admits(&version("2")));
    }

    #[test]
    fn other_architectures_are_foreign() {
        assert_eq!(Relation::parse("a:i386").unwrap().qualifier, Qualifier::Foreign);
        assert_eq!(Relation::parse("a:native").unwrap().qualifier, Qualifier::Own);
    }

    #[test]
    fn a_broken_relation_says_what_it_was() {
        for text in ["a (>= ", "a (~ 1)", "", "a b", "a [amd64]"] {
            let error = format!("{:#}", Relation::parse(text).unwrap_err());
            assert!(error.contains(text.trim()), "{error}");
        }
    }

    #[test]
    fn a_provided_name_may_carry_one_version() {
        let provided = Provided::list("awk, libfoo-dev (= 2.0)").unwrap();
        assert_eq!(provided[0].name, "awk");
        assert_eq!(provided[1].version, Some(version("2.0")));
        assert!(Provided::list("x (>= 1)").is_err());
    }
}
