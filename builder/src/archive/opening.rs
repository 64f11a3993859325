//! Opening one source: its Release is fetched and judged, then the indexes that the cache does not have.

use crate::archive::Suite;
use crate::archive::cache::{Cache, Content};
use crate::archive::fault::Fault;
use crate::archive::fetch::download;
use crate::archive::http::{Failure, Http, text};
use crate::archive::release::{Listed, Release};
use crate::archive::source::Source;
use crate::progress::{Progress, Stage};
use anyhow::{Context, Result, anyhow, bail};
use fs_err as fs;
use jiff::Timestamp;
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

/// What opening each source shares.
pub struct Opening<'x> {
    pub http: &'x Http,
    pub cache: &'x Cache,
    pub progress: &'x Progress,
    pub now: Timestamp,
    pub stage: &'x Stage,
}

impl Opening<'_> {
    /// The suite of a source, and the texts of its indexes.
    pub fn suite(&self, source: &Source) -> Result<(Suite, Vec<String>)> {
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
            origin: source.origin(),
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
        let mut behind = false;
        let found = self.http.try_each(&urls, |url| {
            self.stage.now(url);
            let bytes = self.http.get(url, RELEASE_LIMIT)?;
            if !bytes.trim_ascii_end().ends_with(SIGNATURE_END) {
                let saw = format!("the answer ends after {} bytes, and not with a signature", bytes.len());
                return Err(Failure::Passing(Fault::broken(saw).into()));
            }
            let (release, signed) =
                text(bytes).and_then(|signed| Ok((self.judge(source, &signed)?, signed))).map_err(Failure::Absent)?;
            let old = not_gone_back(source, &release);
            behind |= old.is_err();
            old.map_err(Failure::Absent).map(|()| (signed, release))
        });
        let name = kept_name(source);
        let kept = self.cache.kept(&name).and_then(|kept| Some((self.judge(source, &kept).ok()?, kept)));
        let (signed, release) = match (found, &kept) {
            (Err(_), Some((release, kept))) if behind && not_gone_back(source, release).is_ok() => {
                (kept.clone(), release.clone())
            }
            (found, _) => found?,
        };
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

/// Dates never go back: who replays an old archive would bring old holes with it.
fn not_gone_back(source: &Source, release: &Release) -> Result<()> {
    match source.not_before {
        Some(seen) if release.date < seen => bail!(
            "its Release is of {}, and the lock has seen one of {seen}: the mirror is behind, or replays old packages; \
             wait until it has caught up, or name another mirror",
            release.date
        ),
        _ => Ok(()),
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
