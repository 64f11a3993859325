//! Power cuts: after each step, and in the middle of each, the machine boots and comes to the same end.

use crate::model::Machine;
use crate::{NUC, PAIR, finish, is_done, next, plans, seen, spec};
use profiles::spec::Spec;

/// All that a machine keeps without power.
fn kept(machine: &Machine) -> String {
    let Machine { base, arrays, groups, crypts, files, services, filled, .. } = machine;
    let contents: Vec<_> = base.disks.iter().map(|(_, disk)| (&disk.table, &disk.parts)).collect();
    let enabled: Vec<_> = services.iter().map(|(name, service)| (name, service.enabled)).collect();
    let mut arrays = arrays.clone();
    arrays.values_mut().for_each(|array| array.events = 0);
    format!("{contents:#?}{arrays:#?}{groups:#?}{crypts:#?}{files:#?}{enabled:#?}{filled:#?}")
}

fn cut_everywhere(spec: &Spec, blank: Machine) -> usize {
    let mut whole = finish(spec, blank.clone());
    assert!(is_done(spec, &whole), "{}", seen(spec, &whole));
    whole.filled.retain(|uuid, _| whole.mounts.values().any(|(_, known)| known == uuid));
    let mut machine = blank;
    let mut cuts = 0;
    while let Some(step) = next(spec, &machine) {
        let mut left = vec![machine.clone()];
        left.extend(machine.halves(&step.act));
        for mut half in left {
            cuts += 1;
            half.reboot();
            let mut end = finish(spec, half);
            assert!(is_done(spec, &end), "cut in {}:\n{}", step.act, seen(spec, &end));
            end.filled.retain(|uuid, _| end.mounts.values().any(|(_, known)| known == uuid));
            assert_eq!(kept(&end), kept(&whole), "cut in {}", step.act);
        }
        machine.act(&step.act);
    }
    cuts
}

#[test]
fn a_cut_anywhere_in_making_a_nuc_leads_to_the_same_end() {
    assert!(cut_everywhere(&spec(NUC), plans::nuc()) >= 30);
}

#[test]
fn a_cut_anywhere_in_making_an_encrypted_pair_leads_to_the_same_end() {
    assert!(cut_everywhere(&spec(PAIR), plans::pair()) >= 41);
}

#[test]
fn a_reboot_of_a_finished_machine_leaves_nothing_to_do() {
    for (settings, blank) in [(NUC, plans::nuc()), (PAIR, plans::pair())] {
        let spec = spec(settings);
        let mut machine = finish(&spec, blank);
        machine.reboot();
        assert!(is_done(&spec, &machine), "{}", seen(&spec, &machine));
    }
}
