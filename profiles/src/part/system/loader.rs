//! What boots the system of the machine's own disk: copied from the medium, and compared with it.

use super::install::{Installation, Target};
use super::slot::Esp;
use crate::act::{Act, EspFile, Fat, Source, Step};
use crate::ask::{Leaf, Slice};
use crate::grub::{self, SIGNED};
use crate::part::disk::Kind;
use crate::plan::Verdict;
use crate::spec::Spec;
use std::collections::BTreeMap;

/// Sectors of 4096 bytes are none that a BIOS boots from.
const BIOS_SECTOR: u64 = 512;
/// Where partitions begin that the BIOS boot loader is made for, in bytes.
const BIOS_START: u64 = 1 << 20;
const BOOT_CODE: &str = "440";

impl<'a> Installation<'a> {
    /// Whether BIOSes boot from the machine's own disk, and where the medium has what they need.
    pub(super) fn bios(&self) -> Option<String> {
        let slice = self.bios_slice()?;
        (self.drive.sector == BIOS_SECTOR).then(|| format!("/dev/disk/by-partuuid/{}", slice.guid))
    }

    fn bios_slice(&self) -> Option<&Slice> {
        self.medium.table.partitions.iter().find(|slice| slice.kind == Kind::Bios.guid())
    }

    pub(super) fn core(&self) -> Result<Option<Step>, Verdict> {
        let (Some([compare, _]), Some(from)) = (self.comparisons(), self.bios()) else { return Ok(None) };
        let first = self.bios_slice().map_or(0, |slice| slice.first);
        if first * self.medium.table.sector != BIOS_START {
            return Err(Verdict::refuse(
                format!("{}, whose boot loader begins at LBA {first}", self.medium.drive),
                format!("one that begins at byte {BIOS_START}: it knows its own place"),
                "build the image again with mimg",
            ));
        }
        if self.same(&compare) {
            return Ok(None);
        }
        let to = self.layout.path(self.spec, self.layout.bios);
        let act =
            Act::run(&["dd", &format!("if={from}"), &format!("of={to}"), "bs=1M", "conv=notrunc,fsync", "status=none"]);
        Ok(Some(Step::new(act, "what a BIOS loads: the medium's own, for the same place on the disk")))
    }

    pub(super) fn boot_code(&self) -> Option<Step> {
        let [_, compare] = self.comparisons()?;
        let (from, to) = (format!("if={}", self.medium.drive.path), format!("of={}", self.drive.path));
        let count = format!("bs={BOOT_CODE}");
        let act = Act::run(&["dd", &from, &to, &count, "count=1", "conv=notrunc,fsync", "status=none"]);
        (!self.same(&compare)).then(|| Step::new(act, "a BIOS begins with these bytes; all that they need is there"))
    }

    fn same(&self, compare: &[String]) -> bool {
        let compare: Vec<&str> = compare.iter().map(String::as_str).collect();
        self.facts.ran(&compare).is_some_and(|ran| ran.rc == 0)
    }

    /// Questions whether the BIOS boot loader is in place: its core, and its boot code.
    pub(super) fn comparisons(&self) -> Option<[Vec<String>; 2]> {
        let from = self.bios()?;
        let core = self.layout.path(self.spec, self.layout.bios);
        let compare = |bytes: &str, from: &str, to: &str| {
            ["cmp", "--silent", &format!("--bytes={bytes}"), from, to].map(str::to_owned).to_vec()
        };
        let whole = BIOS_START.to_string();
        Some([compare(&whole, &from, &core), compare(BOOT_CODE, &self.medium.drive.path, &self.drive.path)])
    }

    /// What of the ESP is not as it should be, but for the boot pointer.
    pub(super) fn loader(&self, esp: &Esp) -> Option<Step> {
        let device = self.layout.path(self.spec, self.layout.esp);
        let configuration = self.layout.grub(self.spec);
        let path = format!("{}/grub.cfg", grub::FOLDER);
        let mut files: Vec<EspFile> =
            SIGNED.map(|(path, from)| EspFile { path: path.to_owned(), from: Source::File(from.to_owned()) }).into();
        files.push(EspFile { path, from: Source::Text(configuration) });
        let Esp::Ours(there) = esp else {
            files.push(EspFile { path: environment(), from: Source::Text(grub::environment(&[])) });
            let make = Some(Fat { label: "ESP".to_owned(), serial: serial(self.spec) });
            return Some(Step::new(
                Act::Esp { device, make, files },
                "what UEFI firmware starts, and GRUB's own files",
            ));
        };
        let sums = self.sums();
        let wanted = |file: &EspFile| match &file.from {
            Source::Text(text) => Some(Leaf::new(text.as_bytes()).sha256),
            Source::File(path) => sums.get(path.as_str()).map(|sum| sum.to_string()),
        };
        files.retain(|file| there.get(&file.path).map(|leaf| leaf.sha256.clone()) != wanted(file));
        let why = "the boot loader of the medium is another one";
        (!files.is_empty()).then(|| Step::new(Act::Esp { device, make: None, files }, why))
    }

    /// Digests of files of the running system, by their paths.
    fn sums(&self) -> BTreeMap<&'a str, &'a str> {
        let said = self.facts.said(&sums()).unwrap_or("");
        said.lines().filter_map(|line| line.split_once("  ")).map(|(sum, path)| (path, sum)).collect()
    }

    pub(super) fn point_at(&self, target: &Target, now: &str) -> Step {
        let text = grub::environment(&[("slot", &target.slot.name), ("boot", now)]);
        let marker = "A system is installed on this disk: media of mimg hand over to it.\n";
        let files = vec![
            EspFile { path: environment(), from: Source::Text(text) },
            EspFile { path: grub::MARKER.to_owned(), from: Source::Text(marker.to_owned()) },
        ];
        let act = Act::Esp { device: self.layout.path(self.spec, self.layout.esp), make: None, files };
        Step::new(act, format!("all is in place: from now on {} is booted", target.slot.name))
    }
}

fn environment() -> String {
    format!("{}/grubenv", grub::FOLDER)
}

/// The serial number of the ESP's file system.
pub(super) fn serial(spec: &Spec) -> u32 {
    spec.uuid("esp/serial").as_fields().0
}

/// The question for digests of what goes to the ESP.
pub(super) fn sums() -> Vec<&'static str> {
    ["sha256sum", "--"].into_iter().chain(SIGNED.map(|(_, path)| path)).collect()
}
