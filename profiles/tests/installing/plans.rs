//! Golden plans.

use crate::model::{LINKS, Machine, image_on, ssd};
use crate::{NUC, finish, first, lines, seen, spec};
use profiles::act::Act;
use profiles::ask::Leaf;
use profiles::plan::Verdict;

fn link(settings: &str, partition: &str) -> String {
    let spec = spec(settings);
    format!("{LINKS}{}", spec.settings.disk[0].partition_guid(&spec, 0, partition))
}

/// A machine with a system in its first slot, booted from the stick again.
fn installed() -> Machine {
    finish(&spec(NUC), Machine::with(ssd())).0.reset()
}

#[test]
fn a_blank_machine_is_partitioned_installed_and_restarted() {
    let spec = spec(NUC);
    let machine = Machine::with(ssd());
    let (done, steps) = finish(&spec, machine.clone());
    assert_eq!(done.pointer().as_deref(), Some("root-a"));
    insta::assert_snapshot!(format!(
        "{}\n\n== step by step\n{}\n\n== then\n{}",
        seen(&spec, &machine),
        steps.join("\n"),
        seen(&spec, &done)
    ));
}

#[test]
fn what_a_slot_gets_is_shown_in_the_plan() {
    let spec = spec(NUC);
    let mut machine = Machine::with(ssd());
    let act = loop {
        let step = first(&spec, &machine).expect("a step");
        if let Act::Install(_) = step.act {
            break step.act;
        }
        machine.act(&spec, &step.act);
    };
    insta::assert_json_snapshot!(act);
}

#[test]
fn once_it_runs_from_its_slot_nothing_is_left_to_do() {
    let spec = spec(NUC);
    let machine = installed().runs_from(3);
    let (machine, steps) = finish(&spec, machine);
    assert_eq!(steps, Vec::<String>::new());
    insta::assert_snapshot!(seen(&spec, &machine));
}

#[test]
fn a_cut_between_any_two_steps_and_within_each_ends_in_the_same_state() {
    let spec = spec(NUC);
    let whole = finish(&spec, Machine::with(ssd())).0;
    let mut stages = Vec::new();
    let mut machine = Machine::with(ssd());
    let mut cuts = 0;
    while let Some(step) = first(&spec, &machine) {
        for within in [false, true] {
            let mut cut = machine.clone();
            if within {
                cut.cut(&step.act);
            }
            stages.push(seen(&spec, &cut.clone().reset()));
            let (end, _) = finish(&spec, cut.reset());
            assert_eq!(end.systems, whole.systems, "after the cut at {step}");
            assert_eq!((end.core, end.boot_code, end.pointer()), (true, true, Some("root-a".to_owned())));
            assert!(end.esp.contains_key("EFI/debian/mimg-installed"), "after the cut at {step}");
            cuts += 1;
        }
        machine.act(&spec, &step.act);
    }
    assert!(cuts >= 16, "{cuts}");
    stages.dedup();
    insta::assert_snapshot!(stages.join("\n\n"));
}

#[test]
fn a_newer_image_goes_to_the_other_slot_with_the_machines_identity() {
    let spec = spec(NUC);
    let machine = Machine { image: "2222".to_owned(), ..installed() };
    let before = machine.systems.clone();
    let (done, _) = finish(&spec, machine.clone());
    assert_eq!(done.pointer().as_deref(), Some("root-b"));
    let machines: Vec<&String> = done.systems.values().map(|(_, machine)| machine).collect();
    assert_eq!(machines[0], machines[1], "another machine-id");
    before
        .iter()
        .for_each(|(guid, system)| assert_eq!(done.systems.get(guid), Some(system), "the old slot was touched"));
    // A third one takes the first slot again, which is said to be erased.
    let third = Machine { image: "3333".to_owned(), ..done.reset() };
    let (last, _) = finish(&spec, third.clone());
    assert_eq!(last.pointer().as_deref(), Some("root-a"));
    insta::assert_snapshot!([seen(&spec, &machine), seen(&spec, &third)].join("\n\n"));
}

#[test]
fn a_cut_while_a_newer_image_is_installed_leaves_the_old_system_booted_until_the_new_one_is_whole() {
    let spec = spec(NUC);
    let mut machine = Machine { image: "2222".to_owned(), ..installed() };
    // Its boot loader is another one too.
    machine.esp.insert("EFI/BOOT/grubx64.efi".to_owned(), Leaf::new(b"old"));
    machine.core = false;
    while let Some(step) = first(&spec, &machine) {
        let mut cut = machine.clone();
        cut.cut(&step.act);
        for machine in [machine.clone(), cut] {
            let (end, _) = finish(&spec, machine.reset());
            assert_eq!(end.pointer().as_deref(), Some("root-b"), "after the cut at {step}");
        }
        machine.act(&spec, &step.act);
    }
}

