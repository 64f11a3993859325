//! What an image is made of, for tools that look for known holes: SPDX 2.3 as JSON, the same for the same image.
//!
//! Format: <https://spdx.github.io/spdx-spec/v2.3/>; package addresses: <https://github.com/package-url/purl-spec>.

use crate::image::manifest::{Manifest, Member};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// What mimg itself writes outside of the image's file systems: SHA-256 of the boot sector's code and of the partition that
/// holds GRUB's core image.
#[derive(Clone, Debug)]
pub struct Loader {
    pub boot_sha256: String,
    pub core_sha256: String,
}

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const FIRSTBOOT: &str = "SPDXRef-firstboot";
const BOOT: &str = "SPDXRef-grub-boot-code";
const CORE: &str = "SPDXRef-grub-core-image";
/// What GRUB's boot code and core image are made from.
const GRUB: &str = "grub-pc-bin";

/// The document as it stands in its file, of the image called `name`.
pub fn sbom(name: &str, manifest: &Manifest, loader: Option<&Loader>) -> Result<String> {
    let created = Timestamp::from_second(manifest.epoch).context("reading the image's date")?;
    let mut packages = vec![package(
        IMAGE,
        name,
        manifest.spec.get(..12).unwrap_or(&manifest.spec),
        &manifest.disk_sha256,
        "OPERATING-SYSTEM",
    )];
    let mut firstboot =
        package(FIRSTBOOT, "firstboot", &manifest.firstboot.version, &manifest.firstboot.sha256, "APPLICATION");
    firstboot["licenseDeclared"] = "MIT OR Apache-2.0".into();
    packages.push(firstboot);
    let grub = manifest.packages.iter().find(|member| member.name == GRUB);
    let mut relationships = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    if let Some(loader) = loader {
        let version = grub.map_or("NOASSERTION", |member| &member.version);
        packages.push(package(BOOT, "grub-boot-code", version, &loader.boot_sha256, "FILE"));
        packages.push(package(CORE, "grub-core-image", version, &loader.core_sha256, "FILE"));
        if let Some(grub) = grub {
            relationships.extend([BOOT, CORE].map(|ours| relation(ours, "GENERATED_FROM", &id(grub))));
        }
    }
    packages.extend(manifest.packages.iter().map(deb));
    let contained = packages.iter().skip(1).filter_map(|package| package["SPDXID"].as_str());
    relationships.extend(contained.map(|id| relation(IMAGE, "CONTAINS", id)));
    // Another image has another disk, and another document about it another address.
    let namespace = Uuid::new_v5(&manifest.image.table.guid, manifest.disk_sha256.as_bytes());
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "SPDXID": DOCUMENT,
        "dataLicense": "CC0-1.0",
        "name": name,
        "documentNamespace": format!("urn:uuid:{namespace}"),
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "creators": [format!("Tool: mimg-{}", manifest.mimg)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn package(id: &str, name: &str, version: &str, sha256: &str, purpose: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sha256 }],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": purpose,
    })
}

/// A Debian package; its checksum is that of the .deb.
fn deb(member: &Member) -> Value {
    let mut package = package(&id(member), &member.name, &member.version, &member.sha256, "INSTALL");
    package["externalRefs"] = json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl(member),
    }]);
    package["supplier"] = match &member.repository {
        None => "Organization: Debian".into(),
        Some(_) => "NOASSERTION".into(),
    };
    package
}

fn relation(element: &str, kind: &str, related: &str) -> Value {
    json!({ "spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related })
}

/// Ids have letters, digits, dots and dashes only. What else stands in a name becomes its code in upper case, which no
/// Debian name has: so two packages never share one.
fn id(member: &Member) -> String {
    let escape = |c: char| match c {
        'a'..='z' | '0'..='9' | '.' | '-' => c.to_string(),
        other => format!(".{:02X}", u32::from(other)),
    };
    let name: String = member.name.chars().map(escape).collect();
    format!("SPDXRef-deb-{name}-{}", member.architecture)
}

/// The package's address; one of a profile's own repository is not Debian's.
fn purl(member: &Member) -> String {
    let vendor = member.repository.as_deref().unwrap_or("debian");
    let [vendor, name, version] = [vendor, &member.name, &member.version].map(encode);
    format!("pkg:deb/{vendor}/{name}@{version}?arch={}&distro=trixie", member.architecture)
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
