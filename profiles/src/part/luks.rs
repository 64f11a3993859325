//! `[[luks]]`: encrypted devices.
//!
//! ```text
//! empty device --luksFormat--> header with the UUID of a new one --the key opens it--> header with our UUID
//! header with our UUID --crypttab, systemd-cryptsetup@.service--> open, at every boot
//! ```
//! The key itself is never read here: whether it fits is asked of cryptsetup.

mod tools;

use super::Part;
use crate::act::{Act, Step, Verb};
use crate::ask::{Ask, Probe};
use crate::device::{Device, NAME, Use, is_name};
use crate::facts::Facts;
use crate::file::File;
use crate::ground::{Ground, Place, size_ask};
use crate::part::disk::Kind;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tools::{HEADER, TPMS};
use uuid::Uuid;

const CRYPTTAB: &str = "/etc/crypttab";
/// What libblkid calls an encrypted device.
const MEMBER: &str = "crypto_LUKS";

/// A device that is encrypted with LUKS2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Luks {
    /// What it is called in device names such as `luks:crypt`, and below /dev/mapper.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// What holds the encrypted data.
    pub device: Device,
    /// The key: the absolute path of a file on the machine, all bytes of which are the key.
    #[schemars(title = "path", regex(pattern = r"^(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)+$"))]
    pub key: String,
    /// The machine's TPM 2.0 opens it at boot. The key file is needed to make it, and where the TPM does not answer as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm2: Option<bool>,
}

/// What is on the device.
enum Content {
    Empty,
    /// A header of ours, and perhaps no key in it yet.
    Draft,
    Ours,
    Foreign,
}

impl Luks {
    fn path(&self) -> String {
        format!("/dev/mapper/{}", self.name)
    }

    fn uuid(&self, spec: &Spec) -> Uuid {
        spec.uuid(&format!("luks/{}", self.name))
    }

    fn draft(&self, spec: &Spec) -> Uuid {
        spec.uuid(&format!("luks/{}/new", self.name))
    }

    fn below(&self, spec: &Spec) -> String {
        spec.devices(&self.device).into_iter().next().unwrap_or_default()
    }

    fn has_tpm(&self) -> bool {
        self.tpm2.unwrap_or(false)
    }

    fn unit(&self) -> String {
        format!("systemd-cryptsetup@{}.service", super::unit::escaped(&self.name))
    }

    /// One file for all: every [[luks]] wants it the same.
    fn crypttab(spec: &Spec) -> File {
        let line = |luks: &Luks| {
            let (key, options) = match luks.has_tpm() {
                true => ("-", "luks,nofail,tpm2-device=auto,headless=true"),
                false => (luks.key.as_str(), "luks,nofail"),
            };
            format!("{} {} {key} {options}\n", luks.name, luks.below(spec))
        };
        let lines: String = spec.settings.luks.iter().map(line).collect();
        File::new(CRYPTTAB, format!("# Written by mimg from [[luks]].\n{lines}"))
    }

    fn content(&self, spec: &Spec, probe: &Probe) -> Content {
        // The header's copy behind it may lag by one write.
        let uuid = probe.find(MEMBER).and_then(|found| found.uuid.as_ref()).and_then(|uuid| Uuid::parse_str(uuid).ok());
        match uuid {
            Some(uuid) if uuid == self.uuid(spec) => Content::Ours,
            Some(uuid) if uuid == self.draft(spec) => Content::Draft,
            None if probe.is_empty() => Content::Empty,
            _ => Content::Foreign,
        }
    }

    fn foreign(&self, spec: &Spec, place: &Place, probe: &Probe) -> Verdict {
        place.foreign(probe, format!("a device with nothing on it, or luks {} ({})", self.name, self.uuid(spec)))
    }

    /// What is open under its name, as the device mapper calls it.
    fn mapping(&self, spec: &Spec) -> String {
        format!("CRYPT-LUKS2-{}-{}", self.uuid(spec).simple(), self.name)
    }

