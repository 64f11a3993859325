//! An identity: the private half of a recipient, by which a person opens the fleet's secrets.

use age::secrecy::SecretString;
use anyhow::{Context, Result, bail};
use fs_err as fs;
use profiles::problem::{Problem, Problems};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// No file of keys comes near this many bytes.
const LARGEST: u64 = 1 << 20;

/// The keys of one file: of an ssh key, or what age-keygen wrote.
pub struct Identity {
    path: PathBuf,
    keys: Vec<Box<dyn age::Identity + Send + Sync>>,
}

impl Identity {
    /// Opens the file that was named, or else ~/.ssh/id_ed25519. The passphrase of an ssh key is asked for on the
    /// terminal.
    pub fn open(named: Option<&Path>) -> Result<Identity> {
        let usual = || std::env::home_dir().map(|home| home.join(".ssh/id_ed25519"));
        let Some(path) = named.map(Path::to_owned).or_else(usual) else {
            return Err(bad("there is no home folder to find ~/.ssh/id_ed25519 in", NAME_ONE));
        };
        let keys = keys(&path, &read(&path, named.is_some())?)?;
        Ok(Identity { path, keys })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| key.as_ref() as &dyn age::Identity)
    }
}

const WANTED: &str = "a private ed25519 key of ssh, or a file that age-keygen wrote";
const NAME_ONE: &str = "name your key with --identity FILE, or in MIMG_IDENTITY";

fn bad(saw: impl Into<String>, cure: impl Into<String>) -> anyhow::Error {
    Problems(vec![Problem::of_none(saw, WANTED, cure)]).into()
}

fn read(path: &Path, named: bool) -> Result<Zeroizing<String>> {
    let shown = path.display();
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound && named => {
            return Err(bad(format!("there is no file {shown}"), NAME_ONE));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(bad(format!("there is no key {shown} to open the fleet's secrets with"), NAME_ONE));
        }
        Err(error) => return Err(error.into()),
    };
    if size > LARGEST {
        return Err(bad(format!("{shown} has {size} bytes, which is no key"), NAME_ONE));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size)? + 1));
    std::io::Read::read_to_end(&mut fs::File::open(path)?, &mut bytes)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(bad(format!("{shown} is not a text, so it is no key"), NAME_ONE)),
    }
}

fn keys(path: &Path, text: &str) -> Result<Vec<Box<dyn age::Identity + Send + Sync>>> {
    let shown = path.display();
    if text.starts_with("-----BEGIN") && text.contains("PRIVATE KEY-----") {
        return Ok(vec![ssh(path, text)?]);
    }
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        let cure = format!("open it first, into memory: `age -d {shown} > /dev/shm/key`, and remove that afterwards");
        return Err(bad(format!("{shown} is a key that is itself encrypted with a passphrase"), cure));
    }
    if text.starts_with("ssh-") || text.starts_with("age1") || text.starts_with("ecdsa-") {
        let cure = "name the file without .pub: the private half opens secrets";
        return Err(bad(format!("{shown} is a public key"), cure));
    }
    let read = age::IdentityFile::from_buffer(text.as_bytes()).ok().and_then(|file| file.into_identities().ok());
    match read {
        Some(keys) if !keys.is_empty() => Ok(keys),
        _ => Err(bad(format!("{shown} has no key in it"), NAME_ONE)),
    }
}

fn ssh(path: &Path, text: &str) -> Result<Box<dyn age::Identity + Send + Sync>> {
    use age::ssh::Identity as Ssh;
    let shown = path.display();
    let rsa = || bad(format!("{shown} is an RSA key, to which no secret is encrypted"), NAME_ONE);
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return Err(rsa());
    }
    let key = Ssh::from_buffer(text.as_bytes(), None);
    let key = key.map_err(|_| bad(format!("{shown} is a private key that cannot be read: damaged?"), NAME_ONE))?;
    if let Ok(age::ssh::Recipient::SshRsa(..)) = age::ssh::Recipient::try_from(key.clone()) {
        return Err(rsa());
    }
    match key {
        Ssh::Unencrypted(_) => Ok(Box::new(key)),
        Ssh::Unsupported(_) => {
            Err(bad(format!("{shown} is a key that signs only, or is encrypted in an old way"), NAME_ONE))
        }
        Ssh::Encrypted(key) => match key.decrypt(ask(path)?) {
            Ok(key) => Ok(Box::new(Ssh::from(key))),
            Err(age::DecryptError::KeyDecryptionFailed) => bail!("this is not the passphrase of {shown}"),
            Err(error) => Err(error).with_context(|| format!("opening {shown}")),
        },
    }
}

/// Asks on the terminal itself: stdin and stderr may lead elsewhere.
fn ask(path: &Path) -> Result<SecretString> {
    let shown = path.display();
    if fs::File::options().read(true).write(true).open("/dev/tty").is_err() {
        let cure = "run it in a terminal, or name a key without a passphrase with --identity FILE";
        return Err(bad(format!("{shown} has a passphrase, and there is no terminal to ask for it"), cure));
    }
    let typed = rpassword::prompt_password(format!("Passphrase of {shown}: "));
    Ok(SecretString::from(typed.context("asking for a passphrase")?))
}
