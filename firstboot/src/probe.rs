//! What is on a device: signatures as wipefs(8) finds them, and whether its ends hold anything at all. Nothing is
//! written.

use crate::command;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use profiles::ask::{Probe, Signature};
use serde::Deserialize;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// How much is looked at of each end. Tables of partitions, RAID members, pools and volumes have their marks there.
pub(crate) const END: u64 = 1 << 20;

/// wipefs' answer with --json.
#[derive(Deserialize)]
struct Found {
    signatures: Vec<Find>,
}

#[derive(Deserialize)]
struct Find {
    offset: String,
    #[serde(rename = "type")]
    kind: String,
    uuid: Option<String>,
    label: Option<String>,
}

/// Looks at a device (or a file); `None` where there is no such device, or no medium in it.
pub async fn probe(device: &str) -> Result<Option<Probe>> {
    let Some(mut file) = open(device).with_context(|| format!("opening {device}"))? else { return Ok(None) };
    let length = file.seek(SeekFrom::End(0)).with_context(|| format!("measuring {device}"))?;
    if length == 0 {
        return Ok(None);
    }
    let blank = is_blank(&mut file, length).with_context(|| format!("reading both ends of {device}"))?;
    let argv = ["wipefs", "--no-act", "--json", "--", device].map(str::to_owned);
    let ran = command::run(&argv, command::ASK_LIMIT).await;
    if ran.rc != 0 {
        bail!("`{}` ended with {}: {}", argv.join(" "), ran.rc, ran.err.trim());
    }
    let signatures = signatures(&ran.out).with_context(|| format!("reading what wipefs says of {device}"))?;
    Ok(Some(Probe { signatures, blank }))
}

fn open(device: &str) -> Result<Option<File>> {
    let gone = [Errno::ENXIO, Errno::ENOMEDIUM, Errno::ENODEV];
    match File::open(device) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if gone.iter().any(|gone| error.raw_os_error() == Some(*gone as i32)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The first and the last MiB are zeros.
fn is_blank(file: &mut File, length: u64) -> Result<bool> {
    let mut bytes = vec![0; END.min(length) as usize];
    for start in [0, length - bytes.len() as u64] {
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn signatures(said: &str) -> Result<Vec<Signature>> {
    // It says nothing at all where it finds nothing.
    if said.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found: Found = serde_json::from_str(said)?;
    let signature = |find: Find| {
        let digits = find.offset.strip_prefix("0x").context("an offset that is no hexadecimal number")?;
        let offset = u64::from_str_radix(digits, 16).with_context(|| format!("the offset {:?}", find.offset))?;
        Ok(Signature { offset, kind: find.kind, uuid: find.uuid, label: find.label })
    };
    let mut signatures: Vec<Signature> = found.signatures.into_iter().map(signature).collect::<Result<_>>()?;
    signatures.sort();
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::process::Command;
    use tempfile::NamedTempFile;

    fn file(length: u64) -> (NamedTempFile, String) {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        (file, path)
    }

    #[tokio::test]
    async fn a_device_is_blank_when_both_its_ends_are_zeros() {
        for length in [512, END, 3 * END] {
            let (file, path) = file(length);
            assert_eq!(probe(&path).await.unwrap(), Some(Probe { signatures: vec![], blank: true }));
            file.as_file().write_all_at(b"x", length - 1).unwrap();
            assert!(!probe(&path).await.unwrap().unwrap().blank, "{length}");
        }
        let (file, path) = file(3 * END);
        file.as_file().write_all_at(b"x", END).unwrap();
        assert!(probe(&path).await.unwrap().unwrap().blank, "what is in the middle is not looked at");
    }

    #[tokio::test]
    async fn what_is_not_there_or_empty_has_no_answer() {
        assert_eq!(probe("/dev/there-is-no-such-disk").await.unwrap(), None);
        assert_eq!(probe(&file(0).1).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_system_is_found_with_its_uuid_and_label() {
        let (_file, path) = file(8 * END);
        let uuid = "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11";
        let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-U", uuid, "-L", "data", &path]).status();
        assert!(made.unwrap().success());
        let seen = probe(&path).await.unwrap().unwrap();
        let (uuid, label) = (Some(uuid.to_owned()), Some("data".to_owned()));
        assert_eq!(seen.signatures, [Signature { offset: 0x438, kind: "ext4".to_owned(), uuid, label }]);
        assert!(!seen.blank);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert!(signatures("{}").is_err());
        assert!(signatures(r#"{"signatures":[{"offset":"12","type":"gpt","uuid":null,"label":null}]}"#).is_err());
        assert_eq!(signatures("\n").unwrap(), []);
    }
}
