//! Opening a small archive that is served from here: what is believed, what is refused, what is fetched twice.

use crate::downloading::http;
use crate::server::Server;
use crate::signer::{DAY, NOW, Signer, signed};
use anyhow::Result;
use builder::archive::Archive;
use builder::archive::cache::Cache;
use builder::archive::solve::Wanted;
use builder::archive::source::Source;
use builder::progress::Progress;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

const INDEX: &str = "main/binary-amd64/Packages";

/// A suite before it is signed.
pub struct Tiny {
    pub suite: &'static str,
    /// Seconds from the test's now.
    pub date: i64,
    pub valid: i64,
    /// Fields besides.
    pub more: &'static str,
    pub packages: String,
    pub packings: &'static [&'static str],
    pub by_hash: bool,
}

impl Tiny {
    pub fn new(packages: &str) -> Self {
        Tiny {
            suite: "trixie",
            date: -3600,
            valid: 7 * i64::from(DAY),
            more: "",
            packages: packages.to_owned(),
            packings: &["", ".xz"],
            by_hash: true,
        }
    }

    fn release(&self, files: &[(String, Vec<u8>)]) -> String {
        let date = |offset| {
            let moment = Timestamp::from_second(i64::from(NOW) + offset).unwrap();
            moment.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
        };
        let listed = files.iter().map(|(path, bytes)| format!(" {} {} {path}\n", digest(bytes), bytes.len()));
        format!(
            "Suite: stable\nCodename: {}\nDate: {}\nValid-Until: {}\nAcquire-By-Hash: {}\n{}SHA256:\n{}",
            self.suite,
            date(self.date),
            date(self.valid),
            if self.by_hash { "yes" } else { "no" },
            self.more,
            listed.collect::<String>()
        )
    }

    /// The files of the suite as served, by path, signed by one key.
    pub fn served(&self, signer: &Signer) -> HashMap<String, Vec<u8>> {
        self.served_as(|release| signed(release, signer))
    }

    /// As `served`, with an InRelease made of the text of the Release in any way.
    pub fn served_as(&self, sign: impl FnOnce(&str) -> String) -> HashMap<String, Vec<u8>> {
        let plain = self.packages.clone().into_bytes();
        let pack = |packing: &str| match packing {
            ".xz" => liblzma::encode_all(&plain[..], 1).unwrap(),
            ".gz" => gzip(&plain),
            _ => plain.clone(),
        };
        let files: Vec<(String, Vec<u8>)> =
            self.packings.iter().map(|packing| (format!("{INDEX}{packing}"), pack(packing))).collect();
        let mut served =
            HashMap::from([("/dists/trixie/InRelease".to_owned(), sign(&self.release(&files)).into_bytes())]);
        // As on Debian's mirrors, the plain index is listed but not served.
        for (path, bytes) in files.into_iter().filter(|(path, _)| path != INDEX || self.packings == [""]) {
            let below = if self.by_hash { by_hash(&bytes) } else { path };
            served.insert(format!("/dists/trixie/{below}"), bytes);
        }
        served
    }
}

fn by_hash(bytes: &[u8]) -> String {
    format!("main/binary-amd64/by-hash/SHA256/{}", digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A paragraph of an index.
pub fn paragraph(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nPriority: optional\nFilename: pool/{name}.deb\n\
         Size: 3\nSHA256: {}\n\n",
        digest(name.as_bytes())
    )
}

/// A key and a cache, kept between openings.
pub struct Desk {
    pub signer: Signer,
    folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self::of(Signer::sound())
    }

    /// That pins this key.
    pub fn of(signer: Signer) -> Self {
        Desk { signer, folder: tempfile::tempdir().unwrap() }
    }

    fn serve(&self, tiny: &Tiny) -> Server {
        Server::of_files(tiny.served(&self.signer))
    }

    pub fn source(&self, server: &Server) -> Source {
        let key = self.signer.armored();
        let components = ["main".to_owned()];
        Source::extra(&server.url(""), "trixie", &components, key.as_bytes(), &[&self.signer.fingerprint()]).unwrap()
    }

    pub fn open(&self, sources: &[Source]) -> Result<Archive> {
        self.open_in(sources, self.folder.path())
    }

    /// With a cache of the caller's.
    pub fn open_in(&self, sources: &[Source], cache: &Path) -> Result<Archive> {
        let cache = Cache::open(cache)?;
        let now = Timestamp::from_second(i64::from(NOW)).unwrap();
        Archive::open_with(&http(), sources, &cache, &Progress::quiet(), now)
    }

    fn opens(&self, server: &Server) -> Archive {
        self.open(&[self.source(server)]).unwrap()
    }

    fn refuses(&self, server: &Server, words: &[&str]) {
        let Err(error) = self.open(&[self.source(server)]) else { panic!("opened, but wanted a refusal: {words:?}") };
        let error = format!("{error:#}");
        for word in words.iter().chain(&["opening http://"]) {
            assert!(error.contains(word), "wanted {word:?} in: {error}");
        }
    }
}

