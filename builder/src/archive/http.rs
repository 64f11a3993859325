//! Fetching over HTTP with patience: time limits, retries, resumption, and the next mirror.

use crate::archive::cache::{Part, is_full};
use crate::archive::fault::{Fault, listed};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, ResponseExt};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often each mirror is asked.
    pub attempts: u32,
    /// The pause after the first failure; doubled with each, and varied at random by half.
    pub pause: Duration,
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, and for each next piece of it.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Patience { attempts: 5, pause: Duration::from_millis(500), connect: seconds(20), stall: seconds(30) }
    }
}

impl Patience {
    /// The pause before a round of attempts; before the first there is none. `asked` is what a mirror asks for
    /// (Retry-After): it is given that, but no more than `stall`, which it could have taken in silence too.
    fn pause_before(&self, round: u32, asked: Option<Duration>) -> Duration {
        let own = self.pause.saturating_mul(1 << round.saturating_sub(1).min(6));
        own.max(asked.unwrap_or_default().min(self.stall))
    }
}

/// Why one attempt failed, and so what to do next.
pub enum Failure {
    /// This mirror will not have it: ask the next one.
    Absent(anyhow::Error),
    /// May work in a while.
    Passing(anyhow::Error),
    /// Nothing that a mirror could cure.
    Here(anyhow::Error),
}

/// No mirror has the file: each said so, and would say so again.
#[derive(Debug)]
pub struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Gone {}

/// A client for many requests at once.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    patience: Patience,
}

impl Http {
    /// Proxies are taken from the environment. `identity`: a mirror must not compress what is digested as it is, and
    /// what it says it did all the same is not undone.
    pub fn new(patience: Patience) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.stall))
            .timeout_per_read(Some(patience.stall))
            .max_idle_connections_per_host(16)
            .accept_encoding("identity")
            .user_agent(concat!("mimg/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Http { agent, patience }
    }

    /// Tries the addresses one after the other, round after round, until one attempt succeeds. The error has the last
    /// failure of each address, and what can be done about them; it is `Gone` where none of them may have it in a while.
    pub fn try_each<T>(&self, urls: &[String], attempt: impl FnMut(&str) -> Result<T, Failure>) -> Result<T> {
        let mut attempt = attempt;
        let mut seen: Vec<(String, anyhow::Error)> = Vec::new();
        let mut open: Vec<&String> = urls.iter().collect();
        let mut asked: Option<Duration> = None;
        for round in 0..self.patience.attempts {
            if round > 0 && !open.is_empty() {
                let pause = self.patience.pause_before(round, asked.take());
                std::thread::sleep(pause.mul_f64(1.0 + fastrand::f64() / 2.0));
            }
            for url in std::mem::take(&mut open) {
                let (error, again) = match attempt(url) {
                    Ok(value) => return Ok(value),
                    Err(Failure::Here(error)) => return Err(error),
                    Err(Failure::Passing(error)) => (error, true),
                    Err(Failure::Absent(error)) => (error, false),
                };
                // The mirror that is ready first decides how long all of them are left alone.
                let wish = error.downcast_ref::<Fault>().and_then(Fault::pause).unwrap_or_default();
                asked = again.then_some(asked.map_or(wish, |other| other.min(wish))).or(asked);
                seen.retain(|(other, _)| other != url);
                seen.push((url.clone(), error));
                open.extend(again.then_some(url));
            }
        }
        match (seen.is_empty(), open.is_empty()) {
            (true, _) => bail!("no mirror is named"),
            (false, true) => Err(Gone(listed(&seen)).into()),
            (false, false) => bail!("{}", listed(&seen)),
        }
    }

    /// Fetches a small file at once, of at most `limit` bytes.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let response = self.call(url, None)?;
        let at = Seen::of(&response, url);
        require(&response, &at)?;
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit.saturating_add(1));
        reader.read_to_end(&mut bytes).map_err(|error| {
            Failure::Passing(at.fault(Fault::broken_off(error, &format!("after {} bytes", bytes.len()), self.patience)))
        })?;
        if bytes.len() as u64 > limit {
            return Err(Failure::Absent(at.fault(Fault::content(format!("the answer has more than {limit} bytes")))));
        }
        match is_page(&bytes) {
            true => Err(Failure::Absent(at.fault(Fault::page()))),
            false => Ok(bytes),
        }
    }

    /// Fetches what is missing of a part, and verifies all of it. `progressed` is told the length that is there.
    pub fn complete(&self, url: &str, part: &mut Part, progressed: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let mut have = part.len().map_err(Failure::Here)?;
        if have > part.size() {
            have = 0;
        }
        part.cut(have).map_err(|error| here(error.into()))?;
        let mut at = Seen::default();
        if have < part.size() {
            at = self.receive(url, part, have, progressed)?;
        }
        let Err(mut wrong) = part.verify() else { return Ok(()) };
        part.cut(0).map_err(|error| here(error.into()))?;
        if have > 0 {
            // The beginning was here before, and may be another mirror's fault: this one is asked for all of it.
            at = self.receive(url, part, 0, progressed)?;
            wrong = match part.verify() {
                Ok(()) => return Ok(()),
                Err(wrong) => wrong,
            };
            part.cut(0).map_err(|error| here(error.into()))?;
        }
        Err(Failure::Passing(at.fault(Fault::content(format!("the file is not the one promised: {wrong:#}")))))
    }

    fn receive(&self, url: &str, part: &mut Part, have: u64, told: &mut dyn FnMut(u64)) -> Result<Seen, Failure> {
        let response = self.call(url, Some(have).filter(|have| *have > 0))?;
        let at = Seen::of(&response, url);
        let mut have = match response.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&response, have) => have,
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                part.cut(0).map_err(|error| here(error.into()))?;
                let saw = "the mirror sent another range than the one asked for";
                return Err(Failure::Passing(at.fault(Fault::content(saw))));
            }
            _ => return require(&response, &at).map(|()| at),
        };
        part.cut(have).map_err(|error| here(error.into()))?;
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(n) => n,
                // All of it is there: what else the mirror promised does not matter.
                Err(_) if have == part.size() => break,
                Err(error) => {
                    let how_far = format!("after {have} of {} bytes", part.size());
                    return Err(Failure::Passing(at.fault(Fault::broken_off(error, &how_far, self.patience))));
                }
            };
            if n == 0 {
                break;
            }
            if have == 0 && is_page(&buffer[..n]) {
                return Err(Failure::Absent(at.fault(Fault::page())));
            }
            have += n as u64;
            if have > part.size() {
                part.cut(0).map_err(|error| here(error.into()))?;
                let saw = format!("the mirror sends more than the {} bytes promised", part.size());
                return Err(Failure::Passing(at.fault(Fault::content(saw))));
            }
            part.write_all(&buffer[..n]).map_err(|error| here(error.into()))?;
            told(have);
        }
        if have < part.size() {
            let saw = format!("the answer ended after {have} of {} bytes", part.size());
            return Err(Failure::Passing(at.fault(Fault::broken(saw))));
        }
        Ok(at)
    }

    fn call(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::TooManyRedirects => {
                Failure::Absent(Fault::address(error).into())
            }
            ureq::Error::Timeout(_) => Failure::Passing(Fault::silent("before an answer began", self.patience).into()),
            error => Failure::Passing(Fault::broken(error).into()),
        })
    }
}

