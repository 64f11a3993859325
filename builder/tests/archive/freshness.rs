//! Every way in which an InRelease is not to be believed, one to a line, with what sqv thinks of its signature. Where
//! the two differ, the line says why: sqv is asked about the signature only, and knows nothing of suites and dates.

use crate::opening::{Desk, Tiny, paragraph, version};
use crate::opinion::{second_opinion, taken_apart};
use crate::server::{Answer, Server};
use crate::signer::*;
use pgp::composed::KeyType;
use pgp::crypto::hash::HashAlgorithm::{Sha1, Sha256};
use pgp::packet::Signature;

struct Case {
    name: &'static str,
    /// The pinned key, and an InRelease made of the text of a good Release.
    made: fn(&str) -> (Signer, String),
    /// What the refusal says; empty where it is believed.
    says: &'static str,
    /// Why sqv thinks otherwise of the signature; empty where it thinks the same.
    but_sqv: &'static str,
}

const fn refused(name: &'static str, says: &'static str, made: fn(&str) -> (Signer, String)) -> Case {
    Case { name, made, says, but_sqv: "" }
}

const fn refused_by_us(
    name: &'static str,
    says: &'static str,
    but_sqv: &'static str,
    made: fn(&str) -> (Signer, String),
) -> Case {
    Case { name, made, says, but_sqv }
}

const DATES: &str = "sqv does not judge the dates of a Release";
const CONTENT: &str = "sqv does not read what is signed";
const AROUND: &str = "sqv is given the signed part alone";

