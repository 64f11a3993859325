//! Each fault of a mirror at a package, an index and an InRelease. Whatever happens, what the cache has under a final name is
//! right; the error says which file, at which address, and what to do; the same command succeeds once the mirror is well
//! again; another mirror takes over.

use crate::downloading::{http, package};
use crate::faults::End::{Done, Fails};
use crate::faults::{FAULTS, Fault, wrong};
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
