//! What is wrong with a Spec's inputs beyond its settings: the keys of its repositories, the files of its overlays.

use crate::archive::signature::Keyring;
use crate::tree::overlay::Overlay;
use jiff::Timestamp;
use profiles::fleet::Fleet;
use profiles::part::repository::{Repository, host};
use profiles::problem::{Finding, Problem, Problems, nearest};
use profiles::spec::Spec;
use std::collections::BTreeSet;
use std::path::Path;

/// Checks what a Spec of `fleet` names: all that is wrong is told at once, with the file and line of the setting.
/// `overlays` is the fleet's folder of that name; keys are judged as of `now`.
pub fn check(fleet: &Fleet, spec: &Spec, overlays: Option<&Path>, now: Timestamp) -> Result<(), Problems> {
    let mut findings: Vec<Finding> =
        spec.settings.repository.iter().filter_map(|repository| key(repository, now)).collect();
    findings.extend(spec.settings.repository.iter().filter_map(|repository| like_debian(fleet, repository)));
    let mut problems = Problems::default();
    match files(spec, overlays) {
        Ok(files) => findings.extend(unreplaced(spec, &files)),
        Err(error) => problems.0.push(Problem::of_none(
            format!("{error:#}"),
            "an overlay of plain files, folders and links",
            "change that file of the overlay",
        )),
    }
    problems.0.extend(fleet.blame(spec, findings).0);
    problems.or(())
}

/// What is wrong with the key of a repository.
fn key(repository: &Repository, now: Timestamp) -> Option<Finding> {
    let keys = |key| [&["repository", &repository.name], &[key][..]].concat();
    let certificates = match crate::archive::certificate::Certificate::read(repository.key.as_bytes()) {
        Ok(certificates) => certificates,
        Err(error) => {
            return Some(Finding::new(
                &keys("key"),
                format!("{error:#}"),
                "an OpenPGP certificate, from -----BEGIN PGP PUBLIC KEY BLOCK----- to its end",
                "paste the key file between ''' and ''' (`gpg --enarmor` makes text of a binary one)",
            ));
        }
    };
    let keyring = match Keyring::pinned(&[repository.key.as_bytes()], &[&repository.fingerprint]) {
        Ok(keyring) => keyring,
        Err(_) => {
            let seen: Vec<String> = certificates.iter().map(|certificate| certificate.fingerprint()).collect();
            return Some(Finding::new(
                &keys("fingerprint"),
                format!("the key has another fingerprint: {}", seen.join(", ")),
                format!("the key of {:?}, as pinned", repository.fingerprint),
                "take the fingerprint from the repository's maker, by another way than the key; then the one or the other",
            ));
        }
    };
    let error = keyring.check(now).err()?;
    Some(Finding::new(
        &keys("key"),
        format!("{error:#}"),
        "a key that may sign today",
        "take the repository's newer key; if its fingerprint is another, ask its maker why",
    ))
}

/// A repository of a priority of its own at the host of the Debian mirror that the machine's apt uses.
fn like_debian(fleet: &Fleet, repository: &Repository) -> Option<Finding> {
    let archive = &fleet.root()?.archive;
    let mut mirrors = [&archive.node_mirror, &archive.node_security_mirror].into_iter().flatten();
    let mirror = mirrors.find(|mirror| host(mirror) == repository.host() && repository.priority != 500)?;
    Some(Finding::new(
        &["repository", &repository.name, "priority"],
        format!("{}, and Debian itself comes from the same host, {mirror}", repository.priority),
        "the priority 500 there: the machine's apt tells repositories apart by their hosts",
        "leave the priority away, or name another mirror under [archive] in fleet.toml",
    ))
}

/// The files that the Spec's overlays bring, as absolute paths.
fn files(spec: &Spec, overlays: Option<&Path>) -> anyhow::Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for overlay in Overlay::of(spec, overlays)? {
        files.extend(overlay.files().map(|path| format!("/{}", path.display())));
    }
    Ok(files)
}

/// Permissions to replace that no overlay makes use of.
fn unreplaced(spec: &Spec, files: &BTreeSet<String>) -> Vec<Finding> {
    let unused = spec.settings.replaces.iter().enumerate().filter(|(_, path)| !files.contains(*path));
    let finding = |(index, path): (usize, &String)| {
        let cure = match nearest(path, files.iter().map(String::as_str)) {
            Some(near) => {
                format!("did you mean {near:?}? Else put the file into overlays/NAME{path}, or take this out")
            }
            None => {
                format!("put the file into overlays/NAME{path}, for a profile NAME of this machine, or take this out")
            }
        };
        let saw = format!("no overlay of this machine has {path}");
        Finding::new(&["replaces", &index.to_string()], saw, "a file of an overlay", cure)
    };
    unused.map(finding).collect()
}
