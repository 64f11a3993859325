//! Keys and signatures of any soundness, made for a test.

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SubkeyParamsBuilder};
use pgp::composed::{DetachedSignature, SignedPublicKey, SignedPublicSubKey, SignedSecretKey};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};

/// Seconds since 1970: when keys are made, when they sign, and now.
pub const BORN: u32 = 1_735_689_600;
pub const SIGNED: u32 = BORN + 150 * DAY;
pub const NOW: u32 = BORN + 151 * DAY;
pub const DAY: u32 = 86_400;

/// What is said about a key, or about its signing subkey.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Seconds until it expires; 0 is never.
    pub life: u32,
    pub signs: bool,
    pub revoked: bool,
    pub hash: HashAlgorithm,
    /// For a subkey: does it agree to its certificate?
    pub agrees: bool,
}

pub const SOUND: Shape = Shape { life: 0, signs: true, revoked: false, hash: HashAlgorithm::Sha256, agrees: true };

/// A key with its certificate.
pub struct Signer {
    secret: SignedSecretKey,
    certificate: SignedPublicKey,
}

impl Signer {
    pub fn sound() -> Self {
        Self::new(SOUND, None)
    }

    /// A primary key, and maybe a signing subkey.
    pub fn new(shape: Shape, subkey: Option<Shape>) -> Self {
        Self::of(KeyType::ECDSA(ECCCurve::P256), shape, subkey)
    }

    /// As `new`, with keys of another type.
    pub fn of(typ: KeyType, shape: Shape, subkey: Option<Shape>) -> Self {
        let secret = generate(typ);
        let mut certificate = secret.to_public_key();
        describe(&secret, &mut certificate, shape);
        certificate.public_subkeys = subkey.map(|shape| bind(&secret, shape)).into_iter().collect();
        Signer { secret, certificate }
    }

    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.certificate.fingerprint())
    }

    pub fn armored(&self) -> String {
        self.certificate.to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// A signature over the text by the primary key.
    pub fn sign(&self, text: &str, at: u32, hash: HashAlgorithm) -> Signature {
        let config = config(&self.secret.primary_key, SignatureType::Text, hash, at, Vec::new());
        config.sign(&self.secret.primary_key, &Password::empty(), text.as_bytes()).unwrap()
    }

    /// As `sign`, expiring after `life` seconds.
    pub fn sign_for(&self, text: &str, at: u32, life: u32) -> Signature {
        let expires = SubpacketData::SignatureExpirationTime(Duration::from_secs(life));
        let key = &self.secret.primary_key;
        let config = config(key, SignatureType::Text, HashAlgorithm::Sha256, at, vec![expires]);
        config.sign(key, &Password::empty(), text.as_bytes()).unwrap()
    }

    /// A signature by the subkey.
    pub fn sign_by_subkey(&self, text: &str, at: u32) -> Signature {
        let key = &self.secret.secret_subkeys[0].key;
        let config = config(key, SignatureType::Text, HashAlgorithm::Sha512, at, Vec::new());
        config.sign(key, &Password::empty(), text.as_bytes()).unwrap()
    }
}

/// The text with its signatures, as an InRelease.
pub fn clear(text: &str, sign: impl FnOnce(&str) -> Vec<Signature>) -> String {
    let message = CleartextSignedMessage::new_many(text, |normal| Ok(sign(normal))).unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

/// The text signed soundly by one key.
pub fn signed(text: &str, signer: &Signer) -> String {
    clear(text, |text| vec![signer.sign(text, SIGNED, HashAlgorithm::Sha256)])
}

/// The first signature of an InRelease by itself, as other verifiers want it.
pub fn detached(signature: &Signature) -> String {
    DetachedSignature::new(signature.clone()).to_armored_string(ArmorOptions::default()).unwrap()
}

fn generate(typ: KeyType) -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(typ.clone())
        .can_sign(true)
        .created_at(Timestamp::from_secs(BORN))
        .build()
        .unwrap();
    let mut builder = SecretKeyParamsBuilder::default();
    builder.key_type(typ).can_certify(true).can_sign(true);
    builder.created_at(Timestamp::from_secs(BORN)).primary_user_id("Archive <archive@example.org>".into());
    builder.subkeys(vec![subkey]);
    builder.build().unwrap().generate(rand::thread_rng()).unwrap()
}

fn config(
    key: &impl SigningKey,
    typ: SignatureType,
    hash: HashAlgorithm,
    at: u32,
    more: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), hash);
    let said = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    config.hashed_subpackets = said.into_iter().chain(more).map(|data| Subpacket::regular(data).unwrap()).collect();
    // gpgv looks for this one alone.
    let issuer = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer).unwrap()];
    config
}

fn said(shape: Shape) -> Vec<SubpacketData> {
    let mut flags = KeyFlags::default();
    flags.set_sign(shape.signs);
    flags.set_certify(true);
    let life = SubpacketData::KeyExpirationTime(Duration::from_secs(shape.life));
    vec![SubpacketData::KeyFlags(flags), life]
}

/// Replaces what the key says about itself.
fn describe(secret: &SignedSecretKey, certificate: &mut SignedPublicKey, shape: Shape) {
    let key = &secret.primary_key;
    let own = config(key, SignatureType::CertPositive, shape.hash, BORN, said(shape));
    let user = &mut certificate.details.users[0];
    let public = &certificate.primary_key;
    user.signatures = vec![own.sign_certification(key, public, &Password::empty(), Tag::UserId, &user.id).unwrap()];
    if shape.revoked {
        let revocation = config(key, SignatureType::KeyRevocation, HashAlgorithm::Sha256, BORN + DAY, Vec::new());
        certificate.details.revocation_signatures = vec![revocation.sign_key(key, &Password::empty(), public).unwrap()];
    }
}

/// Binds the subkey in the given shape.
fn bind(secret: &SignedSecretKey, shape: Shape) -> SignedPublicSubKey {
    let (key, subkey) = (&secret.primary_key, &secret.secret_subkeys[0].key);
    let (public, public_subkey) = (key.public_key(), subkey.public_key());
    let none = Password::empty();
    let mut more = said(shape);
    if shape.agrees {
        let back = config(subkey, SignatureType::KeyBinding, HashAlgorithm::Sha256, BORN, Vec::new());
        let back = back.sign_primary_key_binding(subkey, public_subkey, &none, public).unwrap();
        more.push(SubpacketData::EmbeddedSignature(Box::new(back)));
    }
    let binding = config(key, SignatureType::SubkeyBinding, shape.hash, BORN, more);
    let mut signatures = vec![binding.sign_subkey_binding(key, public, &none, public_subkey).unwrap()];
    if shape.revoked {
        let revocation = config(key, SignatureType::SubkeyRevocation, HashAlgorithm::Sha256, BORN + DAY, Vec::new());
        signatures.push(revocation.sign_subkey_binding(key, public, &none, public_subkey).unwrap());
    }
    SignedPublicSubKey::new(public_subkey.clone(), signatures)
}
