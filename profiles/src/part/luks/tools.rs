//! What cryptsetup and its kin are asked, and what they do.

use super::Luks;
use crate::act::{Act, Step};
use crate::facts::Facts;
use crate::ground::size_of;
use crate::plan::Verdict;
use crate::spec::Spec;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the header takes of a device: the usual size.
pub(super) const HEADER: u64 = 16 << 20;
const SECTOR: u64 = 512;
pub(super) const TPMS: [&str; 2] = ["systemd-cryptenroll", "--tpm2-device=list"];

impl Luks {
    pub(super) fn stat(&self) -> [&str; 4] {
        ["stat", "--format=%F", "--", &self.key]
    }

    pub(super) fn info(&self) -> [&str; 7] {
        ["dmsetup", "info", "--columns", "--noheadings", "--options=uuid", "--", &self.name]
    }

    pub(super) fn trial(&self, spec: &Spec) -> Vec<String> {
        ["cryptsetup", "open", "--test-passphrase", "--key-file", &self.key, &self.below(spec)]
            .map(str::to_owned)
            .to_vec()
    }

    pub(super) fn header(&self, spec: &Spec) -> Vec<String> {
        ["cryptsetup", "luksDump", "--dump-json-metadata", &self.below(spec)].map(str::to_owned).to_vec()
    }

    pub(super) fn fits(&self, spec: &Spec, facts: &Facts) -> Option<bool> {
        match facts.ran(&self.trial(spec))?.rc {
            0 => Some(true),
            // No key slot opens with it.
            2 => Some(false),
            _ => None,
        }
    }

    pub(super) fn format(&self, spec: &Spec, why: &str) -> Step {
        let (uuid, offset) = (self.draft(spec).to_string(), (HEADER / SECTOR).to_string());
        let below = self.below(spec);
        let argv = [
            "cryptsetup",
            "luksFormat",
            "--batch-mode",
            "--type",
            "luks2",
            "--offset",
            &offset,
            "--uuid",
            &uuid,
            "--key-file",
            &self.key,
            &below,
        ];
        Step::new(Act::run(&argv), why)
    }

    pub(super) fn settle(&self, spec: &Spec) -> Step {
        let (uuid, below) = (self.uuid(spec).to_string(), self.below(spec));
        Step::new(Act::run(&["cryptsetup", "luksUUID", "--batch-mode", "--uuid", &uuid, &below]), "the key opens it")
    }

    pub(super) fn enroll(&self, spec: &Spec) -> Step {
        let (key, below) = (format!("--unlock-key-file={}", self.key), self.below(spec));
        Step::new(
            Act::run(&["systemd-cryptenroll", &key, "--tpm2-device=auto", &below]),
            "the TPM does not open it yet",
        )
    }

    /// The header has a token of the TPM.
    pub(super) fn is_enrolled(&self, spec: &Spec, facts: &Facts) -> Option<bool> {
        #[derive(Deserialize)]
        struct Header {
            tokens: BTreeMap<String, Token>,
        }
        #[derive(Deserialize)]
        struct Token {
            #[serde(rename = "type")]
            kind: String,
        }
        let header: Header = serde_json::from_str(facts.said(&self.header(spec))?).ok()?;
        Some(header.tokens.values().any(|token| token.kind == "systemd-tpm2"))
    }

    /// What it is on has grown since it was opened, or will: nothing above it grows before this is done.
    pub(super) fn resize(&self, spec: &Spec, facts: &Facts) -> Vec<Step> {
        let sizes = (size_of(&self.below(spec), facts), size_of(&self.path(), facts));
        let (Some(below), Some(open)) = sizes else { return Vec::new() };
        let below = below.max(spec.least(&self.device).map_or(0, |size| size.0));
        if below < open + HEADER + (1 << 20) {
            return Vec::new();
        }
        let argv = ["cryptsetup", "resize", "--key-file", &self.key, &self.name];
        vec![Step::new(Act::run(&argv), format!("{} has {below} bytes, and {open} of them in use", self.device))]
    }

    pub(super) fn no_key(&self, facts: &Facts) -> Option<Verdict> {
        let saw = match facts.said(&self.stat()) {
            Some("regular file") => return None,
            Some("regular empty file") => format!("nothing in {}", self.key),
            _ => format!("no file {}", self.key),
        };
        let cure = "put it there, readable by root alone, or name another file in [[luks]]";
        Some(Verdict::refuse(saw, format!("the key of luks {}", self.name), cure))
    }

    pub(super) fn misfit(&self) -> Verdict {
        Verdict::refuse(
            format!("a key in {} that does not open {}", self.key, self.device),
            format!("the key that luks {} was made with", self.name),
            format!("put the right key into {}; see `cryptsetup luksDump` for the slots that it may be in", self.key),
        )
    }

    pub(super) fn no_tpm(&self, facts: &Facts) -> Option<Verdict> {
        let there = facts.said(&TPMS).is_some_and(|said| said.contains("/dev/tpmrm"));
        (!there).then(|| {
            let wanted = format!("one that opens luks {} at boot", self.name);
            Verdict::refuse("no TPM 2.0", wanted, "switch it on in the firmware's setup, or take tpm2 out of [[luks]]")
        })
    }
}