    /// What is left once the device carries our UUID.
    fn plan_ours(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let mut steps = Vec::new();
        if self.has_tpm() {
            match self.is_enrolled(spec, facts) {
                None => {
                    return Verdict::Wait(format!(
                        "the header of {} cannot be read; see `firstboot facts`",
                        self.device
                    ));
                }
                Some(true) => {}
                Some(false) => match self.no_tpm(facts) {
                    Some(refusal) => return refusal,
                    None => steps.push(self.enroll(spec)),
                },
            }
        }
        let unit = self.unit();
        for file in super::differing(&[Self::crypttab(spec)], facts) {
            steps.push(Step::new(Act::Put(file), "so that it is opened at every boot"));
        }
        let loaded = facts.unit(&unit).is_some_and(|unit| unit.load == "loaded" && !unit.stale);
        if !steps.is_empty() || !loaded {
            steps.push(Step::new(Act::unit(&unit, Verb::Reload), "its line in crypttab is new"));
        }
        super::before(steps, self.plan_open(spec, facts))
    }

    fn plan_open(&self, spec: &Spec, facts: &Facts) -> Verdict {
        match facts.ran(&self.info()) {
            None => Verdict::Wait("dmsetup does not answer; see `firstboot facts`".to_owned()),
            Some(ran) if ran.rc != 0 => self.open(spec, facts),
            Some(ran) if ran.out.trim() == self.mapping(spec) => Verdict::from_steps(self.resize(spec, facts)),
            Some(ran) => Verdict::refuse(
                format!("{} as {}", ran.out.trim(), self.path()),
                format!("luks {} with the UUID {}", self.name, self.uuid(spec)),
                format!("`dmsetup remove {}`, or choose another name in [[luks]]", self.name),
            ),
        }
    }

    fn open(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let unit = self.unit();
        if let Some(wait) = super::unit::busy(&unit, facts) {
            return wait;
        }
        let fits = self.fits(spec, facts);
        if let Some(refusal) = self.no_key(facts).or_else(|| (fits == Some(false)).then(|| self.misfit())) {
            // Without a key the TPM alone may do.
            let failed = facts.unit(&unit).is_some_and(|unit| unit.active == "failed");
            if !self.has_tpm() || failed {
                return refusal;
            }
        }
        let (path, below) = (self.path(), self.below(spec));
        match facts.unit(&unit).map(|unit| unit.active.as_str()) {
            Some("failed") if fits == Some(true) => {
                let argv = ["cryptsetup", "open", "--key-file", &self.key, &below, &self.name];
                Verdict::Do(vec![Step::new(Act::run(&argv), format!("{unit} failed, and the key opens it"))])
            }
            Some("activating" | "deactivating") => Verdict::Wait(format!("{unit} is at it")),
            _ => Verdict::Do(vec![Step::new(Act::unit(&unit, Verb::Start), format!("{path} is not open"))]),
        }
    }

    /// All that is left for a device with nothing on it.
    fn create(&self, spec: &Spec, facts: &Facts, why: &str) -> Verdict {
        if let Some(refusal) = self.no_key(facts) {
            return refusal;
        }
        let mut steps = vec![self.format(spec, why), self.settle(spec)];
        if self.has_tpm() {
            if let Some(refusal) = self.no_tpm(facts) {
                return refusal;
            }
            steps.push(self.enroll(spec));
        }
        for file in super::differing(&[Self::crypttab(spec)], facts) {
            steps.push(Step::new(Act::Put(file), "so that it is opened at every boot"));
        }
        let unit = self.unit();
        steps.push(Step::new(Act::unit(&unit, Verb::Reload), "its line in crypttab is new"));
        steps.push(Step::new(Act::unit(&unit, Verb::Start), format!("{} is not open", self.path())));
        Verdict::Do(steps)
    }
}

impl Part for Luks {
    fn name(&self) -> String {
        format!("luks {}", self.name)
    }

    fn about(&self) -> String {
        if self.tpm2 == Some(true) { "LUKS2, opened by the TPM" } else { "LUKS2" }.to_owned()
    }

    fn uses(&self) -> Vec<Use> {
        vec![Use::new(&self.device, &["luks", &self.name, "device"])]
    }

