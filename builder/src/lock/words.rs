//! The words of a lock's lines.

use crate::archive::cache::is_sha256;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Is it a package's name, as Debian Policy 5.6.7 has it?
pub fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    first && name.len() >= 2 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// A SHA-256 as it stands.
pub fn digest(text: &str) -> Result<String, String> {
    is_sha256(text)
        .then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is no SHA-256: those have 64 digits of 0-9 and a-f"))
}

const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// A date as archives of snapshots write it in their addresses.
pub fn stamp(date: Timestamp) -> String {
    date.strftime(STAMP).to_string()
}

/// The date behind a stamp.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let civil = DateTime::strptime(STAMP, text).map_err(|_| format!("{text:?} is no date"))?;
    civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| format!("{text:?} is no date"))
}

/// A text as one word: what would part it is written as in addresses.
pub fn word(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !['%', ','].contains(&c);
    let mut word = String::new();
    for c in text.chars() {
        match plain(c) {
            true => word.push(c),
            false => c.to_string().bytes().for_each(|byte| word += &format!("%{byte:02X}")),
        }
    }
    word
}

/// The text behind a word.
pub fn unword(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((plain, coded)) = rest.split_once('%') {
        bytes.extend(plain.bytes());
        let code = coded.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(b'%'));
        rest = if code.is_some() { &coded[2..] } else { coded };
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_alike() {
        for text in ["docker:bookworm", "my repo", "100 %", "a,b", "höher", "", "a%20b", "%zz"] {
            assert_eq!(unword(&word(text)), text);
            assert!(!word(text).contains([' ', ',']), "{text:?}");
        }
    }

    #[test]
    fn stamps_are_read_and_written_alike() {
        let date: Timestamp = "2026-09-12T07:55:41Z".parse().unwrap();
        assert_eq!(stamp(date), "20260912T075541Z");
        assert_eq!(moment("20260912T075541Z").unwrap(), date);
        for wrong in ["", "2026-09-12", "20261312T075541Z", "20260912T075541"] {
            assert!(moment(wrong).is_err(), "{wrong:?}");
        }
    }
}
