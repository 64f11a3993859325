//! A repository of packages that an image is made from.

use crate::archive::mirror::Mirror;
use crate::archive::signature::Keyring;
use anyhow::Result;
use jiff::Timestamp;

/// The architectures whose packages an image may hold.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "all"];

/// One suite of one repository, and whom we believe about it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Addresses of the repository, without a `/` at the end; tried in this order.
    pub uris: Vec<String>,
    /// What the profile calls the repository; nothing for Debian's own.
    pub repository: Option<String>,
    /// The suite as it is called below `dists/`, such as `trixie-updates`.
    pub suite: String,
    /// Components such as `main`; those that the suite does not have are an error.
    pub components: Vec<String>,
    /// The pinned keys, one of which must have signed the suite.
    pub keyring: Keyring,
    /// Is a suite refused after its `Valid-Until`? Only a snapshot of the past says no.
    pub check_valid_until: bool,
    /// Whose version of a package is taken: the highest priority, then the newest version. Debian's own have 500.
    pub priority: i32,
    /// A Release older than this is refused: a newer one was seen.
    pub not_before: Option<Timestamp>,
}

impl Source {
    /// Debian 13: the release, its updates, and its security updates.
    pub fn debian(mirror: &Mirror, components: &[String]) -> Result<Vec<Source>> {
        let suite = |suite: &str, uris: &[String], keyring: Keyring| Source {
            uris: uris.to_vec(),
            repository: None,
            suite: suite.to_owned(),
            components: components.to_vec(),
            keyring,
            check_valid_until: true,
            priority: 500,
            not_before: None,
        };
        let (keyring, security) = (Keyring::debian()?, Keyring::debian_security()?);
        Ok(vec![
            suite("trixie", &mirror.archive, keyring.clone()),
            suite("trixie-updates", &mirror.archive, keyring),
            suite("trixie-security", &mirror.security, security),
        ])
    }

    /// A repository besides Debian's, signed by the keys in `key_file` whose fingerprints are `pins`. Its versions compete
    /// with Debian's at priority 500; set `priority` to prefer one side.
    pub fn extra(uri: &str, suite: &str, components: &[String], key_file: &[u8], pins: &[&str]) -> Result<Source> {
        Ok(Source {
            uris: vec![uri.trim_end_matches('/').to_owned()],
            repository: None,
            suite: suite.to_owned(),
            components: components.to_vec(),
            keyring: Keyring::pinned(&[key_file], pins)?,
            check_valid_until: true,
            priority: 500,
            not_before: None,
        })
    }

    /// How a lock calls it: the suite, after the repository's name where it is not Debian's own.
    pub fn origin(&self) -> String {
        self.repository.as_ref().map_or(self.suite.clone(), |name| format!("{name}:{}", self.suite))
    }

    /// How messages call it.
    pub fn name(&self) -> String {
        format!("{} {}", self.uris.first().map_or("(no address)", String::as_str), self.suite)
    }
}
