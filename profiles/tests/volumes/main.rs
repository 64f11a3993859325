//! What is planned for arrays, groups, volumes and file systems. Goldens show every change as a diff.

mod cuts;
#[path = "../disks/model.rs"]
mod disks;
mod growing;
mod mistakes;
mod model;
mod plans;

use model::Machine;
use profiles::fleet::Fleet;
use profiles::plan::{Line, Verdict, plan};
use profiles::spec::Spec;
use std::collections::BTreeMap;

pub const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";

/// One SSD: what boots, two system slots, and the rest for volumes.
pub const NUC: &str = r#"
[[disk]]
name = "system"
select = { bus = ["sata", "nvme"], size-min = "60G", size-max = "600G" }
partition = [
    { name = "bios", type = "bios", size = "1M" },
    { name = "esp", type = "esp", size = "64M" },
    { name = "root-a", type = "linux", size = "8G" },
    { name = "root-b", type = "linux", size = "8G" },
    { name = "data", type = "lvm", size = "rest" },
]
[[vg]]
name = "main"
devices = ["disk:system/data"]
[[lv]]
name = "data"
vg = "main"
size = "20G"
[[lv]]
name = "db"
vg = "main"
size = "10G"
[[filesystem]]
name = "data"
device = "lv:main/data"
type = "ext4"
mount = "/srv"
[[filesystem]]
name = "db"
device = "lv:main/db"
type = "xfs"
mount = "/srv/my-db"
options = ["noatime"]
"#;

/// Two disks with an array, encrypted, with a group on it; swap beside.
pub const PAIR: &str = r#"
[[disk]]
name = "pair"
count = 2
select = { bus = ["sata"], size-min = "60G" }
partition = [
    { name = "swap", type = "raid", size = "1G" },
    { name = "raid", type = "raid", size = "rest" },
]
[[md]]
name = "swap"
level = "1"
devices = ["disk:pair/swap"]
[[md]]
name = "data"
level = "1"
devices = ["disk:pair/raid"]
[[luks]]
name = "crypt"
device = "md:data"
key = "/etc/mimg/keys/crypt"
[[vg]]
name = "main"
devices = ["luks:crypt"]
[[lv]]
name = "data"
vg = "main"
size = "20G"
[[filesystem]]
name = "data"
device = "lv:main/data"
type = "btrfs"
mount = "/srv"
[[filesystem]]
name = "swap"
device = "md:swap"
type = "swap"
"#;

pub fn told(settings: &str) -> Result<Spec, String> {
    let node = format!("profiles = [\"base\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node)]);
    let fleet = Fleet::load(&files).map_err(|problems| problems.to_string())?;
    fleet.node("eccles").map_err(|problems| problems.to_string())
}

/// The Spec of a node with these settings.
pub fn spec(settings: &str) -> Spec {
    told(settings).unwrap_or_else(|problems| panic!("{problems}"))
}

pub fn is_storage(part: &str) -> bool {
    let kinds = ["disk ", "md ", "luks ", "vg ", "lv ", "filesystem "];
    kinds.iter().any(|kind| part.starts_with(kind))
}

/// The lines of all storage of a plan.
pub fn lines(spec: &Spec, machine: &Machine) -> Vec<Line> {
    let plan = plan(spec, &spec.parts(), &machine.facts(spec));
    plan.0.into_iter().filter(|line| is_storage(&line.part)).collect()
}

/// What a person sees of them.
pub fn seen(spec: &Spec, machine: &Machine) -> String {
    lines(spec, machine).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The next step that firstboot would do: the first of a Part with steps, for which nothing has to be done before.
pub fn next(spec: &Spec, machine: &Machine) -> Option<profiles::act::Step> {
    let lines = lines(spec, machine);
    let refused = lines.iter().find(|line| matches!(line.verdict, Verdict::Refuse(_)));
    assert!(refused.is_none(), "{}", seen(spec, machine));
    let done = |name: &String| lines.iter().all(|line| line.part != *name || line.verdict == Verdict::Done);
    let parts = spec.parts();
    let ready = parts.iter().filter(|part| part.after().iter().all(done)).map(|part| part.name());
    let ready: Vec<String> = ready.collect();
    lines.into_iter().find_map(|line| match line.verdict {
        Verdict::Do(steps) if ready.contains(&line.part) => steps.into_iter().next(),
        _ => None,
    })
}

/// Goes on until nothing is left to do.
pub fn finish(spec: &Spec, mut machine: Machine) -> Machine {
    for _ in 0..200 {
        match next(spec, &machine) {
            Some(step) => machine.act(&step.act),
            None => return machine,
        }
    }
    panic!("it never ends: {}", seen(spec, &machine));
}

pub fn is_done(spec: &Spec, machine: &Machine) -> bool {
    lines(spec, machine).iter().all(|line| line.verdict == Verdict::Done)
}
