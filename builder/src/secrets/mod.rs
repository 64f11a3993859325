//! The fleet's secrets, encrypted by age, one file each: `secrets/` of the fleet's folder.
//!
//! ```text
//! recipients.txt     public keys: who can open them; `age -R` reads it too
//! signing.pub        the public half of the key that signs what leaves the house, in minisign's format
//! signing.key.age    its secret half
//! NAME.age           any other; NAME may have folders in it
//! ```
//! All of it may be kept in git. A secret in the clear is in no file, no argument and no message.

pub mod check;
pub mod identity;
pub mod init;
pub mod recipient;

use crate::image::draft::Draft;
use crate::publish::signature::{PublicKey, SigningKey};
use crate::secrets::identity::Identity;
use crate::secrets::recipient::Recipient;
use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The folder in the fleet's.
pub const FOLDER: &str = "secrets";
/// In it: who can open the secrets.
pub const RECIPIENTS: &str = "recipients.txt";
/// In it: the public half of the signing key.
pub const SIGNING_PUBLIC: &str = "signing.pub";
/// The name of the signing key's secret half.
pub const SIGNING_KEY: &str = "signing.key";
/// No secret comes near this many bytes.
const LARGEST: u64 = 1 << 20;

/// A value that is in no Spec, no log, no image that others may read. It cannot be shown, and is wiped from memory when
/// dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The value itself, for where it is put to use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The secrets of one fleet.
pub struct Store {
    folder: PathBuf,
    recipients: Vec<Recipient>,
}

impl Store {
    /// Opens the store of the fleet in the folder `fleet`; `None` where it has none yet. Recipients that cannot be read
    /// are told all at once.
    pub fn open(fleet: &Path) -> Result<Option<Store>> {
        let folder = fleet.join(FOLDER);
        let path = folder.join(RECIPIENTS);
        if !folder.exists() {
            return Ok(None);
        }
        let Some(text) = text(&path)? else {
            let saw = format!("there is no {}", path.display());
            let wanted = "the list of those who can open the secrets";
            return Err(Problems(vec![Problem::of_none(saw, wanted, "bring it back from git")]).into());
        };
        Ok(Some(Store { recipients: recipient::read(&format!("{FOLDER}/{RECIPIENTS}"), &text)?, folder }))
    }

    /// Who can open what is put from now on.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The file of the secret `name`. A name is a path of plain words, such as `nodes/eccles/tunnel.key`.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let word = |word: &str| !word.is_empty() && !word.starts_with('.') && word.chars().all(plain);
        ensure!(
            name.split('/').all(word),
            "{name:?} cannot name a secret: words of a-z, 0-9, -, _ and . were wanted, with / between them"
        );
        Ok(self.folder.join(format!("{name}.age")))
    }

    /// Encrypts a secret to all recipients, replacing the one of that name.
    pub fn put(&self, name: &str, secret: &Secret) -> Result<()> {
        let path = self.path(name)?;
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let recipients = self.recipients.iter().map(Recipient::as_age);
        let encryptor = age::Encryptor::with_recipients(recipients).context("encrypting a secret")?;
        let draft = Draft::new(&path)?;
        let mut writer = encryptor.wrap_output(draft.file()).context("encrypting a secret")?;
        writer.write_all(secret.expose()).and_then(|()| writer.finish()).context("encrypting a secret")?;
        draft.publish()
    }

    /// Opens a secret.
    pub fn get(&self, name: &str, identity: &Identity) -> Result<Secret> {
        let path = self.path(name)?;
        let shown = path.display();
        let sealed = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("the fleet has no secret {name}: there is no {shown}")
            }
            Err(error) => return Err(error.into()),
            Ok(metadata) if metadata.len() > LARGEST => bail!("{shown} is too large for a secret"),
            Ok(_) => fs::read(&path)?,
        };
        let decryptor = age::Decryptor::new_buffered(sealed.as_slice());
        let decryptor =
            decryptor.with_context(|| format!("opening {shown}: it is damaged, or not encrypted by age"))?;
        let mut reader = match decryptor.decrypt(identity.keys()) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Err(self.not_for(&shown.to_string(), identity)),
            Err(error) => return Err(error).with_context(|| format!("opening {shown}")),
        };
        // As long as what it is read from, so that it never grows and leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(sealed.len()));
        reader.read_to_end(&mut bytes).with_context(|| format!("opening {shown}: it is damaged"))?;
        Ok(Secret(bytes))
    }

    fn not_for(&self, shown: &str, identity: &Identity) -> anyhow::Error {
        let recipients: Vec<String> = self.recipients.iter().map(Recipient::to_string).collect();
        let saw = format!("{} does not open {shown}", identity.path().display());
        let wanted = format!("the private half of one of these:\n{}", recipients.join("\n"));
        Problems(vec![Problem::of_none(saw, wanted, "name another key with --identity FILE")]).into()
    }

    /// The public half of the key that signs; `None` where there is none yet.
    pub fn signing_public(&self) -> Result<Option<PublicKey>> {
        public_key(&self.folder.join(SIGNING_PUBLIC))
    }

    /// Opens the key that signs, and makes sure that it is the one whose public half is shown to everybody.
    pub fn signing_key(&self, identity: &Identity) -> Result<SigningKey> {
        let public = self.folder.join(SIGNING_PUBLIC);
        let wanted = self.signing_public()?.with_context(|| format!("there is no {}", public.display()))?;
        let secret = self.get(SIGNING_KEY, identity)?;
        let text = std::str::from_utf8(secret.expose()).ok().context("the signing key is not one of minisign's")?;
        let key = SigningKey::parse(text).context("reading the signing key")?;
        ensure!(
            key.public() == wanted,
            "{} is not the public half of the fleet's signing key: it is key {}, and {SIGNING_KEY}.age holds key {}; \
             bring both back from git, as they were made together",
            public.display(),
            wanted.id(),
            key.public().id()
        );
        Ok(key)
    }
}

/// A public key from its file; `None` where there is none.
pub fn public_key(path: &Path) -> Result<Option<PublicKey>> {
    let text = text(path)?;
    text.map(|text| PublicKey::parse(&text)).transpose().with_context(|| format!("reading {}", path.display()))
}

/// A small text; `None` where there is no such file.
fn text(path: &Path) -> Result<Option<String>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) => ensure!(metadata.len() <= LARGEST, "{} is too large for what it is to be", path.display()),
    }
    let bytes = fs::read(path)?;
    Ok(Some(String::from_utf8(bytes).ok().with_context(|| format!("{} is not a text", path.display()))?))
}
