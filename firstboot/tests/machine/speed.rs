//! Planning is never what a machine waits for.

use crate::bench::spec;
use nix::time::{ClockId, clock_gettime};
use profiles::ask::{Answer, Ask, Probe, Ran};
use profiles::facts::Facts;
use profiles::plan::{Verdict, open_questions, plan};
use serde_json::json;
use std::time::Duration;

const DISKS: usize = 200;
const LIMIT: Duration = Duration::from_millis(50);

fn answer(ask: &Ask) -> Answer {
    let disk = |index: usize| {
        let name = format!("sd{index}");
        json!({"name": name, "kname": name, "path": format!("/dev/{name}"), "type": "disk", "size": 16_000_900_661_248u64,
            "model": "ST16000NM002G", "serial": format!("ZL2A{index:04}"), "wwn": format!("0x5000c500{index:08x}"),
            "tran": "sas", "subsystems": "block:scsi:pci", "rota": true, "ro": false, "log-sec": 4096, "fstype": null,
            "label": null, "pttype": null, "mountpoints": [null]})
    };
    let ran = |out: String| Answer::Ran(Ran { rc: 0, out, err: String::new() });
    match ask {
        Ask::Run(argv) if argv[0] == "lsblk" => {
            ran(json!({"blockdevices": (0..DISKS).map(disk).collect::<Vec<_>>()}).to_string())
        }
        Ask::Run(_) => ran(String::new()),
        Ask::Gpt(_) => Answer::Gpt(None),
        Ask::Esp(_) => Answer::Esp(None),
        Ask::Probe(_) => Answer::Probe(Some(Probe { signatures: Vec::new(), blank: true })),
        Ask::Consent => Answer::Consent(Default::default()),
        Ask::File(_) => Answer::File(None),
        Ask::Unit(_) => Answer::Unit(Default::default()),
        Ask::Outdated { .. } => Answer::Outdated(false),
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn two_hundred_disks_are_planned_within_the_blink_of_an_eye() {
    let spec = spec(&format!(
        "[[disk]]\nname = \"bulk\"\ncount = {DISKS}\nselect = {{ bus = [\"sas\"] }}\n[[disk.partition]]\nname = \"zfs\"\n\
         type = \"zfs\"\nsize = \"rest\"\n"
    ));
    let parts = spec.parts();
    let mut facts = Facts::default();
    loop {
        let open: Vec<Ask> = parts.iter().flat_map(|part| open_questions(part.as_ref(), &spec, &facts)).collect();
        if open.is_empty() {
            break;
        }
        open.into_iter().for_each(|ask| facts.note(ask.clone(), answer(&ask)));
    }
    let start = cpu_time();
    let plan = plan(&spec, &parts, &facts);
    let took = cpu_time() - start;
    let line = plan.0.iter().find(|line| line.part == "disk bulk").unwrap();
    let Verdict::Do(steps) = &line.verdict else { panic!("{line}") };
    assert_eq!((steps.len(), line.notes.len()), (3 * DISKS, DISKS));
    println!("a plan for {DISKS} disks took {took:?} of a processor");
    assert!(took < LIMIT || cfg!(debug_assertions), "{took:?}");
}
