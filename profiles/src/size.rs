//! Sizes as people write them: "512M", "8G". Multiples of 1024, as LVM and systemd count.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(inline, title = "size", extend("examples" = ["512M", "8G"]))]
pub struct Size(#[schemars(with = "String", regex(pattern = r"^[0-9]+[KMGT]?$"))] pub u64);

const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

impl Size {
    /// Reads "512M", "8G", "1048576". Fractions and other units are refused.
    pub fn parse(text: &str) -> Result<Size, String> {
        let split = UNITS.iter().find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, *unit)));
        let (digits, unit) = split.unwrap_or((text, 1));
        // "+8" is a number to Rust, and nobody's size.
        let number = digits.starts_with(|c: char| c.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        let number = number.ok_or_else(|| format!("{text:?} is not a size; write one as \"512M\" or \"8G\""))?;
        number.checked_mul(unit).map(Size).ok_or_else(|| format!("{text:?} is more than 16 EiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((letter, unit)) => write!(out, "{}{letter}", self.0 / unit),
            None => write!(out, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Size::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["0", "1023", "1K", "512M", "8G", "3T", "1025K"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Size::parse("8192M").unwrap().to_string(), "8G");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "1.5G", "8g", "8GB", "8GG", "+8G", "-1", "99999999999999999999", "99999999T"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
