//! Everything that a mirror, or the network before it, can do wrong, one fault to a line, and how a run ends that has this
//! mirror alone. What is made of them is in `suffering.rs`.

use crate::server::{Answer, Request};
use std::time::Duration;

/// What becomes of a run that has this mirror alone.
#[derive(Clone, Copy)]
pub enum End {
    /// It succeeds.
    Done,
    /// It fails, and says this.
    Fails(&'static str),
}
use End::{Done, Fails};

pub struct Fault {
    pub name: &'static str,
    /// The answer to a request for a file that has these bytes.
    pub answer: fn(&Request, Vec<u8>) -> Answer,
    /// For what can be resumed: packages and indexes.
    pub file: End,
    /// For an InRelease, which is asked for as a whole.
    pub release: End,
}

/// A fault with the same end for all three kinds of file.
const fn fault(name: &'static str, answer: fn(&Request, Vec<u8>) -> Answer, end: End) -> Fault {
    Fault { name, answer, file: end, release: end }
}

/// A fault that only shows where the rest of a file is asked for.
const fn ranged(name: &'static str, answer: fn(&Request, Vec<u8>) -> Answer) -> Fault {
    Fault { name, answer, file: Fails("the mirror sent another range than the one asked for"), release: AGAIN }
}

const GONE: End = Fails("cure: run it again in an hour");
const LOGIN: End = Fails("find out whether the mirror, or the proxy in http_proxy, wants a login");
const AGAIN: End = Fails("run it again, what came is kept");
const PAGE: End = Fails("is a web page, such as a network's login (cure: log in");
const ADDRESS: End = Fails("check the mirror's address");
const SILENT: End = Fails("nothing came for 1s");

pub const FAULTS: &[Fault] = &[
    // Time.
    fault("slow, but it moves", |_, b| Answer::Slow(b, Duration::from_millis(20)), Done),
    fault("silent before the head", |_, _| Answer::Silence, SILENT),
    fault("stalled in the body", |_, b| Answer::Stall(b.clone(), b.len() / 2), SILENT),
    // Connections.
    fault("closed at once", |_, _| Answer::Close, AGAIN),
    fault("closed within the head", |_, _| raw("HTTP/1.1 200 OK\r\nContent-Le", b""), AGAIN),
    fault("cut, its length said", |_, b| Answer::Cut(b.clone(), b.len() / 2), AGAIN),
    fault("cut, its length not said", |_, b| head("200 OK", "", &b[..b.len() / 2]), AGAIN),
    fault("cut once", |r, b| if r.before == 0 { Answer::Cut(b.clone(), b.len() / 2) } else { Answer::Bytes(b) }, Done),
    fault("gone in the middle and back", gone_and_back, Done),
    // Refusals.
    fault("400 Bad Request", |_, _| Answer::Status(400), ADDRESS),
    fault("401 Unauthorized", |_, _| Answer::Status(401), LOGIN),
    fault("403 Forbidden", |_, _| Answer::Status(403), LOGIN),
    fault("404 Not Found", |_, _| Answer::Status(404), GONE),
    fault("407 Proxy Authentication Required", |_, _| Answer::Status(407), LOGIN),
    fault("410 Gone", |_, _| Answer::Status(410), GONE),
    fault("429 once", |r, b| if r.before == 0 { Answer::Status(429) } else { Answer::Bytes(b) }, Done),
    fault("500 Internal Server Error", |_, _| Answer::Status(500), AGAIN),
    fault("503 without Retry-After", |_, _| Answer::Status(503), AGAIN),
    fault("503 with Retry-After", |_, _| head("503 Busy", "Retry-After: 0\r\n", b""), AGAIN),
    fault("503 with Retry-After, once", retry_after_once, Done),
    fault("503 with a Retry-After that is a date", |_, _| head("503 Busy", "Retry-After: tomorrow\r\n", b""), AGAIN),
    fault("204 No Content", |_, _| Answer::Status(204), AGAIN),
    fault("200 with nothing", |_, _| Answer::Bytes(Vec::new()), AGAIN),
    // Lengths.
    Fault {
        // All that was wanted has come by then; an InRelease is of any length, so what is missing counts.
        name: "Content-Length too large",
        answer: |_, b| head("200 OK", &format!("Content-Length: {}\r\n", b.len() + 9), &b),
        file: Done,
        release: AGAIN,
    },
    fault(
        "Content-Length too small",
        |_, b| head("200 OK", &format!("Content-Length: {}\r\n", b.len() / 2), &b),
        AGAIN,
    ),
    fault("Content-Length no number", |_, b| head("200 OK", "Content-Length: many\r\n", &b), AGAIN),
    Fault {
        name: "one byte more than promised",
        answer: |_, b| Answer::Bytes([b, vec![b'\n']].concat()),
        file: Fails("the mirror sends more than the"),
        release: Fails("unexpected trailing data"),
    },
    fault("one byte less than promised", |_, b| Answer::Bytes(b[..b.len() - 2].to_vec()), AGAIN),
    Fault {
        name: "a body without an end",
        answer: |_, b| Answer::Endless([b"HTTP/1.1 200 OK\r\n\r\n", &b[..]].concat()),
        file: Fails("the mirror sends more than the"),
        release: Fails("the answer has more than 16777216 bytes"),
    },
    fault("a head without an end", |_, _| Answer::Endless(b"HTTP/1.1 200 OK\r\nX: a".to_vec()), AGAIN),
    // Ranges.
    fault("Range ignored", |r, b| if r.before == 0 { half(b) } else { Answer::Whole(b) }, Done),
    ranged("206 for another range", |r, b| if r.from.is_none() { half(b) } else { Answer::WrongRange(b) }),
    fault(
        "206 for another range, once",
        |r, b| if r.before == 1 { Answer::WrongRange(b) } else { half_first(r, b) },
        Done,
    ),
    ranged("206 without Content-Range", |r, b| if r.from.is_none() { half(b) } else { head("206 Partial", "", &b) }),
    Fault { name: "206 that nobody asked for", answer: |_, b| Answer::WrongRange(b), file: Done, release: AGAIN },
    ranged("416 for every range", |r, b| if r.from.is_none() { half(b) } else { Answer::Status(416) }),
    // Redirections.
    fault("redirected, relative", |r, b| moved(r, b, |r| format!("{}?moved", r.path)), Done),
    fault("redirected, absolute", |r, b| moved(r, b, |r| format!("http://{}{}?moved", r.host, r.path)), Done),
    fault("redirected in a circle", |r, _| Answer::Redirect(r.path.clone()), ADDRESS),
    fault("redirected nowhere", |_, _| head("302 Found", "", b""), AGAIN),
    fault(
        "redirected to no web address",
        |_, _| Answer::Redirect("file:///etc/passwd".to_owned()),
        Fails("(redirected to http://"),
    ),
    fault("redirected to a closed door", |_, _| Answer::Redirect("http://127.0.0.1:1/x".to_owned()), AGAIN),
    // Heads and codings.
    fault("garbage for a head", |_, b| Answer::Raw([&b[..], b"\r\n\r\n"].concat()), AGAIN),
    fault("no HTTP of this world", |_, b| raw("HTTP/7.3 200 Fine\r\n\r\n", &b), AGAIN),
    fault("chunked", |_, b| chunked(&b, b.len(), "0\r\n\r\n"), Done),
    fault("chunked, cut in the middle", |_, b| chunked(&b, b.len() / 2, ""), AGAIN),
    fault("chunked, then garbage", |_, b| chunked(&b, b.len() / 2, "what?\r\n"), AGAIN),
    fault("chunked, with a chunk beyond all measure", |_, b| chunked(&b, 16, "fffffffffffffffff\r\n"), AGAIN),
    Fault {
        name: "gzip that nobody asked for",
        answer: |_, b| head("200 OK", "Content-Encoding: gzip\r\n", &crate::opening::gzip(&b)),
        file: Fails("sent as Content-Encoding \"gzip\", which nobody asked for"),
        release: Fails("and not with a signature"),
    },
    fault("said to be gzip, but is not", |_, b| head("200 OK", "Content-Encoding: gzip\r\n", &b), Done),
    // Content.
    fault("a web page, with 200", |_, _| page(), PAGE),
    fault(
        "redirected to a web page",
        |r, _| if r.path.ends_with("?login") { page() } else { Answer::Redirect(format!("{}?login", r.path)) },
        Fails("redirected to http://"),
    ),
    Fault {
        name: "wrong bytes of the right length",
        answer: |_, b| Answer::Bytes(wrong(b)),
        file: Fails("the file is not the one promised: its SHA-256 is"),
        release: Fails("the answer ends after"),
    },
    Fault {
        name: "wrong bytes, once",
        answer: |r, b| Answer::Bytes(if r.before == 0 { wrong(b) } else { b }),
        file: Done,
        release: Done,
    },
    fault("wrong bytes, and cut", |_, b| Answer::Cut(wrong(b.clone()), b.len() / 2), AGAIN),
];

fn raw(head: &str, body: &[u8]) -> Answer {
    Answer::Raw([head.as_bytes(), body].concat())
}

fn head(status: &str, fields: &str, body: &[u8]) -> Answer {
    raw(&format!("HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n"), body)
}

fn half(bytes: Vec<u8>) -> Answer {
    let half = bytes.len() / 2;
    Answer::Cut(bytes, half)
}

fn half_first(request: &Request, bytes: Vec<u8>) -> Answer {
    if request.before == 0 { half(bytes) } else { Answer::Bytes(bytes) }
}

fn gone_and_back(request: &Request, bytes: Vec<u8>) -> Answer {
    match request.before {
        0 => half(bytes),
        1 => Answer::Close,
        _ => Answer::Bytes(bytes),
    }
}

fn retry_after_once(request: &Request, bytes: Vec<u8>) -> Answer {
    match request.before {
        0 => head("503 Busy", "Retry-After: 1\r\n", b""),
        _ => Answer::Bytes(bytes),
    }
}

/// Elsewhere on the same server, by an address made of the path.
fn moved(request: &Request, bytes: Vec<u8>, to: fn(&Request) -> String) -> Answer {
    match request.path.contains("moved") {
        true => Answer::Bytes(bytes),
        false => Answer::Redirect(to(request)),
    }
}

fn page() -> Answer {
    head("200 OK", "Content-Type: text/html\r\n", b"\n<!DOCTYPE html><title>Welcome to our hotel</title>")
}

pub fn wrong(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().map(|byte| byte ^ 1).collect()
}

/// The first `length` bytes in chunks of 1000, and then `end`.
fn chunked(bytes: &[u8], length: usize, end: &str) -> Answer {
    let mut body = Vec::new();
    for chunk in bytes[..length].chunks(1000) {
        body.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
    }
    body.extend(end.bytes());
    head("200 OK", "Transfer-Encoding: chunked\r\n", &body)
}