const CASES: &[Case] = &[
    // The text, soundly signed.
    refused_by_us("expired Valid-Until", "it was valid until", DATES, |text| {
        resigned(&dated(text, "Valid-Until", -60))
    }),
    refused_by_us("a date in the future", "is this machine's clock right?", DATES, |text| {
        resigned(&dated(text, "Date", 3600))
    }),
    refused_by_us("no date", "the Release has no Date", CONTENT, |text| {
        resigned(&text.replace("\nDate:", "\nX-Date:"))
    }),
    refused_by_us("a Valid-Until that is no date", "reading Valid-Until \"never\"", CONTENT, |text| {
        resigned(&format!("Valid-Until: never\n{}", text.replace("\nValid-Until:", "\nX-Until:")))
    }),
    refused_by_us("another suite", "codename \"bookworm\": wanted \"trixie\"", CONTENT, |text| {
        resigned(&text.replace("Codename: trixie", "Codename: bookworm"))
    }),
    refused_by_us("weak digests of the indexes", "weaker digests are not accepted", CONTENT, |text| {
        resigned(&text.replace("\nSHA256:", "\nMD5Sum:"))
    }),
    refused_by_us("no digests of the indexes", "no SHA256 section", CONTENT, |text| {
        resigned(text.split("SHA256:").next().unwrap())
    }),
    refused_by_us(
        "a size beyond all measure",
        "with 18446744073709551615 bytes: wanted 1073741824 at most",
        CONTENT,
        |text| {
            let listed = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
                ["", digest, _, path] => format!(" {digest} {} {path}\n", u64::MAX),
                _ => format!("{line}\n"),
            };
            resigned(&text.lines().map(listed).collect::<String>())
        },
    ),
    refused_by_us("a digest that is none", "wanted 64 hexadecimal digits", CONTENT, |text| {
        resigned(&text.replace("SHA256:\n ", "SHA256:\n ../../"))
    }),
    // The signature.
    refused("unsigned", "not with a signature", |text| (Signer::sound(), text.to_owned())),
    refused("signed by another key", "is not pinned", |text| (Signer::sound(), signed(text, &Signer::sound()))),
    refused("signed by an expired key", "expired on", |text| by(Shape { life: 100 * DAY, ..SOUND }, text)),
    refused_by_us(
        "signed by a key that has expired since",
        "expired on",
        "sqv judges a key as of when it signed",
        |text| by(Shape { life: NOW - DAY / 2 - BORN, ..SOUND }, text),
    ),
    refused("signed by a revoked key", "was revoked by its owner", |text| by(Shape { revoked: true, ..SOUND }, text)),
    refused("signed by a key that is not for signing", "not marked as one that signs", |text| {
        by(Shape { signs: false, ..SOUND }, text)
    }),
    refused("signed by a subkey that did not agree", "has not agreed", |text| {
        let signer = Signer::new(SOUND, Some(Shape { agrees: false, ..SOUND }));
        let clear = clear(text, |text| vec![signer.sign_by_subkey(text, SIGNED)]);
        (signer, clear)
    }),
    refused("signed with SHA-1", "SHA-256 or stronger", |text| {
        let signer = Signer::of(KeyType::Rsa(2048), SOUND, None);
        let clear = clear(text, |text| vec![signer.sign(text, SIGNED, Sha1)]);
        (signer, clear)
    }),
    refused("signed by a subkey bound with SHA-1", "is not bound to its certificate", |text| {
        let signer = Signer::of(KeyType::Rsa(2048), SOUND, Some(Shape { hash: Sha1, ..SOUND }));
        let clear = clear(text, |text| vec![signer.sign_by_subkey(text, SIGNED)]);
        (signer, clear)
    }),
    refused("a signature that has expired", "expired on", |text| {
        sound(text, |signer, text| vec![signer.sign_for(text, SIGNED, DAY / 2)])
    }),
    refused_by_us("a signature from the future", "clock", "to sqv, whose now is the host's, it is past", |text| {
        sound(text, |signer, text| vec![signer.sign(text, NOW + DAY, Sha256)])
    }),
    refused("a signature from before its key", "after its signature", |text| {
        sound(text, |signer, text| vec![signer.sign(text, BORN - DAY, Sha256)])
    }),
    refused("a signature over another text", "does not fit the text", |text| {
        sound(text, |signer, _| vec![signer.sign("Suite: trixie", SIGNED, Sha256)])
    }),
    refused("a text that was changed", "does not fit the text", |text| {
        changed(text, |clear| clear.replace("Codename: trixie", "Codename: trixie ").replace("yes", "no"))
    }),
    refused("two signatures, none good", "does not fit the text", |text| {
        sound(text, |signer, text| vec![Signer::sound().sign(text, SIGNED, Sha256), signer.sign("", SIGNED, Sha256)])
    }),
    // Two signatures, one good: enough for both.
    refused("two signatures, one over another text", "", |text| {
        sound(text, |signer, text| vec![signer.sign("", SIGNED, Sha256), signer.sign(text, SIGNED, Sha256)])
    }),
    refused("two signatures, one by a stranger", "", |text| {
        sound(text, |signer, text| vec![Signer::sound().sign(text, SIGNED, Sha256), signer.sign(text, SIGNED, Sha256)])
    }),
    // The frame.
    refused_by_us("text before the signed part", "nothing around it", AROUND, |text| {
        changed(text, |clear| format!("Suite: forky\n{clear}"))
    }),
    refused_by_us("text behind the signed part", "not with a signature", AROUND, |text| {
        changed(text, |clear| format!("{clear}Suite: forky\n"))
    }),
    refused_by_us("two signed parts", "nothing around it", AROUND, |text| {
        changed(text, |clear| format!("{clear}{clear}"))
    }),
    refused_by_us("a header that is none of a signed text's", "nothing around it", AROUND, |text| {
        changed(text, |clear| clear.replacen("\n\n", "\nSuite: forky\n\n", 1))
    }),
    refused_by_us("a text hidden in the header by a line of blanks", "does not fit the text", AROUND, |text| {
        changed(text, |clear| clear.replacen("\n\n", "\n \t\nSuite: forky\n\n", 1))
    }),
    refused("truncated in the text", "not with a signature", |text| {
        changed(text, |clear| clear[..clear.len() / 4].into())
    }),
    refused("truncated in the signature", "not with a signature", |text| {
        changed(text, |clear| clear[..clear.find("-----END").unwrap() - 9].into())
    }),
    refused("lines taken out of the signature", "reading the signature", |text| {
        changed(text, |clear| {
            let at = clear.find("-----END").unwrap();
            clear[..at - 70].to_owned() + "\n" + &clear[at..]
        })
    }),
    refused("a signature without its text", "nothing around it", |text| {
        changed(text, |clear| clear[clear.find("-----BEGIN PGP SIGNATURE").unwrap()..].into())
    }),
    refused("a frame that is no clear-signed text's", "nothing around it", |text| {
        changed(text, |clear| clear.replace("BEGIN PGP SIGNED MESSAGE", "BEGIN PGP MESSAGE"))
    }),
    // A signature does not cover blanks at the ends of lines: nor do we read them.
    refused("blanks at the ends of lines", "", |text| changed(text, |clear| clear.replace("trixie\n", "trixie \t\n"))),
];

