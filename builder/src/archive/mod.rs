//! The archive: suites whose Release is verified, with their indexes.

pub mod cache;
pub mod certificate;
mod explain;
mod fault;
pub mod fetch;
pub mod http;
pub mod index;
pub mod mirror;
pub mod package;
pub mod relation;
pub mod release;
pub mod signature;
pub mod solve;
pub mod source;
pub mod universe;
mod walk;

use crate::archive::cache::{Cache, Content};
use crate::archive::fault::Fault;
use crate::archive::fetch::download;
use crate::archive::http::{Failure, Http, Patience, text};
use crate::archive::index::{Entry, Index, Names};
use crate::archive::package::Package;
use crate::archive::release::{Listed, Release};
use crate::archive::solve::{Wanted, solve};
use crate::archive::source::Source;
use crate::archive::universe::Universe;
use crate::progress::{Progress, Stage};
use anyhow::{Context, Result, anyhow, bail};
use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

/// An InRelease of Debian has about 140 kB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// How an InRelease ends that was not cut off.
const SIGNATURE_END: &[u8] = b"-----END PGP SIGNATURE-----";
/// An index is held in memory: Debian's largest has 60 MB.
const INDEX_LIMIT: u64 = 1 << 30;
/// Enough for what `xz -9` packs.
const XZ_MEMORY: u64 = 256 << 20;

/// Verified suites, and all packages that they offer.
pub struct Archive {
    suites: Vec<Suite>,
    priorities: Vec<i32>,
    indexes: Vec<Index>,
}

/// A suite as it was when the archive was opened, for a lock or a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Suite {
    pub uris: Vec<String>,
    pub suite: String,
    pub components: Vec<String>,
    /// When it was published.
    pub date: Timestamp,
    /// Of its signed Release, in hexadecimal digits.
    pub sha256: String,
}

impl Archive {
    /// Opens all sources: fetches and verifies each Release as of `now`, then the indexes that the cache does not have.
    pub fn open(sources: &[Source], cache: &Cache, progress: &Progress, now: Timestamp) -> Result<Self> {
        Self::open_with(&Http::new(Patience::default()), sources, cache, progress, now)
    }

    /// As `open`, with a client of the caller's.
    pub fn open_with(
        http: &Http,
        sources: &[Source],
        cache: &Cache,
        progress: &Progress,
        now: Timestamp,
    ) -> Result<Self> {
        let stage = progress.stage("archive");
        let opening = Opening { http, cache, progress, now, stage: &stage };
        let opened: Vec<Result<(Suite, Vec<String>)>> = std::thread::scope(|scope| {
            let threads: Vec<_> = sources.iter().map(|source| scope.spawn(|| opening.suite(source))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
        });
        let mut archive = Archive { suites: Vec::new(), priorities: Vec::new(), indexes: Vec::new() };
        for (place, (source, opened)) in sources.iter().zip(opened).enumerate() {
            let (suite, texts) = opened.with_context(|| format!("opening {}", source.name()))?;
            archive.suites.push(suite);
            archive.priorities.push(source.priority);
            archive.indexes.extend(texts.into_iter().map(|text| Index { text, suite: place }));
        }
        stage.done(archive.suites.iter().map(|s| format!("{} of {}", s.suite, s.date)).collect::<Vec<_>>().join(", "));
        Ok(archive)
    }

    /// The newest date of the suites, in seconds since 1970: the time stamp of all that is made from them.
    pub fn epoch(&self) -> i64 {
        self.suites.iter().map(|suite| suite.date.as_second()).max().unwrap_or_default()
    }

    /// The suites, in the order of the sources.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    /// The packages of an image that has all that is wanted, essential packages included, by name.
    pub fn solve(&self, wanted: &[Wanted]) -> Result<Vec<Package>> {
        self.solve_in(&self.universe()?, wanted)
    }

    /// All packages that could be chosen. Worth keeping where several images are solved.
    pub fn universe(&self) -> Result<Universe<'_>> {
        let (mut entries, mut names) = (Vec::<Entry>::new(), Names::default());
        for index in &self.indexes {
            let suite = &self.suites[index.suite].suite;
            entries.extend(index.entries(&mut names).with_context(|| format!("reading an index of {suite}"))?);
        }
        Universe::new(entries, &self.priorities)
    }

    /// As `solve`, in a universe of this archive.
    pub fn solve_in(&self, universe: &Universe, wanted: &[Wanted]) -> Result<Vec<Package>> {
        let packages = solve(universe, wanted)?.into_iter().map(|chosen| {
            let suite = &self.suites[universe.entry(chosen.place).suite];
            chosen.package(universe, &suite.uris, &suite.suite)
        });
        Ok(packages.collect())
    }
}

/// What opening each source shares.
struct Opening<'x> {
    http: &'x Http,
    cache: &'x Cache,
    progress: &'x Progress,
    now: Timestamp,
    stage: &'x Stage,
}

