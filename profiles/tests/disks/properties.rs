//! What holds for every machine: made up ones, by the thousand.

use crate::model::{BLANK, Disk, Machine, found};
use crate::{finish, is_done, lines, seen, spec, step};
use profiles::act::Act;
use profiles::facts::Facts;
use profiles::inventory::Survey;
use profiles::plan::{Verdict, open_questions};
use std::collections::BTreeSet;

const GIB: u64 = 1 << 30;
const SETTINGS: &str = "[[disk]]\nname = \"fast\"\ncount = 2\nselect = { bus = [\"nvme\"] }\n\
    [[disk.partition]]\nname = \"boot\"\ntype = \"esp\"\nsize = \"64M\"\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"zfs\"\nsize = \"rest\"\n\
    [[disk]]\nname = \"slow\"\ncount = 3\nselect = { rotational = true, size-min = \"100G\" }\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"raid\"\nsize = \"50G\"\n";
const SERIALS: [&str; 12] = ["A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "B0", "B1"];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

/// The same machine after a reboot: its disks in another order, with other names.
fn rebooted(machine: &Machine, random: &mut Random) -> Machine {
    let mut machine = machine.clone();
    random.shuffle(&mut machine.disks);
    let mut letters: Vec<char> = ('a'..='z').collect();
    random.shuffle(&mut letters);
    for ((name, disk), letter) in machine.disks.iter_mut().zip(letters) {
        let nvme = disk.transport == Some("nvme");
        *name = if nvme { format!("nvme{}n1", letter as u32 - 'a' as u32) } else { format!("sd{letter}") };
    }
    machine
}

/// Two disks for `fast`, three for `slow`, and others that nobody means.
fn exact() -> Machine {
    let mut machine = Machine::default();
    for (index, serial) in SERIALS.iter().take(9).enumerate() {
        let disk = match index {
            0 | 1 => Disk::nvme("fast", serial, 500 * GIB),
            2..5 => Disk::sas("slow", serial, 4000 * GIB),
            5 => Disk { rotational: true, ..Disk::usb("a small one that turns", serial, 64 * GIB) },
            _ => Disk::sata("somebody's", serial, 250 * GIB).holding("ntfs", Some("theirs")),
        };
        machine.disks.push((format!("sd{index}"), Disk { wwn: None, ..disk }));
    }
    machine
}

/// A plan with the names of devices replaced by what they stand for.
fn told(machine: &Machine, text: &str) -> String {
    let mut named: Vec<(String, &str)> =
        machine.disks.iter().map(|(name, disk)| (format!("/dev/{name}"), disk.serial.unwrap_or("-"))).collect();
    named.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    named.into_iter().fold(text.to_owned(), |text, (name, serial)| {
        text.replace(&name, serial).replace(&format!("{serial}p"), serial)
    })
}

#[test]
fn the_order_and_the_names_of_disks_change_nothing_of_a_plan() {
    let (spec, mut random) = (spec(SETTINGS), Random(1));
    let mut wanted = None;
    for _ in 0..100 {
        let machine = rebooted(&exact(), &mut random);
        let plan = told(&machine, &seen(&spec, &machine));
        assert_eq!(*wanted.get_or_insert(plan.clone()), plan);
        // At any moment of the work as well.
        let mut machine = machine;
        for _ in 0..random.below(12) {
            step(&spec, &mut machine);
        }
        let moved = rebooted(&machine, &mut random);
        assert_eq!(told(&machine, &seen(&spec, &machine)), told(&moved, &seen(&spec, &moved)));
    }
    assert!(wanted.is_some_and(|plan| plan.contains("create")));
}

#[test]
fn a_machine_that_loses_power_and_its_order_of_disks_at_each_step_ends_as_any_other() {
    let (spec, mut random) = (spec(SETTINGS), Random(2));
    let tables = |machine: &Machine| {
        let mut tables: Vec<_> = machine.disks.iter().map(|(_, disk)| (disk.serial, disk.table.clone())).collect();
        tables.sort_by_key(|(serial, _)| *serial);
        tables
    };
    let wanted = tables(&finish(&spec, exact()));
    for _ in 0..50 {
        let mut machine = exact();
        while step(&spec, &mut machine) {
            machine = rebooted(&machine, &mut random);
        }
        assert!(is_done(&spec, &machine), "{}", seen(&spec, &machine));
        assert_eq!(tables(&machine), wanted);
    }
}

/// A disk of any kind, with anything on it.
fn any(random: &mut Random, serial: &'static str) -> Disk {
    let size = [20 * GIB, 99 * GIB, 100 * GIB, 500 * GIB, 4000 * GIB][random.below(5)];
    let disk = match random.below(5) {
        0 => Disk::nvme("n", serial, size),
        1 => Disk::sas("s", serial, size),
        2 => Disk::usb("u", serial, size),
        3 => Disk { rotational: true, ..Disk::sata("t", serial, size) },
        _ => Disk::sata("t", serial, size),
    };
    let whole = if random.below(3) == 0 { found("xfs", None) } else { BLANK };
    let mut disk = Disk { wwn: None, whole, ..disk };
    disk.sector = [512, 4096][random.below(2)];
    disk
}

fn fast(disk: &Disk) -> bool {
    disk.transport == Some("nvme")
}

fn slow(disk: &Disk) -> bool {
    disk.rotational && disk.size >= 100 * GIB
}

#[test]
fn only_disks_that_match_are_in_a_step_and_only_where_exactly_the_number_matches_that_is_stated() {
    let (spec, mut random) = (spec(SETTINGS), Random(3));
    let mut counted = [0; 3];
    for _ in 0..4000 {
        let mut machine = Machine::default();
        for serial in SERIALS.iter().take(random.below(10)) {
            machine.disks.push((format!("sd{serial}"), any(&mut random, serial)));
        }
        let machine = rebooted(&machine, &mut random);
        let of = |rule: fn(&Disk) -> bool| -> Vec<&(String, Disk)> {
            machine.disks.iter().filter(|(_, disk)| rule(disk)).collect()
        };
        for (line, meant, count) in
            lines(&spec, &machine).iter().zip([of(fast), of(slow)]).zip([2, 3]).map(|((a, b), c)| (a, b, c))
        {
            let foreign = meant.iter().any(|(_, disk)| disk.whole != BLANK);
            let double = meant.iter().any(|(_, disk)| fast(disk) && slow(disk));
            let small = meant.iter().any(|(_, disk)| disk.size < 50 * GIB && !fast(disk));
            let Verdict::Do(steps) = &line.verdict else {
                assert!(meant.len() != count || foreign || double || small, "{line}");
                counted[0] += 1;
                continue;
            };
            assert!(meant.len() == count && !foreign, "{line}");
            let named: BTreeSet<String> = meant.iter().map(|(name, _)| format!("/dev/{name}")).collect();
            for step in steps {
                let device = match &step.act {
                    Act::Table { disk, .. } => disk,
                    Act::Blank { device } => device,
                    other => panic!("{other} on a blank disk"),
                };
                assert!(named.iter().any(|name| device.starts_with(name.as_str())), "{device} is not among {named:?}");
            }
            counted[count - 1] += 1;
        }
    }
    assert!(counted.iter().all(|count| *count > 20), "{counted:?}");
}

#[test]
fn what_was_finished_is_never_erased_whatever_is_plugged_in_or_out() {
    let whole = finish(&spec(SETTINGS), exact());
    let mut random = Random(4);
    let (mut refused, mut grown) = (0, 0);
    // What people change in their settings, a raised generation apart.
    let changes = [
        ("", ""),
        ("data", "store"),
        ("\"50G\"", "\"60G\""),
        ("64M", "32M"),
        ("raid", "lvm"),
        ("count = 3", "count = 4"),
    ];
    for round in 0..1200 {
        let (old, new) = changes[round % changes.len()];
        let spec = spec(&SETTINGS.replace(old, new));
        let mut machine = rebooted(&whole, &mut random);
        for _ in 0..random.below(3) {
            machine.disks.remove(random.below(machine.disks.len()));
        }
        for serial in SERIALS.iter().skip(9).take(random.below(3)) {
            machine.disks.push((format!("sd{serial}"), any(&mut random, serial)));
        }
        let machine = rebooted(&machine, &mut random);
        for line in lines(&spec, &machine) {
            match line.verdict {
                Verdict::Do(steps) if steps.iter().all(|step| matches!(step.act, Act::Grow { .. })) => grown += 1,
                Verdict::Do(_) => panic!("{line}"),
                Verdict::Refuse(_) => refused += 1,
                Verdict::Done | Verdict::Wait(_) => {}
            }
        }
    }
    assert!(refused > 20 && grown > 20, "{refused} {grown}");
}

#[test]
fn the_harm_of_a_plan_does_not_depend_on_names_and_only_shrinks() {
    let machine = finish(&spec(SETTINGS), exact());
    let next = spec(&SETTINGS.replace("count", "generation = 1\ncount"));
    let plan = |machine: &Machine| profiles::plan::Plan(lines(&next, machine));
    let (first, mut random) = (plan(&machine), Random(5));
    assert_eq!(first.harms().len(), 5, "{first}");
    let moved = rebooted(&machine, &mut random);
    assert_eq!(plan(&moved).hash(&next), first.hash(&next));
    let (mut machine, mut before) = (machine, first.harms());
    while step(&next, &mut machine) {
        machine = rebooted(&machine, &mut random);
        let after = plan(&machine).harms();
        assert!(after.is_subset(&before), "{}", seen(&next, &machine));
        before = after;
    }
    assert!(before.is_empty() && is_done(&next, &machine));
}

#[test]
fn a_recording_without_a_spec_has_all_that_disks_are_planned_from() {
    let (spec, bare) = (spec(SETTINGS), spec(""));
    let mut random = Random(6);
    for _ in 0..50 {
        let mut machine = exact();
        for _ in 0..random.below(10) {
            step(&spec, &mut machine);
        }
        let mut recorded = Facts::default();
        loop {
            let open = open_questions(&Survey, &bare, &recorded);
            if open.is_empty() {
                break;
            }
            open.into_iter().for_each(|ask| recorded.note(ask.clone(), machine.answer(&ask)));
        }
        for part in spec.parts().iter().filter(|part| part.name().starts_with("disk ")) {
            assert_eq!(open_questions(part.as_ref(), &spec, &recorded), [], "{}", part.name());
            assert_eq!(part.plan(&spec, &recorded), part.plan(&spec, &machine.facts(&spec)));
        }
    }
}
