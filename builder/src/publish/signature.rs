//! Signatures in minisign's format, so that others can check what leaves the house with a tool of their own.
//!
//! ```text
//! public key                            signature                                    secret key
//! untrusted comment: …                  untrusted comment: …                         untrusted comment: …
//! base64("Ed" id 8 key 32)              base64("ED" id 8 signature 64)               base64("Ed" 00 "B2" zeros 48 id 8 seed 32 key 32 sum 32)
//!                                       trusted comment: …
//!                                       base64(signature 64 of signature + comment)
//! ```
//! "ED" signs the BLAKE2b-512 of a file, by Ed25519. The id only tells keys apart. Signing the same bytes twice gives the
//! same signature.
//!
//! Format: <https://jedisct1.github.io/minisign/#signature-format>

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest};
use ed25519_dalek::{Signer, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

/// What tells one key from another; says nothing about who owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// The half of a key that everybody may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads what `render` writes, or minisign.
    pub fn parse(text: &str) -> Result<PublicKey> {
        let wanted = "a public key of minisign: a comment, then a line of base64 that begins with RW";
        let [_, line] = lines(text)?;
        let bytes = STANDARD.decode(line).ok().filter(|bytes| bytes.len() == 42 && bytes.starts_with(b"Ed"));
        let bytes = bytes.with_context(|| format!("this is not {wanted}"))?;
        let key = VerifyingKey::from_bytes(&part(&bytes, 10)).context("this public key is damaged")?;
        Ok(PublicKey { id: KeyId(part(&bytes, 2)), key })
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    /// As it stands in its file.
    pub fn render(&self) -> String {
        let bytes = [b"Ed".as_slice(), &self.id.0, self.key.as_bytes()].concat();
        format!("{UNTRUSTED}minisign public key {}\n{}\n", self.id, STANDARD.encode(bytes))
    }

    /// Checks that this key signed `message`, and the signature's own comment.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Forged> {
        if signature.id != self.id {
            return Err(Forged::AnotherKey { seen: signature.id, wanted: self.id });
        }
        let holds = |message: &[u8], bytes: &[u8; 64]| {
            self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
        };
        if !holds(&Blake2b512::digest(message), &signature.bytes) {
            return Err(Forged::Message);
        }
        if holds(&signature.sealed(), &signature.global) { Ok(()) } else { Err(Forged::Comment) }
    }
}

/// Why a signature is worth nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Forged {
    AnotherKey { seen: KeyId, wanted: KeyId },
    Message,
    Comment,
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Forged::AnotherKey { seen, wanted } => write!(f, "signed by another key: {seen}, and {wanted} was wanted"),
            Forged::Message => f.write_str("not what was signed: it was changed, or its signature was"),
            Forged::Comment => f.write_str("changed: its comment is not what was signed"),
        }
    }
}

impl std::error::Error for Forged {}

/// The half of a key that signs. Wiped from memory when dropped; it cannot be shown.
pub struct SigningKey {
    id: KeyId,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    pub fn generate() -> Result<SigningKey> {
        let mut id = [0; 8];
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut id).context("asking the kernel for random numbers")?;
        getrandom::fill(&mut *seed).context("asking the kernel for random numbers")?;
        Ok(SigningKey { id: KeyId(id), key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    pub fn public(&self) -> PublicKey {
        PublicKey { id: self.id, key: self.key.verifying_key() }
    }

    /// As `minisign -S` reads it, without a password of its own: it is kept encrypted as a whole.
    pub fn render(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(158));
        bytes.extend_from_slice(b"Ed\0\0B2");
        bytes.extend_from_slice(&[0; 48]);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&*Zeroizing::new(self.key.to_keypair_bytes()));
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        // Long enough from the start: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(400));
        text.push_str(UNTRUSTED);
        text.push_str("minisign secret key, kept by mimg\n");
        STANDARD.encode_string(&*bytes, &mut text);
        text.push('\n');
        text
    }

