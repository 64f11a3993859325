//! What is planned from a medium's boot until the system runs from the machine's own disk. Goldens show every change as a
//! diff.

#[path = "../disks/model.rs"]
mod disks;
mod mistakes;
mod model;
mod plans;

use model::Machine;
use profiles::act::Step;
use profiles::fleet::Fleet;
use profiles::plan::{Line, Verdict, plan};
use profiles::spec::Spec;
use std::collections::BTreeMap;

pub const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";
/// A mini-PC with one SSD, and two slots on it.
pub const NUC: &str = "kernel-parameters = [\"intel_iommu=on\"]\n\
    [system]\nslots = [\"disk:system/root-a\", \"disk:system/root-b\"]\nesp = \"disk:system/esp\"\nbios = \"disk:system/bios\"\n\
    [[disk]]\nname = \"system\"\nselect = { bus = [\"sata\", \"nvme\"] }\n\
    [[disk.partition]]\nname = \"bios\"\ntype = \"bios\"\nsize = \"1M\"\n\
    [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"256M\"\n\
    [[disk.partition]]\nname = \"root-a\"\ntype = \"linux\"\nsize = \"8G\"\n\
    [[disk.partition]]\nname = \"root-b\"\ntype = \"linux\"\nsize = \"8G\"\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";

/// The Spec of a node with these settings.
pub fn spec(settings: &str) -> Spec {
    let node = format!("profiles = [\"base\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node)]);
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    fleet.node("eccles").unwrap_or_else(|problems| panic!("{problems}"))
}

/// The lines of the Parts that have to do with it.
pub fn lines(spec: &Spec, machine: &Machine) -> Vec<Line> {
    let plan = plan(spec, &spec.parts(), &machine.facts(spec));
    plan.0.into_iter().filter(|line| model::NAMES.contains(&line.part.as_str())).collect()
}

/// What a person sees of them.
pub fn seen(spec: &Spec, machine: &Machine) -> String {
    lines(spec, machine).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The first step that firstboot would do: a Part waits for those before it here.
pub fn first(spec: &Spec, machine: &Machine) -> Option<Step> {
    let lines = lines(spec, machine);
    if lines.iter().any(|line| matches!(line.verdict, Verdict::Refuse(_))) {
        return None;
    }
    let open = lines.into_iter().find(|line| line.verdict != Verdict::Done)?;
    if let Verdict::Do(steps) = open.verdict { steps.into_iter().next() } else { None }
}

/// Goes on until nothing is left to do, and gives the machine and each plan on the way.
pub fn finish(spec: &Spec, mut machine: Machine) -> (Machine, Vec<String>) {
    let mut plans = Vec::new();
    for _ in 0..40 {
        let Some(step) = first(spec, &machine) else { return (machine, plans) };
        plans.push(step.to_string());
        machine.act(spec, &step.act);
    }
    panic!("it never ends:\n{}", plans.join("\n"));
}
