//! What is wrong with a fleet's secrets, as far as it can be seen without opening them.

use crate::secrets::{FOLDER, RECIPIENTS, SIGNING_KEY, SIGNING_PUBLIC, public_key, recipient, text};
use anyhow::Result;
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// What every file of age begins with.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// Checks `secrets/` of the fleet in the folder `fleet`. A fleet without it has no problem.
pub fn check(fleet: &Path) -> Result<Vec<Problem>> {
    let folder = fleet.join(FOLDER);
    let mut problems = Vec::new();
    if !folder.exists() {
        return Ok(problems);
    }
    match text(&folder.join(RECIPIENTS))? {
        Some(text) => {
            let read = recipient::read(&format!("{FOLDER}/{RECIPIENTS}"), &text);
            problems.extend(read.err().unwrap_or_else(|| Problems(Vec::new())).0);
        }
        None => problems.push(missing(RECIPIENTS, "the list of those who can open the secrets")),
    }
    let (public, secret) = (folder.join(SIGNING_PUBLIC), folder.join(format!("{SIGNING_KEY}.age")));
    match (public.exists(), secret.exists()) {
        (true, false) => problems.push(missing(&format!("{SIGNING_KEY}.age"), "the secret half of signing.pub")),
        (false, true) => problems.push(missing(SIGNING_PUBLIC, "the public half of signing.key.age")),
        (false, false) => problems.push(missing(SIGNING_PUBLIC, "the key that signs images")),
        (true, true) => {}
    }
    if let Err(error) = public_key(&public) {
        problems.push(Problem::of_none(format!("{error:#}"), "a public key of minisign", "bring it back from git"));
    }
    files(&folder, FOLDER, &mut problems)?;
    Ok(problems)
}

fn missing(name: &str, what: &str) -> Problem {
    let cure = "bring it back from git; if it was never there, move the folder away and run `mimg secrets init`";
    Problem::of_none(format!("there is no {FOLDER}/{name}"), what, cure)
}

/// Everything else has to be encrypted: in the clear it would go to git and to whoever reads that.
fn files(folder: &Path, shown: &str, problems: &mut Vec<Problem>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = format!("{shown}/{name}");
        if entry.file_type()?.is_dir() {
            files(&entry.path(), &shown, problems)?;
        } else if !(is_public(&shown) || name.ends_with(".age") && is_encrypted(&entry.path())?) {
            problems.push(Problem::of_none(
                format!("{shown} is not encrypted by age"),
                "files that end in .age and begin as age's do",
                "move it out of the fleet, and where it was in git, count what it holds as known",
            ));
        }
    }
    Ok(())
}

fn is_public(shown: &str) -> bool {
    let public = [RECIPIENTS, SIGNING_PUBLIC, ".gitattributes", ".gitignore", "README.md"];
    public.iter().any(|name| shown == format!("{FOLDER}/{name}"))
}

fn is_encrypted(path: &Path) -> Result<bool> {
    let mut first = [0; AGE.len()];
    match fs::File::open(path)?.read_exact(&mut first) {
        Ok(()) => Ok(first == AGE),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}
