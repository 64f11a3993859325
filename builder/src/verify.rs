//! `mimg verify`: is an image what the fleet built, and whole?

use crate::image::manifest::Manifest;
use crate::publish::place::{Place, file_name};
use crate::publish::signature::{Forged, PublicKey, Signature};
use crate::publish::sums::{Sums, digest};
use anyhow::{Context, Result, ensure};
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// No paper of an image comes near this many bytes.
const LARGEST: u64 = 64 << 20;

/// What was found about one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub file: String,
    /// What is wrong with it; `None` if it is as it was built.
    pub wrong: Option<String>,
}

/// What was found about an image and all that was built with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verification {
    /// The id of the key that signed it; `None` if nobody did, or the signature does not hold.
    pub signed_by: Option<String>,
    pub files: Vec<Finding>,
    /// Other forms of the image that were built with it, and are not here.
    pub absent: Vec<String>,
}

impl Verification {
    pub fn holds(&self) -> bool {
        self.files.iter().all(|finding| finding.wrong.is_none())
    }
}

/// Verifies the image at `image` (raw, compressed or qcow2) and what lies beside it. With a `key` the digests have to be
/// signed by it; without one, what is not signed passes, and what is signed cannot be judged and is an error.
pub fn verify(image: &Path, key: Option<&PublicKey>) -> Result<Verification> {
    let place = Place::of(image);
    let mut found = Verification { signed_by: None, files: Vec::new(), absent: Vec::new() };
    let signature = small(&place.signature())?;
    if key.is_none() && signature.is_some() {
        let saw = format!("{} is signed, and there is no key to check that with", image.display());
        let cure = "name the fleet's folder with --fleet, or its signing.pub with --key";
        return Err(Problems(vec![Problem::of_none(saw, "the public key of whoever built it", cure)]).into());
    }
    let Some(text) = small(&place.sums())? else {
        found.add(&place.sums(), Some("missing: a build writes it beside the image".to_owned()));
        if !image.exists() {
            found.add(image, Some("missing".to_owned()));
        }
        return Ok(found);
    };
    if let Some(key) = key {
        if let Err(error) = signed(&text, signature.as_deref(), key) {
            let wrong = if error.downcast_ref() == Some(&Forged::Message) { place.sums() } else { place.signature() };
            found.add(&wrong, Some(format!("{error:#}")));
            return Ok(found);
        }
        found.signed_by = Some(key.id().to_string());
        found.add(&place.signature(), None);
    }
    match String::from_utf8(text).context("it is not a text").and_then(|text| Sums::parse(&text)) {
        Ok(sums) => {
            found.add(&place.sums(), None);
            found.files(image, &place, &sums)?;
        }
        Err(error) => found.add(&place.sums(), Some(format!("changed: {error:#}"))),
    }
    Ok(found)
}

impl Verification {
    fn add(&mut self, path: &Path, wrong: Option<String>) {
        self.files.push(Finding { file: file_name(path), wrong });
    }

    /// All files of the list. Those that are other forms of the image need not be here.
    fn files(&mut self, image: &Path, place: &Place, sums: &Sums) -> Result<()> {
        let name = file_name(image);
        if !sums.0.contains_key(&name) {
            let list = file_name(&place.sums());
            self.files.push(Finding {
                file: name.clone(),
                wrong: Some(format!("not of this build: {list} does not name it")),
            });
        }
        let folder = image.parent().unwrap_or(Path::new(""));
        let sizes = sizes(place, sums)?;
        let mut needed = vec![name, file_name(&place.manifest()), file_name(&place.sbom())];
        if image == place.zst() {
            needed.push(file_name(&place.bmap()));
        }
        for (file, sha256) in &sums.0 {
            let path = folder.join(file);
            let wrong = match fs::File::open(&path) {
                Ok(open) => compare(open, sha256, sizes.get(file).copied())?,
                Err(error) if error.kind() == ErrorKind::NotFound && !needed.contains(file) => {
                    self.absent.push(file.clone());
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => Some("missing".to_owned()),
                Err(error) => Some(format!("cannot be read: {error}")),
            };
            self.files.push(Finding { file: file.clone(), wrong });
        }
        Ok(())
    }
}

/// Sizes by name, from a manifest that is the one of the list; otherwise none are known.
fn sizes(place: &Place, sums: &Sums) -> Result<BTreeMap<String, u64>> {
    let path = place.manifest();
    let Some(bytes) = small(&path)? else { return Ok(BTreeMap::new()) };
    if sums.0.get(&file_name(&path)) != Some(&digest(bytes.as_slice())?.1) {
        return Ok(BTreeMap::new());
    }
    let manifest = Manifest::read(&bytes).with_context(|| format!("reading {}", path.display()))?;
    Ok(manifest.files.into_iter().map(|file| (file.name, file.size)).collect())
}

fn signed(sums: &[u8], signature: Option<&[u8]>, key: &PublicKey) -> Result<()> {
    let signature = signature.with_context(|| format!("missing: the fleet's images are signed by key {}", key.id()))?;
    let text = std::str::from_utf8(signature).ok().context("this is not a signature of minisign, or it is damaged")?;
    Ok(key.verify(sums, &Signature::parse(text)?)?)
}

/// What is wrong with a file; `None` if nothing is.
fn compare(file: fs::File, sha256: &str, size: Option<u64>) -> Result<Option<String>> {
    let path = file.path().to_owned();
    if !file.metadata()?.is_file() {
        return Ok(Some("not a file".to_owned()));
    }
    let length = file.metadata()?.len();
    if let Some(size) = size.filter(|size| *size != length) {
        let how = if length < size { "truncated" } else { "longer than it was" };
        return Ok(Some(format!("{how}: it has {length} bytes of {size}")));
    }
    let seen = digest(file).with_context(|| format!("reading {}", path.display()))?.1;
    Ok((seen != sha256).then(|| format!("changed: its SHA-256 is {seen}, and {sha256} was built")))
}

/// A small file; `None` where there is none.
fn small(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) => ensure!(metadata.len() <= LARGEST, "{} is too large for what it is to be", path.display()),
    }
    Ok(Some(fs::read(path)?))
}