    /// Reads what `render` writes. Nothing of it is ever shown.
    pub fn parse(text: &str) -> Result<SigningKey> {
        let [_, line] = lines(text)?;
        let bytes = Zeroizing::new(STANDARD.decode(line).ok().context("this is not a secret key of minisign")?);
        ensure!(bytes.len() == 158 && bytes.starts_with(b"Ed"), "this is not a secret key of minisign");
        ensure!(bytes[2..4] == [0, 0], "this secret key of minisign has a password of its own; mimg takes one without");
        ensure!(bytes[4..6] == *b"B2" && bytes[126..] == checksum(&bytes[..126]), "this secret key is damaged");
        let pair = Zeroizing::new(part::<64>(&bytes, 62));
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(&pair).ok().context("this secret key is damaged")?;
        Ok(SigningKey { id: KeyId(part(&bytes, 54)), key })
    }

    /// Signs `message`, and `comment` (one line) with it.
    pub fn sign(&self, message: &[u8], comment: &str) -> Signature {
        let bytes = self.key.sign(&Blake2b512::digest(message)).to_bytes();
        let mut signature =
            Signature { id: self.id, bytes, comment: comment.replace(['\n', '\r'], " "), global: [0; 64] };
        signature.global = self.key.sign(&signature.sealed()).to_bytes();
        signature
    }
}

/// BLAKE2b-256 of the algorithm, the id and both halves of the key.
fn checksum(bytes: &[u8]) -> [u8; 32] {
    Blake2b::<U32>::new().chain_update(&bytes[..2]).chain_update(&bytes[54..126]).finalize().into()
}

/// A signature of a file, in a file beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    id: KeyId,
    bytes: [u8; 64],
    comment: String,
    global: [u8; 64],
}

impl Signature {
    /// What the second signature covers.
    fn sealed(&self) -> Vec<u8> {
        [self.bytes.as_slice(), self.comment.as_bytes()].concat()
    }

    /// Whose it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What was signed together with the file.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub fn render(&self) -> String {
        let bytes = [b"ED".as_slice(), &self.id.0, &self.bytes].concat();
        let (signature, global) = (STANDARD.encode(bytes), STANDARD.encode(self.global));
        format!("{UNTRUSTED}signed by mimg, key {}\n{signature}\n{TRUSTED}{}\n{global}\n", self.id, self.comment)
    }

    /// Reads exactly what `render` writes: also the first line, which no signature covers, cannot be changed unseen.
    pub fn parse(text: &str) -> Result<Signature> {
        let [_, signature, comment, global] = lines(text)?;
        let signature = STANDARD.decode(signature).ok().filter(|bytes| bytes.len() == 74);
        let signature = signature.context("this is not a signature of minisign, or it is damaged")?;
        match &signature[..2] {
            b"ED" => {}
            b"Ed" => bail!("this signature is of minisign's old form, without a hash; sign it again"),
            _ => bail!("this is not a signature of minisign, or it is damaged"),
        }
        let global = STANDARD.decode(global).ok().filter(|bytes| bytes.len() == 64);
        let global = global.context("this signature is damaged in its last line")?;
        let comment = comment.strip_prefix(TRUSTED).context("this signature has no trusted comment")?.to_owned();
        let id = KeyId(part(&signature, 2));
        let parsed = Signature { id, bytes: part(&signature, 10), comment, global: part(&global, 0) };
        ensure!(
            parsed.render() == text,
            "this signature was changed where nothing covers it, or mimg did not write it"
        );
        Ok(parsed)
    }
}

/// Exactly this many lines.
fn lines<const N: usize>(text: &str) -> Result<[&str; N]> {
    let lines: Vec<&str> = text.lines().collect();
    <[&str; N]>::try_from(lines).map_err(|lines| anyhow::anyhow!("it has {} lines, and {N} were wanted", lines.len()))
}

/// `N` bytes from `at` of bytes whose length was checked.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}
