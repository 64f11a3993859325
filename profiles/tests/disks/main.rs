//! What is planned for the disks of a machine. Goldens show every change as a diff.

mod mistakes;
mod model;
mod plans;
mod properties;

use model::Machine;
use profiles::fleet::Fleet;
use profiles::plan::{Line, Verdict, plan};
use profiles::spec::Spec;
use std::collections::BTreeMap;

const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";

/// The Spec of a node with these settings.
pub fn spec(settings: &str) -> Spec {
    let node = format!("profiles = [\"base\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node)]);
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    fleet.node("eccles").unwrap_or_else(|problems| panic!("{problems}"))
}

/// The lines of all disks of a plan.
pub fn lines(spec: &Spec, machine: &Machine) -> Vec<Line> {
    let plan = plan(spec, &spec.parts(), &machine.facts(spec));
    plan.0.into_iter().filter(|line| line.part.starts_with("disk ")).collect()
}

/// What a person sees of them.
pub fn seen(spec: &Spec, machine: &Machine) -> String {
    lines(spec, machine).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Does the first step of the first disk that has one, as firstboot does; false when there is none.
pub fn step(spec: &Spec, machine: &mut Machine) -> bool {
    let lines = lines(spec, machine);
    if lines.iter().any(|line| matches!(line.verdict, Verdict::Refuse(_))) {
        return false;
    }
    let steps = lines.iter().find_map(|line| if let Verdict::Do(steps) = &line.verdict { Some(steps) } else { None });
    if let Some(steps) = steps {
        machine.act(&steps[0].act);
    }
    steps.is_some()
}

/// Goes on until nothing is left to do.
pub fn finish(spec: &Spec, mut machine: Machine) -> Machine {
    for _ in 0..200 {
        if !step(spec, &mut machine) {
            return machine;
        }
    }
    panic!("it never ends: {}", seen(spec, &machine));
}

pub fn is_done(spec: &Spec, machine: &Machine) -> bool {
    lines(spec, machine).iter().all(|line| line.verdict == Verdict::Done)
}
