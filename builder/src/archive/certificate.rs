//! An OpenPGP certificate, and which of its keys may sign at a given time.

use crate::archive::signature::{created, moment, sound};
use anyhow::{Context, Result, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag};

/// A certificate as published: a primary key, its user ids, its subkeys, and what was signed about them.
#[derive(Clone, Debug)]
pub struct Certificate(SignedPublicKey);

/// The key within a certificate that a signature names.
pub(crate) enum Signer<'a> {
    Primary(&'a PublicKey),
    Subkey(&'a SignedPublicSubKey),
}

impl Signer<'_> {
    /// Does the signature fit the bytes?
    pub(crate) fn verify(&self, signature: &Signature, bytes: &[u8]) -> Result<()> {
        match self {
            Signer::Primary(key) => signature.verify(*key, bytes)?,
            Signer::Subkey(subkey) => signature.verify(&subkey.key, bytes)?,
        }
        Ok(())
    }
}

impl Certificate {
    /// Reads all certificates of a file, armored or binary.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>> {
        let (keys, _) =
            SignedPublicKey::from_reader_many(bytes).context("reading OpenPGP certificates (armored or binary)")?;
        let keys: Vec<Self> = keys.map(|key| Ok(Certificate(key?))).collect::<Result<_>>()?;
        if keys.is_empty() {
            bail!("the key file holds no OpenPGP certificate");
        }
        Ok(keys)
    }

    /// The primary key's fingerprint in capital hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    /// The key that the signature names as its issuer, if this certificate has it.
    pub(crate) fn key_of(&self, signature: &Signature) -> Option<Signer<'_>> {
        if names(signature, &self.0.primary_key) {
            return Some(Signer::Primary(&self.0.primary_key));
        }
        self.0.public_subkeys.iter().find(|subkey| names(signature, &subkey.key)).map(Signer::Subkey)
    }

    /// Has this certificate a key that may sign now, whatever it signed before?
    pub(crate) fn check(&self, now: Timestamp) -> Result<()> {
        let own = self.primary(now, now)?;
        if own.key_flags().sign() && strong(self.0.primary_key.public_params()).is_ok() {
            return Ok(());
        }
        let mut why = None;
        for subkey in &self.0.public_subkeys {
            match self.subkey(subkey, now, now) {
                Ok(()) => return Ok(()),
                Err(error) => why = Some(error),
            }
        }
        Err(why
            .map_or_else(|| anyhow!("has no key that signs"), |why| why.context("has no key that signs: its subkey")))
    }

    /// May this key make signatures, when it made this one and now?
    pub(crate) fn may_sign(&self, signer: &Signer, signature: &Signature, now: Timestamp) -> Result<()> {
        let signed = created(signature)?;
        let own = self.primary(signed, now)?;
        match signer {
            Signer::Primary(key) => {
                strong(key.public_params())?;
                if !own.key_flags().sign() {
                    bail!("is not marked as one that signs");
                }
                Ok(())
            }
            Signer::Subkey(subkey) => self.subkey(subkey, signed, now),
        }
    }

    /// Checks the primary key and returns the newest valid signature by which it describes itself.
    fn primary(&self, signed: Timestamp, now: Timestamp) -> Result<&Signature> {
        let key = &self.0.primary_key;
        let details = &self.0.details;
        if details.revocation_signatures.iter().any(|revocation| revocation.verify_key(key).is_ok()) {
            bail!("was revoked by its owner");
        }
        let direct =
            details.direct_signatures.iter().filter(|own| own.verify_key(key).is_ok() && sound(own, now).is_ok());
        let newest_direct = direct.max_by_key(|own| own.created());
        let by_user = details.users.iter().filter_map(|user| newest_of_user(key, user, now));
        let own = by_user.max_by_key(|own| own.created()).or(newest_direct);
        let own = own.context("is described by no valid signature of its own")?;
        for said in [Some(own), newest_direct].into_iter().flatten() {
            alive(key.created_at(), said, signed, now)?;
        }
        Ok(own)
    }

    fn subkey(&self, subkey: &SignedPublicSubKey, signed: Timestamp, now: Timestamp) -> Result<()> {
        let primary = &self.0.primary_key;
        let key: &PublicSubkey = &subkey.key;
        strong(key.public_params())?;
        let of = |typ| subkey.signatures.iter().filter(move |s| s.typ() == Some(typ));
        if of(SignatureType::SubkeyRevocation).any(|s| s.verify_subkey_binding(primary, key).is_ok()) {
            bail!("was revoked by its owner");
        }
        let valid = |s: &&Signature| s.verify_subkey_binding(primary, key).is_ok() && sound(s, now).is_ok();
        let binding = of(SignatureType::SubkeyBinding).filter(valid).max_by_key(|s| s.created());
        let binding = binding.context("is not bound to its certificate")?;
        if !binding.key_flags().sign() {
            bail!("is not marked as one that signs");
        }
        let back = binding.embedded_signature().context("has not agreed to its certificate")?;
        back.verify_primary_key_binding(key, primary).context("has not agreed to its certificate")?;
        sound(back, now).context("agreed to its certificate by a signature that")?;
        alive(key.created_at(), binding, signed, now)
    }
}

/// The newest valid self-signature over a user id, unless a newer one withdraws that user id.
fn newest_of_user<'a>(key: &PublicKey, user: &'a pgp::types::SignedUser, now: Timestamp) -> Option<&'a Signature> {
    let valid = user
        .signatures
        .iter()
        .filter(|own| own.verify_certification(key, Tag::UserId, &user.id).is_ok() && sound(own, now).is_ok());
    let newest = valid.max_by_key(|own| own.created())?;
    (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
}

/// Did the key exist and not expire, both when it signed and now?
fn alive(born: pgp::types::Timestamp, said: &Signature, signed: Timestamp, now: Timestamp) -> Result<()> {
    let born = moment(born)?;
    if signed < born {
        bail!("was made on {born}, after its signature ({signed})");
    }
    let Some(life) = said.key_expiration_time().filter(|life| life.as_secs() > 0) else { return Ok(()) };
    let end = born + SignedDuration::from_secs(i64::from(life.as_secs()));
    if signed > end || now > end {
        bail!("expired on {end} (now it is {now}); is there a newer key?");
    }
    Ok(())
}

/// RSA keys are 2048 bits or more; DSA and what is unknown do not count.
fn strong(params: &PublicParams) -> Result<()> {
    match params {
        PublicParams::RSA(_) if params.write_len() < 2048 / 8 => bail!("is an RSA key of less than 2048 bits"),
        PublicParams::RSA(_)
        | PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => Ok(()),
        _ => bail!("is of a kind that is not accepted: wanted RSA, ECDSA or EdDSA"),
    }
}

/// Does the signature name this key, by the fingerprint if it gives one?
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}
