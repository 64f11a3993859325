//! Which signed texts are believed. Where sqv is installed, it has to come to the same verdict on each signature.

use crate::opinion::second_opinion;
use crate::signer::*;
use builder::archive::signature::Keyring;
use jiff::Timestamp;
use pgp::composed::KeyType;
use pgp::crypto::hash::HashAlgorithm::{Sha1, Sha256};
use pgp::packet::Signature;

const TEXT: &str = "Suite: trixie\n- a line that needs escaping\nDate: x\nend";

fn keyring(signer: &Signer) -> Keyring {
    Keyring::pinned(&[signer.armored().as_bytes()], &[&signer.fingerprint()]).unwrap()
}

fn at(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap()
}

fn refusal(signer: &Signer, signed: &str) -> String {
    format!("{:#}", keyring(signer).verify(signed, at(NOW)).unwrap_err())
}

/// Does sqv believe this signature by this key? `None` where it is not installed.
fn sqv(signer: &Signer, text: &str, signature: &Signature) -> Option<bool> {
    second_opinion(&signer.armored(), &detached(signature), text)
}

/// A text signed once, checked by us and by sqv: both refuse, and we say why.
fn both_refuse(signer: &Signer, sign: impl Fn(&str) -> Signature, why: &str) {
    let refusal = refusal(signer, &clear(TEXT, |text| vec![sign(text)]));
    assert!(refusal.contains(why), "wanted {why:?} in: {refusal}");
    let normal = TEXT.replace('\n', "\r\n");
    assert_ne!(sqv(signer, &normal, &sign(&normal)), Some(true), "sqv believes what we refuse: {refusal}");
}

#[test]
fn a_sound_signature_yields_the_text_and_nothing_else() {
    let signer = Signer::sound();
    let text = keyring(&signer).verify(&signed(TEXT, &signer), at(NOW)).unwrap();
    assert_eq!(text, TEXT);
    let normal = text.replace('\n', "\r\n");
    assert_ne!(sqv(&signer, &normal, &signer.sign(&normal, SIGNED, Sha256)), Some(false));
}

#[test]
fn a_bound_signing_subkey_may_sign() {
    let signer = Signer::new(SOUND, Some(SOUND));
    let signed = clear(TEXT, |text| vec![signer.sign_by_subkey(text, SIGNED)]);
    keyring(&signer).verify(&signed, at(NOW)).unwrap();
}

#[test]
fn one_pinned_signature_among_unknown_ones_is_enough() {
    let (known, unknown) = (Signer::sound(), Signer::sound());
    let both = |text: &str| vec![unknown.sign(text, SIGNED, Sha256), known.sign(text, SIGNED, Sha256)];
    keyring(&known).verify(&clear(TEXT, both), at(NOW)).unwrap();
}

#[test]
fn an_unknown_key_is_named() {
    let (known, unknown) = (Signer::sound(), Signer::sound());
    let refusal = refusal(&known, &signed(TEXT, &unknown));
    assert!(refusal.contains(&format!("{} is not pinned", unknown.fingerprint())), "{refusal}");
    assert!(refusal.contains(&known.fingerprint()), "{refusal}");
}

#[test]
fn a_key_that_is_not_pinned_does_not_count_even_if_its_file_is_given() {
    let (pinned, other) = (Signer::sound(), Signer::sound());
    let files = [pinned.armored(), other.armored()];
    let files: Vec<&[u8]> = files.iter().map(|file| file.as_bytes()).collect();
    let keyring = Keyring::pinned(&files, &[&pinned.fingerprint()]).unwrap();
    assert!(keyring.verify(&signed(TEXT, &other), at(NOW)).is_err());
    let error = Keyring::pinned(&files, &[&Signer::sound().fingerprint()]).unwrap_err().to_string();
    assert!(error.contains(&other.fingerprint()), "{error}");
}

#[test]
fn an_unsigned_text_is_refused() {
    let refusal = refusal(&Signer::sound(), TEXT);
    assert!(refusal.contains("wanted one clear-signed text"), "{refusal}");
}

#[test]
fn a_changed_text_is_refused() {
    let signer = Signer::sound();
    let refusal = refusal(&signer, &signed(TEXT, &signer).replace("trixie", "forky"));
    assert!(refusal.contains("does not fit the text"), "{refusal}");
}

