//! What a suite's `Release` says: which suite it is, of when, until when, and the digests of its indexes.

use crate::archive::cache::is_sha256;
use crate::archive::signature::SKEW;
use anyhow::{Context, Result, bail};
use deb822_fast::Paragraph;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A signed and dated list of a suite's index files.
#[derive(Clone, Debug)]
pub struct Release {
    /// `Suite`, such as `stable`; empty if not said.
    pub suite: String,
    /// `Codename`, such as `trixie`; empty if not said.
    pub codename: String,
    /// When the suite was published.
    pub date: Timestamp,
    /// After this moment the suite must not be trusted to be current.
    pub valid_until: Option<Timestamp>,
    /// Indexes can be fetched by their digest, so that a mirror under update does not matter.
    pub by_hash: bool,
    /// Packages of the architecture `all` are in an index of their own, not in each architecture's.
    pub all_apart: bool,
    files: BTreeMap<String, Listed>,
}

/// One file that a Release lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Bytes.
    pub size: u64,
    /// Lower-case hexadecimal digits.
    pub sha256: String,
}

impl Release {
    /// Reads the text of a Release (already verified). Errors name the field that is missing or broken.
    pub fn parse(text: &str) -> Result<Self> {
        let paragraph: Paragraph = text.parse().context("reading the Release")?;
        let field = |name: &str| paragraph.get(name).map(str::trim);
        let words = |name: &str| field(name).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        let date = field("Date").context("the Release has no Date")?;
        let digests = field("SHA256")
            .context("the Release has no SHA256 section: weaker digests are not accepted; ask its owner for SHA-256")?;
        Ok(Release {
            suite: field("Suite").unwrap_or_default().to_owned(),
            codename: field("Codename").unwrap_or_default().to_owned(),
            date: moment("Date", date)?,
            valid_until: field("Valid-Until").map(|until| moment("Valid-Until", until)).transpose()?,
            by_hash: field("Acquire-By-Hash").is_some_and(|value| value.eq_ignore_ascii_case("yes")),
            all_apart: words("Architectures").contains(&"all")
                && !words("No-Support-for-Architecture-all").contains(&"Packages"),
            files: digests.lines().filter(|line| !line.trim().is_empty()).map(listed).collect::<Result<_>>()?,
        })
    }

    /// Refuses a Release of another suite, one from the future, and one whose validity has ended.
    pub fn check(&self, suite: &str, check_valid_until: bool, now: Timestamp) -> Result<()> {
        if suite != self.suite && suite != self.codename {
            bail!(
                "it is the Release of suite {:?}, codename {:?}: wanted {suite:?}; is the mirror's address right?",
                self.suite,
                self.codename
            );
        }
        if self.date > now + SKEW {
            bail!("it is dated {}, after now ({now}): is this machine's clock right?", self.date);
        }
        match self.valid_until {
            Some(until) if check_valid_until && until < now => bail!(
                "it was valid until {until} and now it is {now}: the mirror is stale, or replays old packages; \
                 name another mirror, or check this machine's clock"
            ),
            _ => Ok(()),
        }
    }

    /// What is said of one file, such as `main/binary-amd64/Packages.xz`.
    pub fn file(&self, path: &str) -> Option<&Listed> {
        self.files.get(path)
    }

    /// The folders that hold indexes of packages, as `main/binary-amd64`.
    pub fn package_indexes(&self) -> impl Iterator<Item = &str> {
        let split = self.files.keys().filter_map(|path| path.rsplit_once("/Packages"));
        split.filter(|(_, packing)| ["", ".xz", ".gz"].contains(packing)).map(|(folder, _)| folder)
    }
}

fn listed(line: &str) -> Result<(String, Listed)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [digest, size, path] = words[..] else {
        bail!("the Release lists {line:?}: wanted a digest, a size and a path");
    };
    if !is_sha256(digest) {
        bail!("the Release lists {path:?} with {digest:?}: wanted 64 hexadecimal digits of SHA-256");
    }
    let size = size.parse().with_context(|| format!("reading the size of {path:?} in the Release"))?;
    Ok((path.to_owned(), Listed { size, sha256: digest.to_owned() }))
}

/// Dates are those of mail, in UTC, which is written as a zone that mail does not know.
fn moment(field: &str, text: &str) -> Result<Timestamp> {
    let zoned = text.strip_suffix("UTC").map_or(text.to_owned(), |date| format!("{date}+0000"));
    jiff::fmt::rfc2822::parse(&zoned).map(|moment| moment.timestamp()).with_context(|| {
        format!("reading {field} {text:?} of the Release (wanted a date such as Sat, 09 Aug 2025 09:00:00 UTC)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
             Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\nSHA256:\n {DIGEST}        0 main/binary-amd64/Packages\n"
        )
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn refusal(text: &str, suite: &str, now: &str) -> String {
        Release::parse(text).unwrap().check(suite, true, at(now)).unwrap_err().to_string()
    }

    #[test]
    fn a_release_says_what_it_is_and_lists_its_files() {
        let release = Release::parse(&text()).unwrap();
        assert_eq!(release.date, at("2026-09-12T07:55:41Z"));
        assert_eq!(release.file("main/binary-amd64/Packages").unwrap().size, 0);
        assert!(release.by_hash);
        for suite in ["trixie", "stable"] {
            release.check(suite, true, at("2026-09-13T00:00:00Z")).unwrap();
        }
    }

    #[test]
    fn another_suite_is_refused_by_name() {
        let refusal = refusal(&text(), "trixie-updates", "2026-09-13T00:00:00Z");
        assert!(refusal.contains("\"trixie\"") && refusal.contains("\"trixie-updates\""), "{refusal}");
    }

    #[test]
    fn a_release_from_the_future_is_refused_beyond_some_minutes() {
        assert!(refusal(&text(), "trixie", "2026-09-12T07:00:00Z").contains("clock"));
        Release::parse(&text()).unwrap().check("trixie", true, at("2026-09-12T07:50:00Z")).unwrap();
    }

    #[test]
    fn validity_ends_unless_told_otherwise() {
        let later = "2026-09-19T07:55:42Z";
        assert!(refusal(&text(), "trixie", later).contains("valid until 2026-09-19T07:55:41Z"));
        Release::parse(&text()).unwrap().check("trixie", false, at(later)).unwrap();
    }

    #[test]
    fn weak_or_broken_digests_are_refused() {
        let weak = text().replace("SHA256:", "MD5Sum:");
        assert!(format!("{:#}", Release::parse(&weak).unwrap_err()).contains("SHA256"));
        for broken in [DIGEST.to_uppercase(), "abc".to_owned(), format!("{DIGEST} ")] {
            let text = text().replace(&format!("{DIGEST}        0"), &broken);
            assert!(Release::parse(&text).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_broken_date_is_shown() {
        let error = format!("{:#}", Release::parse(&text().replace("Sat, 12", "Sat, 42")).unwrap_err());
        assert!(error.contains("42 Sep 2026"), "{error}");
    }
}
