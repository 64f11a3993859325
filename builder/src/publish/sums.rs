//! The digests of all files of one image, as `sha256sum -c` reads them. One list for each image: what a list says is
//! what its build wrote, so that signing it never vouches for somebody else's file in the same folder.

use crate::archive::cache::is_sha256;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// File names and their SHA-256, in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<String, String>);

impl Sums {
    pub fn render(&self) -> String {
        self.0.iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
    }

    /// Reads exactly what `render` writes. Names are of files in the same folder.
    pub fn parse(text: &str) -> Result<Sums> {
        let line = |(number, line): (usize, &str)| {
            let read = line.split_once("  ").filter(|(sha256, name)| is_sha256(sha256) && is_name(name));
            let (sha256, name) = read.with_context(|| format!("line {} is not `SHA256  NAME`", number + 1))?;
            Ok((name.to_owned(), sha256.to_owned()))
        };
        let sums = Sums(text.lines().enumerate().map(line).collect::<Result<_>>()?);
        ensure!(sums.render() == text, "its lines are not in order, or it was changed");
        Ok(sums)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

/// Size and SHA-256 of what is read to its end.
pub fn digest(mut from: impl Read) -> Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hex::encode(hash.finalize()))),
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Digests what is written through it.
pub struct Digesting<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Digesting<W> {
    pub fn new(out: W) -> Self {
        Digesting { out, hash: Sha256::new(), size: 0 }
    }

    /// Size and SHA-256 of what went through.
    pub fn finish(self) -> (u64, String) {
        (self.size, hex::encode(self.hash.finalize()))
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let sums = Sums(BTreeMap::from([("b.img".to_owned(), "0".repeat(64)), ("a".to_owned(), "f".repeat(64))]));
        assert_eq!(Sums::parse(&sums.render()).expect("its own text"), sums);
        let zeros = "0".repeat(64);
        for bad in [
            format!("{zeros}  ../b.img\n"),
            format!("{zeros}  /etc/passwd\n"),
            format!("{zeros}  ..\n"),
            format!("{zeros} *b.img\n"),
            format!("{}  b.img\n", "0".repeat(63)),
            format!("{}  b.img\n", "F".repeat(64)),
            format!("{zeros}  b.img"),
            format!("{zeros}  b.img\r\n"),
            format!("{zeros}  b.img\n{zeros}  a.img\n"),
            format!("{zeros}  b.img\n{zeros}  b.img\n"),
        ] {
            assert!(Sums::parse(&bad).is_err(), "{bad:?} was taken");
        }
    }
}