    fn offers(&self) -> Vec<Device> {
        vec![Device::Luks(self.name.clone())]
    }

    fn least(&self, _: &Device, _: &Spec, below: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        Some(Size(below(&self.device)?.0.checked_sub(HEADER)?))
    }

    fn makes(&self, _: &Device, spec: &Spec, facts: &Facts) -> bool {
        spec.places([&self.device], facts).iter().all(|place| match place.ground {
            Ground::ToCome => true,
            Ground::There(probe) => matches!(self.content(spec, probe), Content::Empty | Content::Draft),
            Ground::Unknown | Ground::Closed => false,
        })
    }

    fn packages(&self) -> Vec<&'static str> {
        let mut packages = vec!["cryptsetup-bin", "dmsetup", "systemd-cryptsetup"];
        if self.has_tpm() {
            packages.extend(["libtss2-esys-3.0.2-0t64", "libtss2-rc0t64", "libtss2-tcti-device0t64"]);
        }
        packages
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !is_name(&self.name) {
            let saw = format!("{:?}", self.name);
            findings.push(Finding::new(&["luks", &self.name, "name"], saw, NAME, "write another name"));
        }
        let plain = |name: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
            !name.is_empty() && !name.starts_with('.') && name.chars().all(known)
        };
        if !self.key.strip_prefix('/').is_some_and(|path| path.split('/').all(plain)) {
            let wanted = "the absolute path of a file on the machine, without blanks";
            let cure = "write \"/etc/mimg/keys/NAME\", and put the key there";
            findings.push(Finding::new(&["luks", &self.name, "key"], format!("{:?}", self.key), wanted, cure));
        }
        let keys = ["luks", self.name.as_str(), "device"];
        findings.extend(spec.several(&keys, &self.device));
        findings.extend(spec.misfit(&keys, &self.device, Kind::Luks));
        findings
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let mut asks = spec.place_asks([&self.device], facts);
        asks.extend([Ask::File(CRYPTTAB.to_owned()), Ask::Unit(self.unit())]);
        asks.extend([Ask::run(&self.stat()), Ask::run(&self.info())]);
        if self.has_tpm() {
            asks.push(Ask::run(&TPMS));
        }
        let Some(Ground::There(probe)) = spec.places([&self.device], facts).first().map(|place| place.ground) else {
            return asks;
        };
        let open = facts.ran(&self.info()).map(|ran| ran.rc == 0);
        match self.content(spec, probe) {
            Content::Ours if open.is_none() => {}
            Content::Ours if open == Some(true) => {
                asks.extend([&self.below(spec), &self.path()].map(|path| size_ask(path)))
            }
            // It takes seconds of computing: only asked where it decides something.
            Content::Ours | Content::Draft => asks.push(Ask::Run(self.trial(spec))),
            Content::Empty | Content::Foreign => {}
        }
        if self.has_tpm() && matches!(self.content(spec, probe), Content::Ours) {
            asks.push(Ask::Run(self.header(spec)));
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        if let Some(wait) = super::of_nobody(spec) {
            return wait;
        }
        let places = spec.places([&self.device], facts);
        let Some(place) = places.first() else { return Verdict::Wait(format!("there is no {}", self.device)) };
        if let Some(wait) = place.wait() {
            return wait;
        }
        let Ground::There(probe) = place.ground else { return self.create(spec, facts, "it is not there yet") };
        match self.content(spec, probe) {
            Content::Empty => self.create(spec, facts, "nothing is on it"),
            Content::Foreign => self.foreign(spec, place, probe),
            Content::Ours => self.plan_ours(spec, facts),
            Content::Draft => match self.fits(spec, facts) {
                Some(true) => Verdict::Do(vec![self.settle(spec)]),
                Some(false) => self.create(spec, facts, "making it was cut off"),
                None => self.no_key(facts).unwrap_or_else(|| {
                    Verdict::Wait(format!(
                        "cryptsetup does not tell whether the key opens {}; see `firstboot facts`",
                        self.device
                    ))
                }),
            },
        }
    }
}
