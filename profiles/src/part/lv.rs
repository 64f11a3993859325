//! `[[lv]]`: logical volumes of LVM.
//!
//! ```text
//! room in the group --lvcreate--> data.new --zeros at both ends--> data.new --lvrename--> data
//! ```
//! What lies where a volume is made was there before it: until its ends are zeros nobody finds it by its name. It only
//! ever grows; what is on it grows after it.

mod check;

use super::Part;
use crate::act::{Act, Step};
use crate::ask::{Answer, Ask};
use crate::device::Device;
use crate::facts::Facts;
use crate::lvm::{self, EXTENT, Group};
use crate::part::vg::Vg;
use crate::plan::Verdict;
use crate::problem::Finding;
use crate::size::Size;
use crate::spec::Spec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A logical volume: a part of a volume group's space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lv {
    /// What it is called in device names such as `lv:main/data`: unique in its group.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,31}$"))]
    pub name: String,
    /// Its volume group.
    pub vg: String,
    /// How large it is, rounded up to 4M. Written larger later it grows, with the file system on it; it never shrinks.
    pub size: Size,
}

impl Lv {
    fn path(&self) -> String {
        format!("/dev/{}/{}", self.vg, self.name)
    }

    fn device(&self) -> Device {
        Device::Lv { vg: self.vg.clone(), lv: self.name.clone() }
    }

    /// Its name to LVM.
    fn full(&self) -> String {
        format!("{}/{}", self.vg, self.name)
    }

    fn tag(&self, spec: &Spec) -> String {
        lvm::tag(spec.uuid(&format!("lv/{}", self.full())))
    }

    /// What it is called until it is empty: no name of the settings has a dot.
    fn draft(&self) -> String {
        format!("{}.new", self.name)
    }

    fn bytes(&self) -> u64 {
        self.size.0.div_ceil(EXTENT).saturating_mul(EXTENT)
    }

    fn group<'a>(&self, spec: &'a Spec) -> Option<&'a Vg> {
        spec.settings.vg.iter().find(|vg| vg.name == self.vg)
    }

    fn create(&self, spec: &Spec, devices: &str) -> Vec<Step> {
        let (size, draft, tag) = (format!("--size={}b", self.bytes()), self.draft(), self.tag(spec));
        // Its ends are made zeros in a step of their own, for a power cut may come in between.
        let argv = [
            "lvcreate",
            devices,
            "--wipesignatures=n",
            "--zero=n",
            &size,
            "--name",
            &draft,
            "--addtag",
            &tag,
            &self.vg,
        ];
        let why = format!("{} of vg {}", self.size, self.vg);
        let mut steps = vec![Step::new(Act::run(&argv), why)];
        steps.extend(self.finish(devices, false));
        steps
    }

    /// From now on what is on it was put there by us, or by a person.
    fn finish(&self, devices: &str, blank: bool) -> Vec<Step> {
        let draft = self.draft();
        let why = "it is new: what was there before is nobody's";
        let blank = (!blank).then(|| Step::new(Act::Blank { device: format!("/dev/{}/{draft}", self.vg) }, why));
        let rename = Act::run(&["lvrename", devices, &self.vg, &draft, &self.name]);
        blank.into_iter().chain([Step::new(rename, "its ends are zeros")]).collect()
    }

    /// A volume of our name that is not ours.
    fn foreign(&self, spec: &Spec, lv: &lvm::Lv) -> Option<Verdict> {
        let (tag, full) = (self.tag(spec), format!("{}/{}", self.vg, lv.lv_name));
        (!lv.has(&tag)).then(|| {
            Verdict::refuse(
                format!("lv {full} with the UUID {}, which is not ours", lv.lv_uuid),
                format!("no volume of that name, or one with the tag {tag}"),
                format!(
                    "choose another name in [[lv]]; or, to make it ours with all that is on it, \
                     `lvchange --addtag {tag} {full}`"
                ),
            )
        })
    }

    /// What is left for a volume whose making was cut off.
    fn plan_draft(&self, facts: &Facts, lv: &lvm::Lv, devices: &str) -> Vec<Step> {
        let full = format!("{}/{}", self.vg, lv.lv_name);
        let activate = || Step::new(Act::run(&["lvchange", devices, "--activate=y", &full]), "it is not active");
        let blank = facts.probe(&format!("/dev/{full}")).is_some_and(|probe| probe.blank && probe.is_empty());
        let mut steps: Vec<Step> = (!lv.is_active()).then(activate).into_iter().collect();
        steps.extend(self.finish(devices, blank));
        steps
    }

    /// What is left for a volume that is there.
    fn plan_volume(&self, facts: &Facts, lv: &lvm::Lv, devices: &str) -> Verdict {
        let (full, path) = (self.full(), self.path());
        if lv.lv_size > self.bytes() {
            return Verdict::refuse(
                format!("lv {full} with {} bytes, wanted {}", lv.lv_size, self.bytes()),
                "a size that is not smaller than what is there: volumes only grow",
                format!("write size = \"{}\" in [[lv]]; or shrink what is on it, then it, by hand", Size(lv.lv_size)),
            );
        }
        let mut steps = Vec::new();
        if !lv.is_active() {
            steps.push(Step::new(Act::run(&["lvchange", devices, "--activate=y", &full]), "it is not active"));
        }
        if lv.lv_size < self.bytes() {
            let size = format!("--size={}b", self.bytes());
            let why = format!("it has {} bytes, wanted {}", lv.lv_size, self.bytes());
            steps.push(Step::new(Act::run(&["lvextend", devices, &size, &full]), why));
        }
        if steps.is_empty() && facts.answer(&Ask::Probe(path.clone())) == Some(&Answer::Probe(None)) {
            return Verdict::Wait(format!("{path} is not there yet"));
        }
        Verdict::from_steps(steps)
    }

    /// The volume, or what it is until it is empty.
    fn find<'a>(&self, lvs: &'a [lvm::Lv]) -> Option<&'a lvm::Lv> {
        let named = |name: &str| lvs.iter().find(|lv| lv.lv_name == name);
        named(&self.name).or_else(|| named(&self.draft()))
    }

    /// Bytes that all volumes of the group need beyond what they have.
    fn needed(&self, spec: &Spec, lvs: &[lvm::Lv]) -> u64 {
        let has = |lv: &Lv| lv.find(lvs).map_or(0, |known| known.lv_size);
        let mates = spec.settings.lv.iter().filter(|lv| lv.vg == self.vg);
        mates.fold(0, |sum, lv| sum.saturating_add(lv.bytes().saturating_sub(has(lv))))
    }

    /// Whether what is wanted is more than the group has. It may grow first, as its disks do.
    fn overflow(&self, spec: &Spec, facts: &Facts, lvs: &[lvm::Lv], free: u64) -> Option<Verdict> {
        let needed = self.needed(spec, lvs);
        if needed <= free {
            return None;
        }
        let vg = &self.vg;
        if !spec.is_settled(&format!("vg {vg}"), facts) {
            return Some(Verdict::Wait(format!(
                "vg {vg} has {free} bytes free, {needed} are needed, and it may grow yet"
            )));
        }
        Some(Verdict::refuse(
            format!("vg {vg} with {free} bytes free, and volumes that need {needed} more"),
            format!("room for all of them: {} bytes more", needed - free),
            format!("write smaller sizes in [[lv]], or name one more device in [[vg]] {vg}"),
        ))
    }
}