impl Opening<'_> {
    fn suite(&self, source: &Source) -> Result<(Suite, Vec<String>)> {
        let (signed, release) = self.release(source)?;
        let mut texts = Vec::new();
        for component in &source.components {
            for folder in folders(&release, component)? {
                texts.push(self.index(source, &release, &folder)?);
            }
        }
        let suite = Suite {
            uris: source.uris.clone(),
            suite: source.suite.clone(),
            components: source.components.clone(),
            date: release.date,
            sha256: hex::encode(Sha256::digest(signed.as_bytes())),
        };
        Ok((suite, texts))
    }

    /// The newest Release that we know of: the mirror's, or the one kept from an earlier run if the mirror's is older.
    fn release(&self, source: &Source) -> Result<(String, Release)> {
        let urls: Vec<String> =
            source.uris.iter().map(|uri| format!("{uri}/dists/{}/InRelease", source.suite)).collect();
        let (signed, release) = self.http.try_each(&urls, |url| {
            self.stage.now(url);
            let bytes = self.http.get(url, RELEASE_LIMIT)?;
            if !bytes.trim_ascii_end().ends_with(SIGNATURE_END) {
                let saw = format!("the answer ends after {} bytes, and not with a signature", bytes.len());
                return Err(Failure::Passing(Fault::broken(saw).into()));
            }
            let judged = text(bytes).and_then(|signed| Ok((self.judge(source, &signed)?, signed)));
            judged.map(|(release, signed)| (signed, release)).map_err(Failure::Absent)
        })?;
        let name = kept_name(source);
        let kept = self.cache.kept(&name).and_then(|kept| Some((self.judge(source, &kept).ok()?, kept)));
        match kept {
            Some((newer, kept)) if newer.date > release.date => {
                self.progress.say(&format!(
                    "{}: the mirror is behind (its Release is of {}, the one kept of {}): going on with the newer",
                    source.name(),
                    release.date,
                    newer.date
                ));
                Ok((kept, newer))
            }
            _ => {
                self.cache.keep(&name, &signed)?;
                Ok((signed, release))
            }
        }
    }

    fn judge(&self, source: &Source, signed: &str) -> Result<Release> {
        let release = Release::parse(&source.keyring.verify(signed, self.now)?)?;
        release.check(&source.suite, source.check_valid_until, self.now)?;
        Ok(release)
    }

    /// The text of one index. What the cache keeps is the unpacked text, where the Release has its digest.
    fn index(&self, source: &Source, release: &Release, folder: &str) -> Result<String> {
        let path = format!("{folder}/Packages");
        let what = format!("{path} of {}", source.suite);
        let plain = release.file(&path).map(|listed| content(listed, &path)).transpose()?;
        if let Some(plain) = &plain
            && let Some(file) = self.cache.get(plain, &what, self.progress)?
        {
            return Ok(fs::read_to_string(file)?);
        }
        let packed = ["xz", "gz"].iter().find_map(|packing| {
            let path = format!("{path}.{packing}");
            Some((*packing, release.file(&path)?, path))
        });
        let Some((packing, listed, packed_path)) = packed else {
            let plain = plain.with_context(|| format!("the Release lists no {path} (plain, .gz or .xz)"))?;
            return Ok(fs::read_to_string(self.file(source, release, &path, &plain, &what)?)?);
        };
        let packed = content(listed, &packed_path)?;
        let limit = plain.as_ref().map_or(INDEX_LIMIT, |plain| plain.size);
        let unpacked = || -> Result<Vec<u8>> {
            let file = self.file(source, release, &packed_path, &packed, &what)?;
            unpack(packing, &fs::read(file)?, limit).with_context(|| format!("unpacking {what}"))
        };
        let Some(plain) = plain else { return text(unpacked()?).with_context(|| format!("reading {what}")) };
        // The packed file comes and goes under the lock of the plain one: whoever waits for that lock needs it no more.
        let file = self.cache.fill(&plain, &what, self.progress, |part| {
            part.cut(0)?;
            part.write_all(&unpacked()?)?;
            self.cache.forget(&packed)
        })?;
        fs::read_to_string(file).with_context(|| format!("reading {what}"))
    }

    fn file(
        &self,
        source: &Source,
        release: &Release,
        path: &str,
        content: &Content,
        what: &str,
    ) -> Result<std::path::PathBuf> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let below = match release.by_hash {
            true => format!("{folder}/by-hash/SHA256/{}", content.sha256),
            false => path.to_owned(),
        };
        let urls: Vec<String> = source.uris.iter().map(|uri| format!("{uri}/dists/{}/{below}", source.suite)).collect();
        self.cache.room_for(content.size)?;
        self.stage.now(what);
        download(self.http, &urls, content, what, self.cache, self.progress, &mut |_| {})
    }
}

/// The folders with a component's indexes: our architecture's, and `all` where that is kept apart.
fn folders(release: &Release, component: &str) -> Result<Vec<String>> {
    let own = format!("{component}/binary-amd64");
    let all = format!("{component}/binary-all");
    let mut there: Vec<&str> = release.package_indexes().collect();
    there.sort_unstable();
    there.dedup();
    if !there.contains(&own.as_str()) {
        let components: Vec<&str> = there.iter().filter_map(|folder| folder.strip_suffix("/binary-amd64")).collect();
        bail!("the suite has no component {component:?} for amd64: it has {}", components.join(", "));
    }
    let apart = release.all_apart && there.contains(&all.as_str());
    Ok(std::iter::once(own).chain(apart.then_some(all)).collect())
}

fn content(listed: &Listed, path: &str) -> Result<Content> {
    if listed.size > INDEX_LIMIT {
        bail!("the Release lists {path} with {} bytes: wanted {INDEX_LIMIT} at most", listed.size);
    }
    Ok(Content { sha256: listed.sha256.clone(), size: listed.size })
}

/// A file name for what is kept of a source.
fn kept_name(source: &Source) -> String {
    let digest = hex::encode(Sha256::digest(source.uris.join(" ").as_bytes()));
    format!("{}-{}-InRelease", source.suite.replace('/', "_"), &digest[..16])
}

fn unpack(packing: &str, packed: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match packing {
        "xz" => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            liblzma::read::XzDecoder::new_stream(packed, stream).take(limit + 1).read_to_end(&mut bytes)?
        }
        _ => flate2::read::GzDecoder::new(packed).take(limit + 1).read_to_end(&mut bytes)?,
    };
    if bytes.len() as u64 > limit {
        return Err(anyhow!("it holds more than {limit} bytes"));
    }
    Ok(bytes)
}
