//! From a medium to the machine's own disk.
//!
//! ```text
//! copy to the idle slot, read it back, give it its UUID      nothing new boots
//! core.img, then the ESP as a whole                          UEFI boots that disk
//! boot code                                                  BIOS boots that disk
//! boot pointer and marker                                    that slot is booted; media hand over to it
//! restart
//! ```
//! A cut leaves each of them done or to be done again. Whatever boots in between is a system that is whole.

use super::System;
use super::layout::Layout;
use super::loader::serial;
use super::place::{Medium, Where};
use super::slot::{Esp, Seen, Slots};
use crate::act::{Act, Install, Kept, Step};
use crate::facts::Facts;
use crate::file::File;
use crate::fstab::fstab;
use crate::grub;
use crate::inventory::{self, Drive};
use crate::part::disk::Partition;
use crate::plan::Verdict;
use crate::spec::Spec;

/// The digest of what the running image was built from.
pub(super) const IMAGE: &str = "/usr/share/mimg/image";
pub(super) const FSTAB: &str = "/etc/fstab";
pub(super) const COMMAND_LINE: &str = "/proc/cmdline";
pub(super) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
pub(super) const STATE: [&str; 2] = ["systemctl", "is-system-running"];
/// What a file system in a slot is: the path of which its UUID is made.
pub(super) const NAME: &str = "/usr/share/mimg/slot";
pub(super) const MACHINE_ID: &str = "/etc/machine-id";

