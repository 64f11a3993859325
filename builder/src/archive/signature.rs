//! Whether an `InRelease` was signed by a key that we pinned.
//!
//! rPGP does the arithmetic; the rules are here: only the text that the signature covers is ever used; the key is one of
//! ours by its whole fingerprint, allowed to sign, bound to its certificate, neither expired nor revoked; hashes are
//! SHA-256 or stronger. Nothing here reads a clock: `now` is a parameter.

use crate::archive::certificate::Certificate;
use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use pgp::composed::CleartextSignedMessage;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, Subpacket, SubpacketData};
use std::time::SystemTime;

/// How far a signer's clock may be ahead of ours.
pub const SKEW: SignedDuration = SignedDuration::from_mins(10);

/// The certificates that one source trusts, each pinned by fingerprint.
#[derive(Clone, Debug)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// The keys that sign Debian 13 and its updates. builder/keys/README.md says where they are published.
    pub fn debian() -> Result<Self> {
        let automatic = include_str!("../../keys/debian-archive-trixie-automatic.asc");
        let stable = include_str!("../../keys/debian-archive-trixie-stable.asc");
        let pins = ["04B54C3CDCA79751B16BC6B5225629DF75B188BD", "41587F7DB8C774BCCF131416762F67A0B2C39DE4"];
        Self::pinned(&[automatic.as_bytes(), stable.as_bytes()], &pins)
    }

    /// The key that signs Debian 13's security updates.
    pub fn debian_security() -> Result<Self> {
        let security = include_str!("../../keys/debian-archive-trixie-security-automatic.asc");
        Self::pinned(&[security.as_bytes()], &["5E04A1E3223A19A20706E20F9904613D4CCE68C6"])
    }

    /// Reads certificates (armored or binary, several to a file) and keeps those whose primary key's fingerprint is in
    /// `pins` (hexadecimal, spaces allowed). Errors: bytes that hold no certificate, a pin that none of them matches.
    pub fn pinned(files: &[&[u8]], pins: &[&str]) -> Result<Self> {
        let mut found = Vec::new();
        for bytes in files {
            found.extend(Certificate::read(bytes)?);
        }
        let mut certificates = Vec::new();
        for pin in pins {
            let wanted: String = pin.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
            let Some(certificate) = found.iter().find(|certificate| certificate.fingerprint() == wanted) else {
                let seen: Vec<String> = found.iter().map(Certificate::fingerprint).collect();
                bail!("no key has the fingerprint {wanted}: the key file holds {}", seen.join(", "));
            };
            certificates.push(certificate.clone());
        }
        if certificates.is_empty() {
            bail!("no fingerprint is pinned: a source needs the fingerprint of each key that may sign it");
        }
        Ok(Keyring { certificates })
    }

    /// Is there a certificate among those pinned that may sign now? The error says of each why not.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let checked: Vec<Result<()>> = self.certificates.iter().map(|certificate| certificate.check(now)).collect();
        if checked.iter().any(Result::is_ok) {
            return Ok(());
        }
        let refusals = checked.into_iter().zip(&self.certificates).filter_map(|(checked, certificate)| {
            Some(format!("the key {} {:#}", certificate.fingerprint(), checked.err()?))
        });
        bail!("{}", refusals.collect::<Vec<_>>().join("; "))
    }

    /// Checks a clear-signed text and returns the part that is signed, with `\n` line ends. One valid signature by a
    /// pinned key is enough; the error says of each signature why it does not count.
    pub fn verify(&self, signed: &str, now: Timestamp) -> Result<String> {
        let (message, _) = CleartextSignedMessage::from_string(signed)
            .context("reading the signature (wanted one clear-signed text with nothing around it)")?;
        let text = message.signed_text();
        let mut refusals = Vec::new();
        for signature in message.signatures() {
            match self.judge(signature, text.as_bytes(), now) {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(refusal) => refusals.push(format!("{refusal:#}")),
            }
        }
        let pins: Vec<String> = self.certificates.iter().map(Certificate::fingerprint).collect();
        if refusals.is_empty() {
            refusals.push("it holds no signature".to_owned());
        }
        bail!("no signature by a pinned key ({}) is valid: {}", pins.join(", "), refusals.join("; "))
    }

    fn judge(&self, signature: &Signature, text: &[u8], now: Timestamp) -> Result<()> {
        let issuer = issuer(signature);
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            bail!("the signature by {issuer} is not one of a document");
        }
        sound(signature, now).with_context(|| format!("the signature by {issuer}"))?;
        for certificate in &self.certificates {
            if let Some(key) = certificate.key_of(signature) {
                // What rPGP says of it are two lines with some bytes of the hash.
                if key.verify(signature, text).is_err() {
                    bail!("the signature by {issuer} does not fit the text");
                }
                return certificate.may_sign(&key, signature, now).with_context(|| format!("the key {issuer}"));
            }
        }
        bail!("the key {issuer} is not pinned")
    }
}

/// What every signature has to be, whatever it signs: strong, dated, neither from the future nor expired, and without a
/// critical part that we do not understand.
pub(crate) fn sound(signature: &Signature, now: Timestamp) -> Result<()> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => {}
        other => bail!("uses {}: wanted SHA-256 or stronger", other.map_or("no known hash".into(), |h| h.to_string())),
    }
    let created = created(signature)?;
    if created > now + SKEW {
        bail!("was made on {created}, after now ({now}): is this machine's clock right?");
    }
    if let Some(life) = signature.signature_expiration_time().filter(|life| life.as_secs() > 0) {
        let end = created + SignedDuration::from_secs(i64::from(life.as_secs()));
        if now > end {
            bail!("expired on {end} (now it is {now})");
        }
    }
    understood(signature)
}

/// When the signature says that it was made.
pub(crate) fn created(signature: &Signature) -> Result<Timestamp> {
    moment(signature.created().context("says no date")?)
}

/// rPGP's seconds as a moment.
pub(crate) fn moment(seconds: pgp::types::Timestamp) -> Result<Timestamp> {
    Timestamp::try_from(SystemTime::from(seconds)).context("reading a date")
}

/// The issuer by the longest name that the signature gives.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|f| format!("{f:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "an unnamed key".to_owned())
}

fn understood(signature: &Signature) -> Result<()> {
    let Some(config) = signature.config() else { bail!("has a version that is not known") };
    let strange = |part: &&Subpacket| {
        part.is_critical
            && matches!(
                part.data,
                SubpacketData::Experimental(..) | SubpacketData::Other(..) | SubpacketData::Notation(_)
            )
    };
    match config.hashed_subpackets().find(strange) {
        Some(part) => bail!("has a critical part of an unknown kind ({})", part.typ().as_u8(false)),
        None => Ok(()),
    }
}