pub fn version(archive: &Archive, name: &str) -> String {
    archive.solve(&[Wanted { name: name.to_owned(), by: "the test".to_owned() }]).unwrap()[0].version.clone()
}

#[test]
fn an_archive_opens_and_gives_its_packages() {
    let desk = Desk::new();
    let server = desk.serve(&Tiny::new(&paragraph("a", "1.0")));
    let archive = desk.opens(&server);
    let packages = archive.solve(&[Wanted { name: "a".into(), by: "the test".into() }]).unwrap();
    assert_eq!(packages[0].urls, [server.url("/pool/a.deb")]);
    assert_eq!((packages[0].suite.as_str(), packages[0].size), ("trixie", 3));
    assert_eq!(archive.epoch(), i64::from(NOW) - 3600);
    assert_eq!(archive.suites()[0].sha256.len(), 64);
}

#[test]
fn an_unchanged_archive_costs_one_request() {
    let desk = Desk::new();
    let server = desk.serve(&Tiny::new(&paragraph("a", "1.0")));
    desk.opens(&server);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(version(&desk.opens(&server), "a"), "1.0");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn indexes_come_in_any_packing_and_with_or_without_their_digest_in_the_path() {
    for packings in [&["", ".xz"][..], &["", ".gz"], &[".gz"], &[".xz"], &[""]] {
        for by_hash in [true, false] {
            let desk = Desk::new();
            let packages = paragraph("a", "1.0");
            let server = desk.serve(&Tiny { packings: Box::leak(packings.into()), by_hash, ..Tiny::new(&packages) });
            assert_eq!(version(&desk.opens(&server), "a"), "1.0", "{packings:?}, by hash: {by_hash}");
        }
    }
}

#[test]
fn a_stale_mirror_gives_way_to_the_next() {
    let desk = Desk::new();
    let stale = desk.serve(&Tiny { valid: -60, ..Tiny::new(&paragraph("a", "1.0")) });
    let fresh = desk.serve(&Tiny::new(&paragraph("a", "2.0")));
    let mut source = desk.source(&stale);
    source.uris.push(fresh.url(""));
    assert_eq!(version(&desk.open(&[source]).unwrap(), "a"), "2.0");
}

#[test]
fn an_index_that_is_not_the_one_signed_is_refused() {
    let desk = Desk::new();
    let mut files = Tiny::new(&paragraph("a", "1.0")).served(&desk.signer);
    for (path, bytes) in &mut files {
        if path.contains("by-hash") {
            *bytes = bytes.iter().rev().copied().collect();
        }
    }
    desk.refuses(&Server::of_files(files), &["SHA-256", "Packages of trixie"]);
}

#[test]
fn a_missing_component_is_named_with_those_there_are() {
    let desk = Desk::new();
    let server = desk.serve(&Tiny::new(""));
    let mut source = desk.source(&server);
    source.components = vec!["contrib".to_owned()];
    let error = format!("{:#}", desk.open(&[source]).err().unwrap());
    assert!(error.contains("\"contrib\"") && error.contains("it has main"), "{error}");
}

#[test]
fn priority_decides_before_version() {
    let desk = Desk::new();
    let (one, two) = (desk.serve(&Tiny::new(&paragraph("a", "1.0"))), desk.serve(&Tiny::new(&paragraph("a", "2.0"))));
    let mut sources = [desk.source(&one), desk.source(&two)];
    assert_eq!(version(&desk.open(&sources).unwrap(), "a"), "2.0");
    sources[0].priority = 900;
    assert_eq!(version(&desk.open(&sources).unwrap(), "a"), "1.0");
}

#[test]
fn a_broken_index_names_the_paragraph() {
    let desk = Desk::new();
    let broken = paragraph("a", "1.0").replace("Size: 3", "Size: three");
    let archive = desk.opens(&desk.serve(&Tiny::new(&broken)));
    let error = format!("{:#}", archive.solve(&[]).unwrap_err());
    assert!(error.contains("an index of trixie") && error.contains("Package: a") && error.contains("Size"), "{error}");
}