/// What belongs to the medium alone, or to one boot of it.
const LEFT_OUT: [&str; 14] = [
    "/lost+found",
    "/swapfile",
    "/etc/machine-id",
    "/etc/ssh/ssh_host_*",
    "/run/*",
    "/tmp/*",
    "/var/cache/apt/**",
    "/var/lib/dbus/machine-id",
    "/var/lib/mimg/report.json",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/log/journal/*",
    "/var/log/**",
    "/var/tmp/*",
];

/// The machine's identity, which outlives its system.
const KEPT: [&str; 4] =
    ["/etc/machine-id", "/etc/ssh/ssh_host_*", "/var/lib/mimg/*", "/var/lib/systemd/credential.secret"];
/// The medium's own Spec counts, and reports are of one system.
const NOT_KEPT: [&str; 2] = ["/var/lib/mimg/spec.json", "/var/lib/mimg/report.json"];

/// All that a plan is made from.
pub(super) struct Installation<'a> {
    pub spec: &'a Spec,
    pub facts: &'a Facts,
    pub layout: Layout<'a>,
    pub medium: Medium,
    /// The machine's own disk.
    pub drive: Drive,
}

/// A slot to be written or booted, and the path of which its UUID is to be made.
pub(super) struct Target<'a> {
    pub slot: &'a Partition,
    pub name: String,
}

impl System {
    pub(super) fn conclude(&self, spec: &Spec, facts: &Facts) -> Verdict {
        match self.installation(spec, facts) {
            Ok(None) => Verdict::Done,
            Ok(Some(installation)) => installation.plan().unwrap_or_else(|verdict| verdict),
            Err(verdict) => verdict,
        }
    }

    pub(super) fn remarks(&self, spec: &Spec, facts: &Facts) -> Vec<String> {
        let place = self.layout(spec).and_then(|layout| self.place(spec, &layout, facts).ok().flatten());
        match (place, self.installation(spec, facts)) {
            (Some(Where::Slot(name)), _) => vec![format!("/ is in {name}")],
            (Some(Where::InPlace), _) => {
                vec!["/ is where the image was written to, on the machine's own disk".to_owned()]
            }
            (_, Ok(Some(installation))) => installation.remarks(),
            _ => Vec::new(),
        }
    }

    /// What is to be installed; `None` where the system is where it is to be. A verdict instead where nothing can be said.
    pub(super) fn installation<'a>(
        &self,
        spec: &'a Spec,
        facts: &'a Facts,
    ) -> Result<Option<Installation<'a>>, Verdict> {
        if spec.node.is_none() {
            return Err(Verdict::Wait("a machine's own disk belongs to a node; this image is none yet".to_owned()));
        }
        let Some(layout) = self.layout(spec) else {
            let wanted = "slots, esp and bios on one [[disk]]";
            return Err(Verdict::refuse("slots that name no partitions", wanted, "run `mimg check`"));
        };
        let silent = || Verdict::Wait("it is not known where / is; see `firstboot facts`".to_owned());
        let medium = match self.place(spec, &layout, facts) {
            Ok(None) => return Err(silent()),
            Ok(Some(Where::Medium(medium))) => *medium,
            Ok(Some(_)) => return Ok(None),
            Err(saw) => {
                let wanted = "a partition with / on it, on a medium or on the machine's own disk";
                return Err(Verdict::refuse(saw, wanted, "boot the image as it was built"));
            }
        };
        let drives = inventory::drives(facts).and_then(Result::ok).unwrap_or_default();
        let mut meant = drives.into_iter().filter(|drive| layout.disk.selects(drive));
        match (meant.next(), meant.next()) {
            (Some(drive), None) => Ok(Some(Installation { spec, facts, layout, medium, drive })),
            _ => Err(Verdict::Wait(format!("disk {} has to be found first", layout.disk.name))),
        }
    }
}

impl<'a> Installation<'a> {
    fn plan(&self) -> Result<Verdict, Verdict> {
        // What it says where it is not "running" ends with 1.
        if self.facts.ran(&STATE).is_some_and(|ran| ran.out.trim() == "stopping") {
            return Err(Verdict::Wait("the machine restarts, from its own disk".to_owned()));
        }
        let (slots, esp) = (self.slots(), self.esp()?);
        if let Some((slot, _)) = slots.iter().find(|(_, seen)| matches!(seen, Seen::Silent)) {
            return Err(self.unlinked(slot));
        }
        let target = self.target(&slots, &esp)?;
        let mut steps: Vec<Step> = self.copy(&slots, &esp, &target)?.into_iter().collect();
        steps.extend(self.core()?);
        steps.extend(self.loader(&esp));
        steps.extend(self.boot_code());
        let (pointer, boot) = (esp.value("slot"), esp.value("boot"));
        let now = self.boot_id()?;
        if pointer != Some(&target.slot.name) || !esp.has(grub::MARKER) {
            steps.push(self.point_at(&target, now));
            steps.push(self.restart(&target));
        } else if steps.is_empty() {
            if boot != Some(now) {
                return Err(self.was_installed(&target));
            }
            steps.push(self.restart(&target));
        }
        Ok(Verdict::Do(steps))
    }

    fn text(&self, path: &str) -> Result<&'a str, Verdict> {
        let text = self.facts.file(path).map(|file| file.content.trim());
        text.ok_or_else(|| Verdict::Wait(format!("{path} cannot be read; see `firstboot facts`")))
    }

    fn boot_id(&self) -> Result<&'a str, Verdict> {
        self.text(BOOT_ID)
    }

    /// A person chose to install once more, in this boot.
    fn is_again(&self) -> bool {
        self.text(COMMAND_LINE).is_ok_and(|line| line.split_whitespace().any(|word| word == grub::AGAIN))
    }

    /// What a slot with the medium's system is called.
    pub(super) fn name(&self, slot: &Partition) -> Result<String, Verdict> {
        let image = self.text(IMAGE)?;
        let again = if self.is_again() { format!("/{}", self.boot_id()?) } else { String::new() };
        Ok(format!("slot/{}/{image}{again}", slot.name))
    }

    /// The slot that has the medium's system already; else the one that the boot pointer does not name.
    pub(super) fn target(&self, slots: &Slots<'a>, esp: &Esp) -> Result<Target<'a>, Verdict> {
        let pointer = esp.value("slot");
        let mut places = Vec::new();
        for (slot, seen) in slots {
            let name = self.name(slot)?;
            let rank = match seen {
                seen if self.is_whole(seen, &name) => 0,
                // Never, as long as there is another one.
                _ if pointer == Some(&slot.name) => 3,
                Seen::Whole { .. } => 2,
                _ => 1,
            };
            places.push((rank, Target { slot, name }));
        }
        let first = places.into_iter().min_by_key(|(rank, target)| (*rank, pointer != Some(&target.slot.name)));
        first.map(|(_, target)| target).ok_or_else(|| Verdict::Wait("there are no slots".to_owned()))
    }

    pub(super) fn is_whole(&self, seen: &Seen, name: &str) -> bool {
        seen.uuid() == Some(&self.spec.uuid(name).to_string())
    }

    fn copy(&self, slots: &Slots<'a>, esp: &Esp, target: &Target) -> Result<Option<Step>, Verdict> {
        let seen = slots.iter().find(|(slot, _)| slot.name == target.slot.name).map_or(&Seen::Absent, |(_, seen)| seen);
        if self.is_whole(seen, &target.name) {
            return Ok(None);
        }
        let act = Act::Install(self.install(slots, esp, target)?);
        let medium = &self.medium.drive;
        let step = |why: String| Ok(Some(Step::new(act, format!("{why}; it is read back from the disk"))));
        match seen {
            Seen::Absent | Seen::Silent | Seen::Blank => {
                step(format!("the machine runs from {medium}; {} is empty", target.slot.name))
            }
            Seen::Draft => step(format!("what is in {} was never finished", target.slot.name)),
            Seen::Whole { .. } => {
                let step = step(format!("{} has an older system of ours", target.slot.name))?;
                let harm = format!("{} on {}", target.slot.name, self.drive.identity());
                Ok(step.map(|step| step.erases(harm)))
            }
            Seen::Foreign(words) => Err(self.foreign(target.slot, words)),
        }
    }

    fn install(&self, slots: &Slots<'a>, esp: &Esp, target: &Target) -> Result<Install, Verdict> {
        let kept = self.identity(slots, esp, target).ok();
        let mut left_out: Vec<String> = LEFT_OUT.iter().map(|path| path.to_string()).collect();
        let root = self.layout.guid(self.spec, target.slot);
        let loader = self.layout.guid(self.spec, self.layout.esp);
        let mut files = vec![
            File::new(FSTAB, fstab(self.text(FSTAB)?, root, loader)),
            File::new(NAME, format!("{}\n", target.name)),
            File::new(grub::EXTRA, grub::extra(&self.spec.settings.kernel_parameters)),
        ];
        match kept {
            // The record goes on where it ended.
            Some(_) => left_out.push("/var/lib/mimg/record.jsonl*".to_owned()),
            // Empty, not missing: systemd then makes a new one at the first boot, and units of first boot run.
            None => files.push(File { mode: 0o444, ..File::new(MACHINE_ID, "") }),
        }
        Ok(Install {
            device: self.layout.path(self.spec, target.slot),
            label: target.slot.name.chars().take(16).collect(),
            draft: super::layout::draft(self.spec, target.slot),
            uuid: self.spec.uuid(&target.name).to_string(),
            left_out,
            kept,
            files,
        })
    }

    /// What is taken over from the machine's system in the other slot. An error says why nothing is.
    pub(super) fn identity(&self, slots: &Slots<'a>, esp: &Esp, target: &Target) -> Result<Kept, String> {
        let others = || slots.iter().filter(|(slot, seen)| slot.name != target.slot.name && seen.uuid().is_some());
        let mut named = others().filter(|(slot, _)| esp.value("slot").is_none_or(|pointer| pointer == slot.name));
        let (slot, seen) = named.next().ok_or("there is no system of it yet")?;
        match seen {
            Seen::Whole { machine: Some(_), .. } => Ok(Kept {
                device: self.layout.path(self.spec, slot),
                paths: KEPT.map(str::to_owned).to_vec(),
                left_out: NOT_KEPT.map(str::to_owned).to_vec(),
            }),
            _ => Err(format!("no machine-id can be read in {}", slot.name)),
        }
    }

    fn restart(&self, target: &Target) -> Step {
        let why = format!("the system goes on from {} on {}", target.slot.name, self.drive);
        Step::new(Act::run(&["systemctl", "reboot"]), why).interrupts("this machine")
    }

    pub(super) fn esp(&self) -> Result<Esp<'a>, Verdict> {
        match self.seen_esp(serial(self.spec)) {
            Esp::Silent => Err(self.unlinked(self.layout.esp)),
            Esp::Foreign(words) => Err(self.foreign(self.layout.esp, &words)),
            Esp::Damaged => {
                let path = self.layout.path(self.spec, self.layout.esp);
                Err(Verdict::refuse(
                    format!("an ESP on {} that cannot be read", self.drive),
                    "the file system that we made there",
                    format!("mend it with `fsck.fat -a {path}`, or free it with `wipefs --all {path}`"),
                ))
            }
            esp => Ok(esp),
        }
    }
}
