//! Fetching over HTTP with patience: time limits, retries, resumption, and the next mirror.

use crate::archive::cache::{Part, is_full};
use anyhow::{Context, Result, anyhow, bail};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

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
    /// Proxies are taken from the environment. `identity`: a mirror must not compress what is digested as it is.
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
    /// failure of each address; it is `Gone` where none of them may have it in a while.
    pub fn try_each<T>(&self, urls: &[String], attempt: impl FnMut(&str) -> Result<T, Failure>) -> Result<T> {
        let mut attempt = attempt;
        let mut seen: Vec<(&String, anyhow::Error, bool)> = Vec::new();
        let mut open: Vec<&String> = urls.iter().collect();
        for round in 0..self.patience.attempts {
            if round > 0 && !open.is_empty() {
                self.rest(round);
            }
            for url in std::mem::take(&mut open) {
                let (error, again) = match attempt(url) {
                    Ok(value) => return Ok(value),
                    Err(Failure::Here(error)) => return Err(error),
                    Err(Failure::Passing(error)) => (error, true),
                    Err(Failure::Absent(error)) => (error, false),
                };
                seen.retain(|(other, _, _)| *other != url);
                seen.push((url, error, again));
                open.extend(again.then_some(url));
            }
        }
        let said: Vec<String> = seen.iter().map(|(url, error, _)| format!("{url}: {error:#}")).collect();
        if !seen.is_empty() && seen.iter().all(|(_, _, again)| !again) {
            return Err(Gone(said.join("; ")).into());
        }
        bail!("{}", if said.is_empty() { "no mirror is named".to_owned() } else { said.join("; ") })
    }

    /// Fetches a small file at once, of at most `limit` bytes.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let response = self.call(url, None)?;
        require(response.status(), StatusCode::OK)?;
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Passing(stalled(error, "the answer", self.patience)))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::Absent(anyhow!("the answer has more than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Fetches what is missing of a part, and verifies all of it. `progressed` is told the length that is there.
    pub fn complete(&self, url: &str, part: &mut Part, progressed: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let mut have = part.len().map_err(Failure::Here)?;
        if have > part.size() {
            have = 0;
        }
        part.cut(have).map_err(|error| here(error.into()))?;
        if have < part.size() {
            self.receive(url, part, have, progressed)?;
        }
        part.verify().map_err(|error| {
            let cut = part.cut(0).map_err(anyhow::Error::from);
            cut.map_or_else(Failure::Here, |()| Failure::Passing(error.context("the file is not the one promised")))
        })
    }

    fn receive(&self, url: &str, part: &mut Part, have: u64, told: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let response = self.call(url, Some(have).filter(|have| *have > 0))?;
        let mut have = match response.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&response, have) => have,
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                part.cut(0).map_err(|error| here(error.into()))?;
                return Err(Failure::Passing(anyhow!("the mirror sent another range than the one asked for")));
            }
            other => return require(other, StatusCode::OK),
        };
        part.cut(have).map_err(|error| here(error.into()))?;
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = reader.read(&mut buffer).map_err(|error| {
                Failure::Passing(stalled(error, &format!("after {have} of {} bytes", part.size()), self.patience))
            })?;
            if n == 0 {
                break;
            }
            have += n as u64;
            if have > part.size() {
                part.cut(0).map_err(|error| here(error.into()))?;
                return Err(Failure::Passing(anyhow!("the mirror sends more than the {} bytes promised", part.size())));
            }
            part.write_all(&buffer[..n]).map_err(|error| here(error.into()))?;
            told(have);
        }
        if have < part.size() {
            return Err(Failure::Passing(anyhow!("the answer ended after {have} of {} bytes", part.size())));
        }
        Ok(())
    }

    fn call(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Absent(error.into()),
            error => Failure::Passing(error.into()),
        })
    }

    fn rest(&self, round: u32) {
        let pause = self.patience.pause.saturating_mul(1 << (round - 1).min(6));
        std::thread::sleep(pause.mul_f64(0.5 + fastrand::f64()));
    }
}

/// Any status but the wanted one as a failure: what the client asked wrongly stays wrong, the rest may pass.
fn require(status: StatusCode, wanted: StatusCode) -> Result<(), Failure> {
    if status == wanted {
        return Ok(());
    }
    let error = anyhow!("the answer is {status}");
    let passing = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || status.is_success();
    Err(if passing { Failure::Passing(error) } else { Failure::Absent(error) })
}

fn begins_at(response: &Response<Body>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn stalled(error: std::io::Error, how_far: &str, patience: Patience) -> anyhow::Error {
    let late = error.kind() == ErrorKind::TimedOut
        || error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ureq::Error>())
            .is_some_and(|inner| matches!(inner, ureq::Error::Timeout(_)));
    if late {
        return anyhow!("nothing came for {:?}, {how_far}", patience.stall);
    }
    anyhow::Error::from(error).context(format!("broken off {how_far}"))
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
