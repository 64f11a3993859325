//! Looks through a tree for what no image may hold: private keys, identities, credentials, logs and caches.

use crate::tree::root::{Root, is_dir};
use anyhow::Result;
use nix::fcntl::OFlag;
use rayon::prelude::*;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Something that may not be in an image, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the root.
    pub path: PathBuf,
    /// What was seen.
    pub what: What,
}

/// Why it may not be there; its text is in `Finding`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    PrivateKey,
    MachineId,
    HostKey,
    Snakeoil,
    Cluster,
    Credentials,
    Log,
    Cache,
    Seed,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let what = match self.what {
            What::PrivateKey => "a private key",
            What::MachineId => "a machine's identity",
            What::HostKey => "an ssh host key",
            What::Snakeoil => "a self-made certificate, the same in every machine of this image",
            What::Cluster => "a database cluster with its identity",
            What::Credentials => "credentials for a package archive",
            What::Log => "a log of the build",
            What::Cache => "a cache or a list that the build left",
            What::Seed => "a random seed, the same in every machine of this image",
        };
        write!(to, "/{} is {what}", self.path.display())
    }
}

/// How a private key begins, in PEM, OpenSSH, PGP and age files. WireGuard's are found by their key's name.
const KEYS: [&[u8]; 4] =
    [b"PRIVATE KEY-----", b"-----BEGIN PGP PRIVATE KEY BLOCK", b"AGE-SECRET-KEY-1", b"AGE-PLUGIN-"];

/// A file over this many bytes is looked at no further.
const MOST: u64 = 256 << 10;

/// Folders of a package's documentation and tests: what looks like a key there is public.
const EXAMPLES: [&str; 2] = ["usr/share/doc", "usr/share/man"];

/// Everything in the tree that may not be in an image, in order of path. An empty answer is the wanted one.
pub fn scan(root: &Root) -> Result<Vec<Finding>> {
    let mut findings = walk(root, Path::new(""))?;
    findings.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(findings)
}

fn walk(root: &Root, folder: &Path) -> Result<Vec<Finding>> {
    let below = |name: OsString| -> Result<Vec<Finding>> {
        let path = folder.join(name);
        let Some(stat) = root.stat(&path)? else { return Ok(Vec::new()) };
        if is_dir(&stat) {
            return walk(root, &path);
        }
        let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let size = if regular { stat.st_size as u64 } else { 0 };
        let mut what = by_name(&path, size);
        if what.is_none() && regular && size > 0 && !EXAMPLES.iter().any(|folder| path.starts_with(folder)) {
            what = by_content(root, &path, size)?;
        }
        Ok(what.map(|what| Finding { path, what }).into_iter().collect())
    };
    let findings = root.names(folder)?.into_par_iter().map(below).collect::<Result<Vec<_>>>()?;
    Ok(findings.into_iter().flatten().collect())
}

fn by_name(path: &Path, size: u64) -> Option<What> {
    let text = path.to_string_lossy();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = |folder: &str| path.starts_with(folder);
    match &*text {
        "etc/machine-id" | "var/lib/dbus/machine-id" if size > 0 => Some(What::MachineId),
        "var/lib/systemd/random-seed" | "var/lib/urandom/random-seed" => Some(What::Seed),
        "var/lib/systemd/credential.secret" => Some(What::PrivateKey),
        "etc/apt/auth.conf" | "root/.netrc" => Some(What::Credentials),
        _ if below("etc/apt/auth.conf.d") => Some(What::Credentials),
        _ if below("etc/ssh") && name.starts_with("ssh_host_") => Some(What::HostKey),
        _ if name.starts_with("ssl-cert-snakeoil") => Some(What::Snakeoil),
        _ if name == "PG_VERSION" && below("var/lib/postgresql") => Some(What::Cluster),
        _ if below("var/log") => Some(What::Log),
        _ if below("var/lib/apt/lists") || below("var/cache/ldconfig") || below("run") => Some(What::Cache),
        _ if below("tmp") || below("var/tmp") => Some(What::Cache),
        _ if below("var/cache/apt") => Some(What::Cache),
        _ => None,
    }
}

fn by_content(root: &Root, path: &Path, size: u64) -> Result<Option<What>> {
    // Programs that read keys name what they look for: only whole small files, and the start of a line, count.
    if size > MOST {
        return Ok(None);
    }
    let Ok(fd) = root.open_at(path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW) else { return Ok(None) };
    let content = read(fd)?;
    if content.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    if path.starts_with("etc/apt") && content.split(|byte| *byte == b'\n').any(has_password) {
        return Ok(Some(What::Credentials));
    }
    Ok(content.split(|byte| *byte == b'\n').any(|line| is_key(path, line)).then_some(What::PrivateKey))
}

fn read(fd: OwnedFd) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    File::from(fd).read_to_end(&mut content)?;
    Ok(content)
}

/// A line that only a file with a key has.
fn is_key(path: &Path, line: &[u8]) -> bool {
    let line = line.trim_ascii();
    if line.starts_with(b"-----BEGIN ") && line.ends_with(KEYS[0]) {
        return true;
    }
    if KEYS[1..].iter().any(|start| line.starts_with(start)) {
        return true;
    }
    let (wireguard, networkd) = (path.starts_with("etc/wireguard"), path.starts_with("etc/systemd/network"));
    (wireguard || networkd)
        && line
            .split(|byte| *byte == b'=')
            .next()
            .is_some_and(|key| [&b"privatekey"[..], b"presharedkey"].contains(&&*key.trim_ascii().to_ascii_lowercase()))
}

/// A source like `deb https://user:password@host/ …`.
fn has_password(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
    words.any(|word| {
        word.split_once("://")
            .and_then(|(_, rest)| rest.split('/').next())
            .and_then(|place| place.rsplit_once('@'))
            .is_some_and(|(who, _)| who.contains(':'))
    })
}