/// What is worth telling of an answer beside its fault: where it came from, and how it was packed.
#[derive(Default)]
struct Seen(String);

impl Seen {
    fn of(response: &Response<Body>, url: &str) -> Self {
        let mut seen = String::new();
        if response.get_uri() != url {
            seen += &format!(" (redirected to {})", response.get_uri());
        }
        let encoding = response.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        if let Some(encoding) = encoding.filter(|encoding| *encoding != "identity") {
            seen += &format!(" (sent as Content-Encoding {encoding:?}, which nobody asked for)");
        }
        Seen(seen)
    }

    fn fault(&self, fault: Fault) -> anyhow::Error {
        fault.also(&self.0).into()
    }
}

/// Any status but 200 as a failure: what the client asked wrongly stays wrong, the rest may pass.
fn require(response: &Response<Body>, at: &Seen) -> Result<(), Failure> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    let passing = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || status.is_success();
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let error = at.fault(Fault::status(status, asked.map(Duration::from_secs)));
    Err(if passing { Failure::Passing(error) } else { Failure::Absent(error) })
}

fn begins_at(response: &Response<Body>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

/// A web page, as networks that want a login put in the place of anything. No file of an archive begins so.
fn is_page(bytes: &[u8]) -> bool {
    let begin = bytes.trim_ascii_start();
    ["<!doctype", "<html"]
        .iter()
        .any(|tag| begin.len() >= tag.len() && begin[..tag.len()].eq_ignore_ascii_case(tag.as_bytes()))
}

/// A full disk says so; what else fails on this side is no mirror's fault either.
fn here(error: anyhow::Error) -> Failure {
    let full = is_full(&error);
    Failure::Here(if full { error.context("writing into the cache (the disk is full)") } else { error })
}

/// The error of one attempt, without what to do next.
impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Absent(error) | Failure::Passing(error) | Failure::Here(error) => error,
        }
    }
}

/// Reads a text that has to be UTF-8.
pub fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context("reading a text (wanted UTF-8)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_mirror_that_asks_for_one_has_it_within_limits() {
        let seconds = Duration::from_secs;
        let patience = Patience { attempts: 9, pause: seconds(1), connect: seconds(1), stall: seconds(30) };
        assert_eq!([1, 2, 3, 8, 99].map(|round| patience.pause_before(round, None).as_secs()), [1, 2, 4, 64, 64]);
        assert_eq!([2, 20, 3600].map(|asked| patience.pause_before(1, Some(seconds(asked))).as_secs()), [2, 20, 30]);
        assert_eq!(patience.pause_before(4, Some(seconds(2))), seconds(8), "asking cannot make us less polite");
    }
}
