//! A machine whose disks are loop devices. All that is asked of them is answered by the real thing; only lsblk's answer is
//! changed, to call them disks and give them serial numbers.

use crate::loops::Loop;
use firstboot::machine::Machine;
use firstboot::unit::Systemd;
use profiles::ask::{Answer, Ask, Ran};
use profiles::facts::Facts;
use profiles::fleet::Fleet;
use profiles::part::Part;
use profiles::plan::{Verdict, open_questions};
use profiles::spec::Spec;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const MIB: u64 = 1 << 20;

pub struct Bench {
    pub disks: Vec<Loop>,
    /// The disk, by its number in `disks`, and the partition that lsblk shows as mounted at /.
    pub root: Option<(usize, u32)>,
}

/// The Spec of a node with these settings, and nothing else.
pub fn spec(settings: &str) -> Spec {
    let root = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";
    let node = format!("profiles = [\"base\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), root.to_owned()), ("nodes/ana.toml".to_owned(), node)]);
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    fleet.node("ana").unwrap_or_else(|problems| panic!("{problems}"))
}

impl Bench {
    pub fn new(disks: Vec<Loop>) -> Bench {
        Bench { disks, root: None }
    }

    /// The Part "disk system" of `spec`.
    fn part<'a>(&self, spec: &'a Spec) -> Box<dyn Part + 'a> {
        spec.parts().into_iter().find(|part| part.name() == "disk system").expect("[[disk]] system")
    }

    pub async fn facts(&self, spec: &Spec) -> Facts {
        let part = self.part(spec);
        let mut facts = Facts::default();
        loop {
            let open = open_questions(part.as_ref(), spec, &facts);
            if open.is_empty() {
                return facts;
            }
            for ask in open {
                let answer = self.answer(&ask).await;
                facts.note(ask, answer);
            }
        }
    }

    async fn answer(&self, ask: &Ask) -> Answer {
        let Ask::Run(argv) = ask else { return machine().answer(ask).await.unwrap() };
        if argv[0] != "lsblk" {
            return machine().answer(ask).await.unwrap();
        }
        let devices = self.disks.iter().map(|disk| disk.device.clone());
        let argv = argv.iter().cloned().chain(devices).collect();
        let Answer::Ran(ran) = machine().answer(&Ask::Run(argv)).await.unwrap() else { panic!("a run") };
        assert_eq!(ran.rc, 0, "{}", ran.err);
        let mut nodes: Value = serde_json::from_str(&ran.out).unwrap();
        for node in nodes["blockdevices"].as_array_mut().unwrap() {
            let index = self.disks.iter().position(|disk| node["path"] == disk.device.as_str()).expect("one of ours");
            node["type"] = json!("disk");
            node["tran"] = json!("sata");
            node["serial"] = json!(format!("LOOP{index}"));
            if let Some((_, number)) = self.root.filter(|(disk, _)| *disk == index) {
                let path = self.disks[index].partition(number);
                let parts = node["children"].as_array_mut().expect("partitions");
                parts
                    .iter_mut()
                    .filter(|part| part["path"] == path.as_str())
                    .for_each(|part| part["mountpoints"] = json!(["/"]));
            }
        }
        Answer::Ran(Ran { out: nodes.to_string(), ..ran })
    }

    pub async fn verdict(&self, spec: &Spec) -> Verdict {
        self.part(spec).plan(spec, &self.facts(spec).await)
    }

    /// Does the first step that is left; false where there is none.
    pub async fn step(&self, spec: &Spec) -> bool {
        let Verdict::Do(steps) = self.verdict(spec).await else { return false };
        machine().act(&steps[0].act).await.unwrap_or_else(|error| panic!("{}: {error:#}", steps[0]));
        true
    }

    /// Goes on until nothing is left to do.
    pub async fn finish(&self, spec: &Spec) {
        for _ in 0..50 {
            if !self.step(spec).await {
                assert_eq!(self.verdict(spec).await, Verdict::Done);
                return;
            }
        }
        panic!("no end: {:?}", self.verdict(spec).await);
    }
}

pub fn machine() -> Machine {
    Machine::new("/", Systemd::at("unix:path=/nonexistent/bus"))
}

/// The fingerprint that a refusal told.
pub fn fingerprint(verdict: &Verdict) -> Option<String> {
    let Verdict::Refuse(refusal) = verdict else { return None };
    let rest = refusal.cure.split("\"foreign:").nth(1)?;
    Some(format!("foreign:{}", rest.split('"').next()?))
}