#[test]
fn text_outside_of_the_signed_part_is_refused() {
    let signer = Signer::sound();
    let signed = signed(TEXT, &signer);
    for around in [format!("Suite: forky\n{signed}"), format!("{signed}Suite: forky\n"), format!("{signed}{signed}")] {
        assert!(keyring(&signer).verify(&around, at(NOW)).is_err(), "{around}");
    }
    let inside = signed.replacen("\n\n", "\nSuite: forky\n\n", 1);
    assert!(keyring(&signer).verify(&inside, at(NOW)).is_err(), "a header that is not Hash: {inside}");
}

#[test]
fn a_signed_text_cut_anywhere_is_refused() {
    let signer = Signer::sound();
    let signed = signed(TEXT, &signer);
    let end = signed.find("-----END").unwrap();
    for length in (0..end).step_by(7) {
        assert!(keyring(&signer).verify(&signed[..length], at(NOW)).is_err(), "{length} bytes");
    }
}

#[test]
fn weak_hashes_are_refused() {
    // Only RSA keys still agree to make such signatures.
    let signer = Signer::of(KeyType::Rsa(2048), SOUND, Some(Shape { hash: Sha1, ..SOUND }));
    both_refuse(&signer, |text| signer.sign(text, SIGNED, Sha1), "SHA-256 or stronger");
    both_refuse(&signer, |text| signer.sign_by_subkey(text, SIGNED), "is not bound to its certificate");
    keyring(&signer).verify(&signed(TEXT, &signer), at(NOW)).unwrap();
}

#[test]
fn an_expired_key_does_not_count() {
    let expired = Shape { life: 100 * DAY, ..SOUND };
    let signer = Signer::new(expired, None);
    both_refuse(&signer, |text| signer.sign(text, SIGNED, Sha256), "expired on");
    let signer = Signer::new(SOUND, Some(expired));
    both_refuse(&signer, |text| signer.sign_by_subkey(text, SIGNED), "expired on");
}

#[test]
fn a_key_that_expired_after_it_signed_does_not_count_either() {
    let signer = Signer::new(Shape { life: NOW - DAY / 2 - BORN, ..SOUND }, None);
    let refusal = refusal(&signer, &signed(TEXT, &signer));
    assert!(refusal.contains("expired on"), "{refusal}");
}

#[test]
fn an_expired_signature_does_not_count() {
    let signer = Signer::sound();
    both_refuse(&signer, |text| signer.sign_for(text, SIGNED, DAY / 2), "expired on");
}

#[test]
fn revoked_keys_do_not_count() {
    let revoked = Shape { revoked: true, ..SOUND };
    let signer = Signer::new(revoked, None);
    both_refuse(&signer, |text| signer.sign(text, SIGNED, Sha256), "revoked");
    let signer = Signer::new(SOUND, Some(revoked));
    both_refuse(&signer, |text| signer.sign_by_subkey(text, SIGNED), "revoked");
}

#[test]
fn keys_that_are_not_for_signing_do_not_count() {
    let idle = Shape { signs: false, ..SOUND };
    let signer = Signer::new(idle, None);
    both_refuse(&signer, |text| signer.sign(text, SIGNED, Sha256), "not marked as one that signs");
    let signer = Signer::new(SOUND, Some(idle));
    both_refuse(&signer, |text| signer.sign_by_subkey(text, SIGNED), "not marked as one that signs");
}

#[test]
fn a_subkey_has_to_agree_to_its_certificate() {
    let signer = Signer::new(SOUND, Some(Shape { agrees: false, ..SOUND }));
    both_refuse(&signer, |text| signer.sign_by_subkey(text, SIGNED), "has not agreed");
}

#[test]
fn signatures_from_the_future_or_before_the_key_are_refused() {
    let signer = Signer::sound();
    let future = clear(TEXT, |text| vec![signer.sign(text, NOW + DAY, Sha256)]);
    assert!(refusal(&signer, &future).contains("clock"));
    both_refuse(&signer, |text| signer.sign(text, BORN - DAY, Sha256), "after its signature");
}

#[test]
fn the_keys_of_debian_are_the_pinned_ones() {
    Keyring::debian().unwrap();
    Keyring::debian_security().unwrap();
}
