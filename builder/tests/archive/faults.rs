//! Everything that a mirror, or the network before it, can do wrong, one fault to a line: for a package, for an index
//! and for an InRelease. Whatever happens, what the cache has under a final name is right; the error says which file, at
//! which address, and what to do; the same command succeeds once the mirror is well again; another mirror takes over.

use crate::downloading::{http, package};
use crate::opening::{Desk, Tiny, paragraph};
use crate::server::{Answer, Request, Server};
use anyhow::{Result, anyhow, bail, ensure};
use builder::archive::cache::Cache;
use builder::archive::fetch::fetch_with;
use builder::progress::Progress;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// What becomes of a run that has this mirror alone.
#[derive(Clone, Copy)]
enum End {
    /// It succeeds.
    Done,
    /// It fails, and says this.
    Fails(&'static str),
}
use End::{Done, Fails};

struct Fault {
    name: &'static str,
    /// The answer to a request for a file that has these bytes.
    answer: fn(&Request, Vec<u8>) -> Answer,
    /// For what can be resumed: packages and indexes.
    file: End,
    /// For an InRelease, which is asked for as a whole.
    release: End,
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

const FAULTS: &[Fault] = &[
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

fn wrong(bytes: Vec<u8>) -> Vec<u8> {
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

/// Which file of the archive the mirror is at fault with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Package,
    Index,
    Release,
}

impl Kind {
    fn is_at(self, path: &str) -> bool {
        match self {
            Kind::Package => path.contains(".deb"),
            Kind::Index => path.contains("/by-hash/"),
            Kind::Release => path.contains("/InRelease"),
        }
    }

    /// How messages call the file.
    fn called(self) -> &'static str {
        match self {
            Kind::Package => "fetching a 1.0 (",
            Kind::Index => "fetching main/binary-amd64/Packages of trixie",
            Kind::Release => "opening http://",
        }
    }
}

/// An archive of one package and its key: what is served, and how it is asked for.
struct Stage {
    desk: Desk,
    files: HashMap<String, Vec<u8>>,
}

/// What is in a cache under final names, and what was asked for.
type Bits = BTreeMap<PathBuf, Vec<u8>>;

impl Stage {
    fn new() -> Self {
        let desk = Desk::new();
        let noise: String =
            (0..900u32).map(|n| format!("X-{n}: {}\n", hex::encode(Sha256::digest(n.to_be_bytes())))).collect();
        let index = paragraph("a", "1.0").replace("Priority", &format!("{noise}Priority"));
        let mut files = Tiny::new(&index).served(&desk.signer);
        files.insert("/pool/a.deb".to_owned(), deb());
        Stage { desk, files }
    }

    /// A mirror with a fault at the files of one kind, while the switch says that it is ill.
    fn mirror(&self, kind: Kind, answer: fn(&Request, Vec<u8>) -> Answer, ill: &Arc<AtomicBool>) -> Server {
        let (files, ill) = (self.files.clone(), ill.clone());
        Server::new(move |request| {
            let path = request.path.split('?').next().unwrap_or_default();
            match files.get(path) {
                Some(bytes) if kind.is_at(path) && ill.load(SeqCst) => answer(request, bytes.clone()),
                Some(bytes) => Answer::Bytes(bytes.clone()),
                None => Answer::Status(404),
            }
        })
    }

