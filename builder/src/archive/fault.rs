//! What a mirror did wrong, and what a person can do about it.

use crate::archive::http::Patience;
use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::StatusCode;

/// One failed attempt at one address.
#[derive(Debug)]
pub struct Fault {
    saw: String,
    cure: &'static str,
    pause: Option<Duration>,
}

/// Helps against all of them, so it is said once.
const ANOTHER: &str = "name another mirror in fleet.toml (under [archive]: mirror, security-mirror)";

const AGAIN: &str = "run it again, what came is kept";
const LATER: &str = "run it again in an hour, the mirror may be in the middle of an update";
const ACCESS: &str = "find out whether the mirror, or the proxy in http_proxy, wants a login";
const LOGIN: &str = "log in to the network that this machine is in";
const CHANGED: &str = "leave out the proxy, should one be in between";
const ADDRESS: &str = "check the mirror's address";

impl Fault {
    fn new(saw: impl fmt::Display, cure: &'static str) -> Self {
        Fault { saw: saw.to_string(), cure, pause: None }
    }

    /// The connection or the answer is no good.
    pub fn broken(saw: impl fmt::Display) -> Self {
        Self::new(saw, AGAIN)
    }

    /// Nothing came for as long as we wait.
    pub fn silent(how_far: &str, patience: Patience) -> Self {
        Self::new(format!("nothing came for {:?}, {how_far}", patience.stall), AGAIN)
    }

    /// Reading the answer failed.
    pub fn broken_off(error: std::io::Error, how_far: &str, patience: Patience) -> Self {
        let late = error.kind() == ErrorKind::TimedOut
            || error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<ureq::Error>())
                .is_some_and(|inner| matches!(inner, ureq::Error::Timeout(_)));
        if late { Self::silent(how_far, patience) } else { Self::broken(format!("broken off {how_far}: {error}")) }
    }

    /// An answer that is no success. `asked`: the mirror wants to be left alone for so long.
    pub fn status(status: StatusCode, asked: Option<Duration>) -> Self {
        let cure = match status.as_u16() {
            401 | 403 | 407 | 451 | 511 => ACCESS,
            404 | 410 => LATER,
            400..500 => ADDRESS,
            _ => AGAIN,
        };
        Fault { pause: asked, ..Self::new(format!("the answer is {status}"), cure) }
    }

    /// A web page where a file was wanted.
    pub fn page() -> Self {
        Self::new("the answer is a web page, such as a network's login", LOGIN)
    }

    /// Other bytes than those promised.
    pub fn content(saw: impl fmt::Display) -> Self {
        Self::new(saw, CHANGED)
    }

    /// An address that leads nowhere.
    pub fn address(saw: impl fmt::Display) -> Self {
        Self::new(saw, ADDRESS)
    }

    /// With more of what was seen.
    pub fn also(mut self, more: &str) -> Self {
        self.saw += more;
        self
    }

    /// How long the mirror asks to be left alone.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.saw)
    }
}

impl std::error::Error for Fault {}

/// The last failure of each address, and then what can be done, each cure once.
pub fn listed(seen: &[(String, anyhow::Error)]) -> String {
    let said: Vec<String> = seen.iter().map(|(url, error)| format!("{url}: {error:#}")).collect();
    let cures: BTreeSet<&str> =
        seen.iter().filter_map(|(_, error)| error.downcast_ref::<Fault>()).map(|fault| fault.cure).collect();
    let cures: Vec<&str> = cures.into_iter().chain([ANOTHER]).collect();
    format!("{} (cure: {})", said.join("; "), cures.join("; or "))
}
