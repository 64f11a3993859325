//! `mimg secrets init`: the recipients, and the key that signs.

use crate::publish::signature::{KeyId, SigningKey};
use crate::secrets::recipient::Recipient;
use crate::secrets::{FOLDER, RECIPIENTS, SIGNING_KEY, SIGNING_PUBLIC, Secret, Store, check};
use anyhow::{Context, Result};
use fs_err as fs;
use profiles::fleet::Root;
use profiles::problem::{Problem, Problems};
use std::path::Path;

/// What the fleet has now.
pub struct Started {
    /// Whether it was made now, or was there before.
    pub made: bool,
    pub recipients: Vec<Recipient>,
    pub signing_key: KeyId,
}

/// Makes `secrets/` in the fleet's folder, whole or not at all. Where it is there already nothing is changed.
///
/// `named` are keys or files of keys: the administrators'. Where there are none, those of fleet.toml are taken.
/// `offline` is one more, that is kept in a drawer.
pub fn init(fleet: &Path, root: &Root, named: &[String], offline: Option<&str>) -> Result<Started> {
    let folder = fleet.join(FOLDER);
    if folder.exists() && fs::read_dir(&folder)?.next().is_some() {
        return there(fleet);
    }
    let recipients = chosen(root, named, offline)?;
    let made = tempfile::Builder::new().prefix(".secrets-").tempdir_in(fleet).context("making the secrets' folder")?;
    fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (administrators, offline) = &recipients;
    let key = fill(made.path(), administrators, offline)?;
    // Its name is there only when all of it is; an empty folder of that name gives way.
    fs::rename(made.path(), &folder)?;
    drop(made.keep());
    Ok(Started { made: true, recipients: [administrators.as_slice(), offline].concat(), signing_key: key })
}

fn there(fleet: &Path) -> Result<Started> {
    let problems = check::check(fleet)?;
    let store = Store::open(fleet)?.context("opening the secrets")?;
    Problems(problems).or(())?;
    let key = store.signing_public()?.context("reading the public key")?;
    Ok(Started { made: false, recipients: store.recipients().to_vec(), signing_key: key.id() })
}

fn fill(folder: &Path, administrators: &[Recipient], offline: &[Recipient]) -> Result<KeyId> {
    let lines = |recipients: &[Recipient]| recipients.iter().map(|key| format!("{key}\n")).collect::<String>();
    let text = format!(
        "# Who can open the secrets of this fleet. A line added here counts for secrets that are put from then on.\n\
         {}# kept offline\n{}",
        lines(administrators),
        lines(offline)
    );
    fs::write(folder.join(RECIPIENTS), text)?;
    let key = SigningKey::generate()?;
    let store = Store { folder: folder.to_owned(), recipients: [administrators, offline].concat() };
    store.put(SIGNING_KEY, &Secret::new(key.render().as_bytes().to_vec()))?;
    fs::write(folder.join(SIGNING_PUBLIC), key.public().render())?;
    Ok(key.public().id())
}

/// The administrators' keys, and those that are kept offline.
fn chosen(root: &Root, named: &[String], offline: Option<&str>) -> Result<(Vec<Recipient>, Vec<Recipient>), Problems> {
    let mut problems = Vec::new();
    let mut given = |word: &str| {
        Recipient::given(word).unwrap_or_else(|finding| {
            problems.push(Problem::of_none(finding.saw, finding.wanted, finding.cure));
            Vec::new()
        })
    };
    let mut administrators: Vec<Recipient> = named.iter().flat_map(|word| given(word)).collect();
    let offline: Option<Vec<Recipient>> = offline.map(given);
    if named.is_empty() {
        administrators = of_fleet(root, &mut problems);
    }
    let mut once: Vec<Recipient> = Vec::new();
    administrators.retain(|key| {
        !once.contains(key) && {
            once.push(key.clone());
            true
        }
    });
    let Some(mut offline) = offline else {
        problems.push(Problem::of_none(
            "no key that is kept offline",
            "a second key, kept where the first is not: with one, a lost key is a lost fleet",
            "make one with `age-keygen -o offline.txt`, move that file to a stick in a drawer, and give the public key \
             that it printed: --offline-recipient age1…; or give another ssh key's .pub file",
        ));
        return Err(Problems(problems));
    };
    offline.retain(|key| {
        let known = administrators.contains(key);
        if known {
            problems.push(Problem::of_none(
                format!("the offline key {} is an administrator's as well", key.key()),
                "another key than those in daily use",
                "make one with `age-keygen -o offline.txt`",
            ));
        }
        !known
    });
    Problems(problems).or((administrators, offline))
}

/// The keys of those users of fleet.toml who may become root.
fn of_fleet(root: &Root, problems: &mut Vec<Problem>) -> Vec<Recipient> {
    let mut recipients = Vec::new();
    let administrators = root.user.iter().filter(|user| user.sudo || user.name == "root");
    for user in administrators.clone() {
        let keys = user.ssh_keys.iter().map(|line| Recipient::parse(line));
        let (usable, others): (Vec<_>, Vec<_>) = keys.partition(Result::is_ok);
        let refused = others.into_iter().find_map(Result::err);
        // Another key of the same person will do.
        if let (true, Some(finding)) = (usable.is_empty(), refused) {
            let cure = format!("{}; or say who the recipients are with --recipient KEY", finding.cure);
            problems.push(Problem::of_none(
                format!("fleet.toml: user {} has {}", user.name, finding.saw),
                finding.wanted,
                cure,
            ));
        }
        recipients.extend(usable.into_iter().flatten());
    }
    if recipients.is_empty() && problems.is_empty() {
        problems.push(Problem::of_none(
            "fleet.toml has no user with `sudo = true` and an ssh key",
            "the administrators' keys",
            "add such a [[user]] to fleet.toml, or give the keys with --recipient KEY",
        ));
    }
    recipients
}