    /// What `mimg build` does with the network: the archive, then the package.
    fn run(&self, mirrors: &[&Server], cache: &Path) -> Result<Bits> {
        let mut source = self.desk.source(mirrors[0]);
        source.uris = mirrors.iter().map(|mirror| mirror.url("")).collect();
        self.desk.open_in(&[source], cache)?;
        let wanted = package("a", &deb(), mirrors.iter().map(|mirror| mirror.url("/pool/a.deb")).collect());
        fetch_with(&http(), &[wanted], &Cache::open(cache)?, &Progress::quiet())?;
        bits(cache)
    }
}

fn deb() -> Vec<u8> {
    (0..30_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}

/// All files under final names, each of which has to be what its name says.
fn bits(cache: &Path) -> Result<Bits> {
    let mut bits = Bits::new();
    for folder in std::fs::read_dir(cache.join("sha256"))? {
        for file in std::fs::read_dir(folder?.path())? {
            let path = file?.path();
            let content = std::fs::read(&path)?;
            ensure!(path.ends_with(hex::encode(Sha256::digest(&content))), "{} holds something else", path.display());
            bits.insert(path.strip_prefix(cache)?.to_owned(), content);
        }
    }
    Ok(bits)
}

/// One fault at one kind of file, from beginning to end.
fn suffer(stage: &Stage, healthy: &Server, wanted: &Bits, fault: &Fault, kind: Kind) -> Result<()> {
    let ill = Arc::new(AtomicBool::new(true));
    let mirror = stage.mirror(kind, fault.answer, &ill);
    let cache = tempfile::tempdir()?;
    let end = if kind == Kind::Release { fault.release } else { fault.file };
    match (stage.run(&[&mirror], cache.path()), end) {
        (Ok(bits), Done) => ensure!(bits == *wanted, "other bits"),
        (Ok(_), Fails(words)) => bail!("it succeeded, but was to fail with {words:?}"),
        (Err(error), Done) => bail!("it was to succeed, but: {error:#}"),
        (Err(error), Fails(words)) => {
            let said = format!("{error:#}");
            for word in [words, kind.called(), &mirror.url("/"), "(cure: ", "name another mirror in fleet.toml"] {
                ensure!(said.contains(word), "wanted {word:?} in: {said}");
            }
        }
    }
    let now = bits(cache.path())?;
    ensure!(now.iter().all(|(path, bits)| wanted.get(path) == Some(bits) || path_is_packed(stage, bits)), "a stranger");
    ill.store(false, SeqCst);
    let later = stage.run(&[&mirror], cache.path()).map_err(|error| anyhow!("healthy again, but: {error:#}"))?;
    ensure!(later == *wanted, "other bits once it was healthy again");

    ill.store(true, SeqCst);
    let cache = tempfile::tempdir()?;
    let both = stage.run(&[&mirror, healthy], cache.path()).map_err(|error| anyhow!("no second mirror: {error:#}"))?;
    ensure!(both == *wanted, "other bits with a second mirror");
    ensure!(std::fs::read_dir(cache.path().join("part"))?.next().is_none(), "a part is left behind");
    Ok(())
}

/// A packed index is in the cache until its text is.
fn path_is_packed(stage: &Stage, bits: &[u8]) -> bool {
    stage.files.values().any(|bytes| bytes == bits)
}

fn suffer_all(kind: Kind) {
    let stage = Stage::new();
    let well = Arc::new(AtomicBool::new(false));
    let healthy = stage.mirror(kind, |_, _| Answer::Close, &well);
    let wanted = stage.run(&[&healthy], tempfile::tempdir().unwrap().path()).unwrap();
    assert_eq!(wanted.len(), 2, "the index and the package");
    let failed: Vec<String> = std::thread::scope(|scope| {
        let trials: Vec<_> = FAULTS
            .iter()
            .map(|fault| (fault, scope.spawn(|| suffer(&stage, &healthy, &wanted, fault, kind))))
            .collect();
        let ends = trials.into_iter().filter_map(|(fault, trial)| Some((fault.name, trial.join().unwrap().err()?)));
        ends.map(|(name, error)| format!("{name}: {error:#}")).collect()
    });
    assert!(failed.is_empty(), "{} of {} faults at {kind:?}:\n{}", failed.len(), FAULTS.len(), failed.join("\n"));
}

#[test]
fn no_fault_of_a_mirror_spoils_a_package() {
    suffer_all(Kind::Package);
}

#[test]
fn no_fault_of_a_mirror_spoils_an_index() {
    suffer_all(Kind::Index);
}

#[test]
fn no_fault_of_a_mirror_spoils_an_in_release() {
    suffer_all(Kind::Release);
}

#[test]
fn a_redirection_to_another_server_is_followed_and_named_when_it_fails() {
    let elsewhere = Server::new(|request| match request.path.as_str() {
        "/good" => Answer::Bytes(deb()),
        _ => Answer::Status(404),
    });
    let (good, bad) = (elsewhere.url("/good"), elsewhere.url("/bad"));
    let mirror = Server::new(move |request| Answer::Redirect(if request.path == "/a" { &good } else { &bad }.clone()));
    let cache = tempfile::tempdir().unwrap();
    let fetch = |path: &str| {
        let wanted = package("a", &deb(), vec![mirror.url(path)]);
        fetch_with(&http(), &[wanted], &Cache::open(cache.path())?, &Progress::quiet())
    };
    let said = format!("{:#}", fetch("/b").unwrap_err());
    assert!(said.contains(&mirror.url("/b")) && said.contains(&elsewhere.url("/bad")), "{said}");
    fetch("/a").unwrap();
}

#[test]
fn the_wrong_beginning_from_one_mirror_does_not_spoil_what_another_one_has() {
    let poisoned = Server::new(|_| Answer::Cut(wrong(deb()), 20_000));
    let healthy = Server::new(|_| Answer::Bytes(deb()));
    let cache = tempfile::tempdir().unwrap();
    let wanted = package("a", &deb(), vec![poisoned.url("/a"), healthy.url("/a")]);
    fetch_with(&http(), &[wanted], &Cache::open(cache.path()).unwrap(), &Progress::quiet()).unwrap();
    let asked: Vec<_> = healthy.requests().iter().map(|request| request.from).collect();
    assert_eq!((poisoned.requests().len(), asked), (1, vec![Some(20_000), None]), "the first round is enough");
}

#[test]
fn sizes_that_an_index_lies_about_are_refused_and_spoil_nothing() {
    let server = Server::new(|_| Answer::Bytes(deb()));
    let cache = tempfile::tempdir().unwrap();
    let fetch = |sizes: &[u64]| {
        let lie = |(n, size): (usize, &u64)| {
            let mut lie = package("a", &deb(), vec![server.url("/a")]);
            (lie.size, lie.sha256) = (*size, if n == 0 { lie.sha256 } else { hex::encode(Sha256::digest([n as u8])) });
            lie
        };
        let packages: Vec<_> = sizes.iter().enumerate().map(lie).collect();
        fetch_with(&http(), &packages, &Cache::open(cache.path())?, &Progress::quiet())
    };
    let size = deb().len() as u64;
    for (sizes, words) in [
        (&[0][..], "its SHA-256 is"),
        (&[1], "the mirror sends more than the 1 bytes promised"),
        (&[size - 1], "the mirror sends more than"),
        (&[size + 1], "the answer ended after 30000 of 30001 bytes"),
        (&[u64::MAX], "more are needed"),
        (&[u64::MAX, u64::MAX, u64::MAX], "18446744073709551615 more are needed"),
    ] {
        let said = format!("{:#}", fetch(sizes).unwrap_err());
        assert!(said.contains(words), "{sizes:?}: wanted {words:?} in: {said}");
        assert!(bits(cache.path()).unwrap().is_empty(), "{sizes:?}");
    }
    fetch(&[size]).unwrap();
}