fn resigned(text: &str) -> (Signer, String) {
    by(SOUND, text)
}

fn by(shape: Shape, text: &str) -> (Signer, String) {
    let signer = Signer::new(shape, None);
    let clear = signed(text, &signer);
    (signer, clear)
}

fn sound(text: &str, sign: fn(&Signer, &str) -> Vec<Signature>) -> (Signer, String) {
    let signer = Signer::sound();
    let clear = clear(text, |text| sign(&signer, text));
    (signer, clear)
}

fn changed(text: &str, change: fn(&str) -> String) -> (Signer, String) {
    let (signer, clear) = resigned(text);
    (signer, change(&clear))
}

/// With a date so many seconds from now in a field.
fn dated(text: &str, field: &str, seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(i64::from(NOW) + seconds).unwrap();
    let line = |line: &str| match line.starts_with(&format!("{field}:")) {
        true => format!("{field}: {}\n", moment.strftime("%a, %d %b %Y %H:%M:%S UTC")),
        false => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn judged(case: &Case) -> Result<(), String> {
    let (mut signer, mut clear) = (None, String::new());
    let files = Tiny::new(&paragraph("a", "1.0")).served_as(|text| {
        let (key, text) = (case.made)(text);
        (signer, clear) = (Some(key), text.clone());
        text
    });
    let desk = Desk::of(signer.unwrap());
    let (signature, text) = taken_apart(&clear);
    let sqv = second_opinion(&desk.signer.armored(), &signature, &text);
    let server = Server::of_files(files);
    let opened = desk.open(&[desk.source(&server)]).map(|archive| version(&archive, "a"));
    match &opened {
        Ok(version) if case.says.is_empty() && version == "1.0" => {}
        Ok(_) => return Err(format!("it is believed, but wanted {:?}", case.says)),
        Err(error) => {
            let said = format!("{error:#}");
            for word in [case.says, &server.url("")] {
                if case.says.is_empty() || !said.contains(word) {
                    return Err(format!("wanted {word:?} in: {said}"));
                }
            }
        }
    }
    match sqv {
        Some(sqv) if (sqv == opened.is_ok()) != case.but_sqv.is_empty() => {
            Err(format!("sqv says {sqv}, we say {}; the line says {:?}", opened.is_ok(), case.but_sqv))
        }
        _ => Ok(()),
    }
}

#[test]
fn no_unfit_in_release_is_believed_and_sqv_agrees_on_its_signature() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let trials: Vec<_> = CASES.iter().map(|case| (case.name, scope.spawn(|| judged(case)))).collect();
        let ends = trials.into_iter().map(|(name, trial)| (name, trial.join().unwrap()));
        ends.filter_map(|(name, end)| Some(format!("{name}: {}", end.err()?))).collect()
    });
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

/// The signature of a replayed Release is good, sqv says so too: its date is what betrays it.
#[test]
fn a_replayed_older_release_is_not_followed() {
    let desk = Desk::new();
    let new = Tiny::new(&paragraph("a", "2.0")).served(&desk.signer);
    let old = Tiny { date: -7200, ..Tiny::new(&paragraph("a", "1.0")) }.served(&desk.signer);
    let (signature, text) = taken_apart(std::str::from_utf8(&old["/dists/trixie/InRelease"]).unwrap());
    assert_ne!(second_opinion(&desk.signer.armored(), &signature, &text), Some(false));
    let server = Server::new(move |request| {
        let files = if request.path.ends_with("InRelease") && request.before > 0 { &old } else { &new };
        files.get(&request.path).map_or(Answer::Status(404), |bytes| Answer::Bytes(bytes.clone()))
    });
    for _ in 0..2 {
        assert_eq!(version(&desk.open(&[desk.source(&server)]).unwrap(), "a"), "2.0");
    }
}