impl Part for Lv {
    fn name(&self) -> String {
        format!("lv {}", self.full())
    }

    fn about(&self) -> String {
        self.size.to_string()
    }

    fn after(&self) -> Vec<String> {
        vec![format!("vg {}", self.vg)]
    }

    fn offers(&self) -> Vec<Device> {
        vec![self.device()]
    }

    fn least(&self, _: &Device, _: &Spec, _: &dyn Fn(&Device) -> Option<Size>) -> Option<Size> {
        Some(self.size)
    }

    fn makes(&self, _: &Device, spec: &Spec, facts: &Facts) -> bool {
        let Some(vg) = self.group(spec) else { return true };
        match Group::of(vg, spec, facts) {
            Group::Unknown => false,
            Group::ToCome => true,
            Group::There(_) => {
                lvm::lvs(&vg.paths(spec), facts).is_some_and(|lvs| lvs.iter().all(|lv| lv.lv_name != self.name))
            }
        }
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["lvm2"]
    }

    fn check(&self, spec: &Spec) -> Vec<Finding> {
        self.findings(spec)
    }

    fn asks(&self, spec: &Spec, facts: &Facts) -> Vec<Ask> {
        let Some(vg) = self.group(spec) else { return Vec::new() };
        let mut asks = Group::asks(vg, spec, facts);
        let Group::There(group) = Group::of(vg, spec, facts) else { return asks };
        asks.push(lvm::lvs_ask(&vg.paths(spec)));
        let Some(lvs) = lvm::lvs(&vg.paths(spec), facts) else { return asks };
        asks.extend(self.find(&lvs).map(|lv| Ask::Probe(format!("/dev/{}/{}", self.vg, lv.lv_name))));
        if self.needed(spec, &lvs) > group.vg_free {
            asks.extend(spec.asks_below(&format!("vg {}", self.vg), facts));
        }
        asks
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        if let Some(wait) = super::of_nobody(spec) {
            return wait;
        }
        let Some(vg) = self.group(spec) else { return Verdict::Wait(format!("there is no vg {}", self.vg)) };
        let (paths, wait) = (vg.paths(spec), || Verdict::Wait(format!("for vg {}", self.vg)));
        let devices = lvm::devices(&paths);
        let group = match Group::of(vg, spec, facts) {
            Group::Unknown => return wait(),
            Group::ToCome => return Verdict::Do(self.create(spec, &devices)),
            Group::There(group) => group,
        };
        let Some(lvs) = lvm::lvs(&paths, facts) else { return wait() };
        let found = self.find(&lvs);
        if let Some(refusal) = found.and_then(|lv| self.foreign(spec, lv)) {
            return refusal;
        }
        let verdict = match found {
            None => Verdict::Do(self.create(spec, &devices)),
            Some(lv) if lv.lv_name == self.name => self.plan_volume(facts, lv, &devices),
            Some(draft) => Verdict::Do(self.plan_draft(facts, draft, &devices)),
        };
        match verdict {
            Verdict::Do(steps) => self.overflow(spec, facts, &lvs, group.vg_free).unwrap_or(Verdict::Do(steps)),
            other => other,
        }
    }
}
