//! Where the files of one image lie: all in one folder, all with one name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The place of the raw image, and from it that of everything else.
///
/// | file | of `nuc.img` |
/// |---|---|
/// | compressed, and its block map | `nuc.img.zst`, `nuc.img.bmap` |
/// | for QEMU | `nuc.qcow2` |
/// | what it was made of | `nuc.manifest.json`, `nuc.spdx.json` |
/// | digests, and their signature | `nuc.SHA256SUMS`, `nuc.SHA256SUMS.minisig` |
#[derive(Clone, Debug)]
pub struct Place {
    raw: PathBuf,
}

impl Place {
    /// Of the raw image's file, which need not exist.
    pub fn new(raw: &Path) -> Place {
        Place { raw: raw.to_owned() }
    }

    /// Of any form of an image: raw, compressed, or for QEMU.
    pub fn of(image: &Path) -> Place {
        let raw =
            if image.extension().is_some_and(|end| end == "zst") { image.with_extension("") } else { image.to_owned() };
        Place { raw }
    }

    pub fn raw(&self) -> &Path {
        &self.raw
    }

    pub fn zst(&self) -> PathBuf {
        with_end(&self.raw, ".zst")
    }

    pub fn bmap(&self) -> PathBuf {
        with_end(&self.raw, ".bmap")
    }

    pub fn qcow2(&self) -> PathBuf {
        self.raw.with_extension("qcow2")
    }

    pub fn manifest(&self) -> PathBuf {
        self.raw.with_extension("manifest.json")
    }

    pub fn sbom(&self) -> PathBuf {
        self.raw.with_extension("spdx.json")
    }

    pub fn sums(&self) -> PathBuf {
        self.raw.with_extension("SHA256SUMS")
    }

    pub fn signature(&self) -> PathBuf {
        with_end(&self.sums(), ".minisig")
    }

    /// What the files are called without their ends.
    pub fn name(&self) -> String {
        self.raw.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// A path's last word, as it stands in sums and manifests.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_image_leads_to_the_same_papers() {
        for image in ["out/nuc.img", "out/nuc.img.zst", "out/nuc.qcow2"] {
            let place = Place::of(Path::new(image));
            assert_eq!(place.manifest(), Path::new("out/nuc.manifest.json"), "{image}");
            assert_eq!(place.signature(), Path::new("out/nuc.SHA256SUMS.minisig"), "{image}");
        }
        let place = Place::new(Path::new("nuc.img"));
        assert_eq!((place.zst(), place.bmap()), (PathBuf::from("nuc.img.zst"), PathBuf::from("nuc.img.bmap")));
        assert_eq!((place.qcow2(), place.name()), (PathBuf::from("nuc.qcow2"), "nuc".to_owned()));
    }
}