#[test]
fn a_medium_that_finds_its_own_system_installed_waits_unless_it_is_to_install_again() {
    let spec = spec(NUC);
    let machine = installed();
    assert_eq!(first(&spec, &machine), None);
    let again = Machine { command_line: "root=x ro mimg.install=again".to_owned(), ..installed() };
    let (done, _) = finish(&spec, again.clone());
    assert_eq!((done.pointer().as_deref(), done.stopping), (Some("root-b"), true));
    insta::assert_snapshot!([seen(&spec, &machine), seen(&spec, &again)].join("\n\n"));
}

#[test]
fn an_installation_that_was_cut_before_its_end_is_ended_and_the_machine_restarted_once() {
    let spec = spec(NUC);
    let mut machine = Machine::with(ssd());
    while let Some(step) = first(&spec, &machine).filter(|step| !step.to_string().contains("reboot")) {
        machine.act(&spec, &step.act);
    }
    // In the same boot it restarts, in a later one it waits: it could not be told from a medium that boots for ever.
    assert!(first(&spec, &machine).is_some_and(|step| step.to_string().contains("reboot")));
    assert_eq!(first(&spec, &machine.reset()), None);
}

#[test]
fn partitions_that_have_no_links_yet_are_waited_for() {
    let spec = spec(NUC);
    let machine = Machine { links_late: true, ..installed() };
    assert_eq!(first(&spec, &machine), None);
    insta::assert_snapshot!(seen(&spec, &machine));
}

#[test]
fn what_is_not_ours_in_a_slot_or_on_the_esp_is_refused_by_name() {
    let spec = spec(NUC);
    let with = |partition: &str, kind: &str, uuid: &str| {
        let mut machine = installed();
        machine.hold(&link(NUC, partition), kind, uuid);
        machine.image = "2222".to_owned();
        seen(&spec, &machine)
    };
    let damaged = Machine { esp_damaged: true, ..installed() };
    let texts = [
        with("root-b", "xfs", "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11"),
        with("root-b", "ext4", "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11"),
        with("esp", "vfat", "ABCD-1234"),
        seen(&spec, &damaged),
    ];
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn an_esp_that_is_gone_is_made_again_and_the_system_kept() {
    let spec = spec(NUC);
    let mut machine = installed();
    machine.disks.disks[1].1.parts.insert(2, crate::disks::BLANK);
    machine.esp.clear();
    let (done, steps) = finish(&spec, machine.clone());
    assert!(!steps.iter().any(|step| step.contains("copy this system")), "{steps:?}");
    assert_eq!(done.systems, machine.systems);
    insta::assert_snapshot!(steps.join("\n"));
}

#[test]
fn an_image_on_the_machines_own_disk_stays_there_and_the_second_slot_comes_behind_it() {
    let spec = spec(NUC);
    let mut machine = Machine::with(ssd());
    machine.disks.disks.remove(0);
    image_on(&mut machine.disks.disks[0].1);
    machine.disks.disks[0].1.mounts = [(3, "/")].into();
    insta::assert_snapshot!(seen(&spec, &machine));
}

#[test]
fn a_disk_with_large_sectors_is_for_uefi_alone() {
    let spec = spec(NUC);
    let machine = Machine::with(crate::disks::Disk { sector: 4096, ..ssd() });
    let (done, steps) = finish(&spec, machine.clone());
    assert!(!done.core && !done.boot_code && done.stopping, "{steps:?}");
    assert!(seen(&spec, &machine).contains("a BIOS will not boot from it: its sectors have 4096 bytes"));
}

#[test]
fn a_machine_without_its_disk_waits_and_one_without_a_node_too() {
    let spec = spec(NUC);
    let mut machine = Machine::with(ssd());
    machine.disks.disks.remove(1);
    let bare = profiles::spec::Spec { node: None, ..spec.clone() };
    let texts = [seen(&spec, &machine), seen(&bare, &Machine::with(ssd()))];
    let system = lines(&spec, &machine).into_iter().find(|line| line.part == "system").expect("a line");
    assert!(matches!(system.verdict, Verdict::Wait(_)));
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_system_of_its_own_comes_before_all_that_is_in_it() {
    let text = format!("{NUC}[swap]\nsize = \"1G\"\n[[user]]\nname = \"ana\"\n");
    let spec = spec(&text);
    for part in spec
        .parts()
        .iter()
        .filter(|part| !["node", "packages", "disk system", "system"].contains(&part.name().as_str()))
    {
        assert!(part.after().contains(&"system".to_owned()), "{} acts on the medium", part.name());
    }
}
