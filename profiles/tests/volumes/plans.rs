//! Golden plans.

use crate::disks::Disk;
use crate::model::{Machine, signed};
use crate::{NUC, PAIR, finish, is_done, is_storage, lines, next, seen, spec};
use profiles::act::Act;
use profiles::ask::Probe;
use profiles::device::Device;
use profiles::facts::Facts;
use profiles::fleet::Fleet;
use profiles::plan::{Verdict, plan};
use profiles::spec::Spec;

const GB: u64 = 1_000_000_000;

pub fn nuc() -> Machine {
    Machine::of(vec![("nvme0n1", Disk::nvme("WD_BLACK SN770 500GB", "22315E803457", 500_107_862_016))])
}

pub fn ssd(serial: &'static str) -> Disk {
    Disk::sata("Samsung SSD 870 EVO 250GB", serial, 250 * GB)
}

pub fn pair() -> Machine {
    let mut machine = Machine::of(vec![("sda", ssd("S6PENL0T902341K")), ("sdb", ssd("S6PENL0T902342L"))]);
    machine.keys.insert("/etc/mimg/keys/crypt".to_owned(), "secret");
    machine
}

fn path(spec: &Spec, device: &str) -> String {
    spec.devices(&Device::parse(device).unwrap()).remove(0)
}

/// What a person sees of one Part.
pub fn line(spec: &Spec, machine: &Machine, part: &str) -> String {
    let lines = lines(spec, machine);
    lines.iter().find(|line| line.part == part).unwrap_or_else(|| panic!("no part {part}")).to_string()
}

/// Several plans of one Part, each under what it is about.
pub fn told(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(about, line)| format!("== {about}\n{line}")).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_blank_nuc_is_planned_to_the_end_before_its_disk_has_a_partition() {
    insta::assert_snapshot!(seen(&spec(NUC), &nuc()));
}

#[test]
fn a_blank_pair_is_planned_to_the_end_through_array_encryption_and_group() {
    insta::assert_snapshot!(seen(&spec(PAIR), &pair()));
}

#[test]
fn a_finished_machine_has_nothing_to_do() {
    insta::assert_snapshot!(seen(&spec(NUC), &finish(&spec(NUC), nuc())));
    insta::assert_snapshot!(seen(&spec(PAIR), &finish(&spec(PAIR), pair())));
}

#[test]
fn the_files_that_bring_it_up_at_boot() {
    let mut files = finish(&spec(NUC), nuc()).files;
    files.append(&mut finish(&spec(PAIR), pair()).files);
    let shown: Vec<String> = files.values().map(|file| format!("== {}\n{}", file.path, file.content)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// The image was written again, or to another disk: nothing of the settings is in the new root file system.
#[test]
fn a_new_system_adopts_what_its_node_made_before_and_says_so() {
    let spec = spec(PAIR);
    let mut machine = finish(&spec, pair());
    let before = machine.probe("/dev/main/data").cloned();
    machine.files.clear();
    machine.services.clear();
    machine.reboot();
    insta::assert_snapshot!(seen(&spec, &machine));
    let machine = finish(&spec, machine);
    assert!(is_done(&spec, &machine), "{}", seen(&spec, &machine));
    assert_eq!(machine.probe("/dev/main/data").cloned(), before);
}

#[test]
fn what_was_only_half_done_goes_on_from_there() {
    let (nuc_spec, pair_spec) = (spec(NUC), spec(PAIR));
    let until = |spec: &Spec, mut machine: Machine, word: &str| loop {
        let step = next(spec, &machine).expect("it comes");
        machine.act(&step.act);
        if step.act.to_string().contains(word) {
            machine.reboot();
            return machine;
        }
    };
    let half = |spec: &Spec, mut machine: Machine, word: &str| loop {
        let step = next(spec, &machine).expect("it comes");
        if step.act.to_string().contains(word) {
            let mut half = machine.halves(&step.act).remove(0);
            half.reboot();
            return half;
        }
        machine.act(&step.act);
    };
    insta::assert_snapshot!(told(&[
        ("a label, and no group", line(&nuc_spec, &until(&nuc_spec, nuc(), "pvcreate"), "vg main")),
        ("a group without its unit", line(&nuc_spec, &until(&nuc_spec, nuc(), "vgcreate"), "vg main")),
        ("a volume that may hold anything", line(&nuc_spec, &until(&nuc_spec, nuc(), "lvcreate"), "lv main/data")),
        ("half a file system", line(&nuc_spec, &half(&nuc_spec, nuc(), "mkfs.ext4"), "filesystem data")),
        ("a whole one without its name", line(&nuc_spec, &until(&nuc_spec, nuc(), "mkfs.xfs"), "filesystem db")),
        (
            "a unit's file, and no file system yet",
            line(&nuc_spec, &until(&nuc_spec, nuc(), "put /etc/systemd/system/srv.mount"), "filesystem data")
        ),
        (
            "one member of an array",
            line(&pair_spec, &half(&pair_spec, pair(), "mdadm --create /dev/md/data"), "md data")
        ),
        ("a header without a key", line(&pair_spec, &half(&pair_spec, pair(), "luksFormat"), "luks crypt")),
        ("a header whose key fits", line(&pair_spec, &until(&pair_spec, pair(), "luksFormat"), "luks crypt")),
    ]));
}

#[test]
fn what_is_somebody_elses_is_refused_by_its_name() {
    let (nuc_spec, pair_spec) = (spec(NUC), spec(PAIR));
    let finished = || finish(&nuc_spec, nuc());
    let mut group = finished();
    group.groups.get_mut("main").unwrap().tags = ["other".to_owned()].into();
    let mut renamed = finished();
    let main = renamed.groups.remove("main").unwrap();
    renamed.groups.insert("old".to_owned(), main);
    let mut volume = finished();
    volume.lv("main/data").tags.clear();
    let mut content = finished();
    content.set("/dev/main/data", signed("ntfs", "5E1C0A2B1C0A0000"));
    let mut changed = finished();
    let uuid = changed.probe("/dev/main/data").unwrap().signatures[0].uuid.clone().unwrap();
    changed.set("/dev/main/data", signed("xfs", &uuid));
    let mut label = nuc();
    while next(&nuc_spec, &label).is_some_and(|step| !step.act.to_string().contains("pvcreate")) {
        let step = next(&nuc_spec, &label).unwrap();
        label.act(&step.act);
    }
    let mut ext4 = label.clone();
    label.set(&path(&nuc_spec, "disk:system/data"), signed("LVM2_member", "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"));
    ext4.set(&path(&nuc_spec, "disk:system/data"), signed("ext4", "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11"));
    let mut mounted = finished();
    mounted.mounts.insert("/srv".to_owned(), ("tmpfs".to_owned(), "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11".to_owned()));
    let mut array = finish(&pair_spec, pair());
    array.arrays.get_mut("data").unwrap().uuid = "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f11".to_owned();
    let mut other_level = finish(&pair_spec, pair());
    other_level.arrays.get_mut("data").unwrap().level = "raid0".to_owned();
    insta::assert_snapshot!(told(&[
        ("a group of that name", line(&nuc_spec, &group, "vg main")),
        ("our group, renamed", line(&nuc_spec, &renamed, "vg main")),
        ("a label without a group", line(&nuc_spec, &label, "vg main")),
        ("a file system where the group is to be", line(&nuc_spec, &ext4, "vg main")),
        ("a volume of that name", line(&nuc_spec, &volume, "lv main/data")),
        ("something else on a volume", line(&nuc_spec, &content, "filesystem data")),
        ("ours, of another type", line(&nuc_spec, &changed, "filesystem data")),
        ("another mount in its place", line(&nuc_spec, &mounted, "filesystem data")),
        ("another array of that name", line(&pair_spec, &array, "md data")),
        ("an array of another level", line(&pair_spec, &other_level, "md data")),
    ]));
}

#[test]
fn an_array_without_a_member_runs_and_takes_a_new_one_in() {
    let spec = spec(PAIR);
    let mut machine = finish(&spec, pair());
    let lost = machine.base.disks.remove(1).1;
    for (name, partition) in [("swap", "disk:pair/swap"), ("data", "disk:pair/raid")] {
        let second = spec.devices(&Device::parse(partition).unwrap()).remove(1);
        assert!(machine.arrays.get_mut(name).unwrap().members.remove(&second));
    }
    let degraded = line(&spec, &machine, "md data");
    // The new disk got the lost one's table: `firstboot replace pair/1`.
    let mut new = ssd("S6PENL0T900000Z");
    new.table = lost.table.clone();
    new.parts = lost.parts.keys().map(|number| (*number, Probe { signatures: Vec::new(), blank: true })).collect();
    new.whole = lost.whole;
    machine.base = machine.base.with("sdb", new);
    let replaced = line(&spec, &machine, "md data");
    let mut stopped = machine.clone();
    stopped.arrays.get_mut("data").unwrap().running = false;
    let stopped = line(&spec, &stopped, "md data");
    let machine = finish(&spec, machine);
    assert!(is_done(&spec, &machine), "{}", seen(&spec, &machine));
    assert!(machine.arrays.values().all(|array| array.members.len() == 2));
    insta::assert_snapshot!(told(&[
        ("one member is gone", degraded),
        ("an empty one in its place", replaced),
        ("the same after a reboot", stopped),
    ]));
}

const FIVE: &str = "[[disk]]\nname = \"five\"\ncount = 3\nselect = { bus = [\"sata\"], size-min = \"60G\" }\n\
    partition = [{ name = \"raid\", type = \"raid\", size = \"rest\" }]\n[[md]]\nname = \"data\"\nlevel = \"5\"\ndevices = [\"disk:five/raid\"]\n";

#[test]
fn an_array_is_made_without_members_that_are_absent_and_never_made_anew_over_its_own() {
    let three = || Machine::of(vec![("sda", ssd("A")), ("sdb", ssd("B")), ("sdc", ssd("C"))]);
    let (whole, one_less) = (spec(FIVE), spec(&FIVE.replace("count = 3", "count = 3\nabsent = 1")));
    let mut two = three();
    two.base.disks.pop();
    let degraded = line(&one_less, &two, "md data");
    let two = finish(&one_less, two);
    assert!(is_done(&one_less, &two) && two.arrays["data"].members.len() == 2);
    // It came, and got its place by `firstboot replace five/2`.
    let mut come = two.clone();
    come.base = come.base.with("sdc", ssd("C")).allowing("five/2");
    let come = finish(&whole, come);
    assert!(is_done(&whole, &come) && come.arrays["data"].members.len() == 3, "{}", seen(&whole, &come));
    // Two of three members were lost, and new disks have their places: nothing can be saved, and nothing is made anew.
    let mut lost = finish(&whole, three());
    lost.arrays.get_mut("data").unwrap().running = false;
    for (_, disk) in lost.base.disks.iter_mut().skip(1) {
        disk.parts.insert(1, Probe { signatures: Vec::new(), blank: true });
    }
    let mut begun = finish(&whole, three());
    begun.reboot();
    begun.arrays.get_mut("data").unwrap().running = false;
    insta::assert_snapshot!(told(&[
        ("one is absent", degraded),
        ("two are lost", line(&whole, &lost, "md data")),
        ("stopped", line(&whole, &begun, "md data")),
    ]));
}

#[test]
fn a_key_decides_whether_an_encrypted_device_is_opened() {
    let spec = spec(PAIR);
    let key = |machine: &mut Machine, key: Option<&'static str>| match key {
        Some(key) => drop(machine.keys.insert("/etc/mimg/keys/crypt".to_owned(), key)),
        None => machine.keys.clear(),
    };
    let closed = || {
        let mut machine = finish(&spec, pair());
        machine.reboot();
        machine.crypts.values_mut().for_each(|crypt| crypt.open = false);
        machine.services.get_mut("systemd-cryptsetup@crypt.service").unwrap().active = "inactive";
        machine
    };
    let (mut none, mut wrong, mut open) = (closed(), closed(), finish(&spec, pair()));
    key(&mut none, None);
    key(&mut wrong, Some("another"));
    key(&mut open, None);
    let (mut blank, mut empty) = (pair(), pair());
    key(&mut blank, None);
    key(&mut empty, Some(""));
    insta::assert_snapshot!(told(&[
        ("closed", line(&spec, &closed(), "luks crypt")),
        ("what stands on it meanwhile", line(&spec, &closed(), "vg main")),
        ("no key", line(&spec, &none, "luks crypt")),
        ("another key", line(&spec, &wrong, "luks crypt")),
        ("open, and the key taken away", line(&spec, &open, "luks crypt")),
        ("nothing made yet, and no key", line(&spec, &blank, "luks crypt")),
        ("nothing made yet, and an empty key", line(&spec, &empty, "luks crypt")),
    ]));
}

#[test]
fn a_tpm_opens_it_where_there_is_one_and_the_key_where_it_fails() {
    let spec = spec(&PAIR.replace("key = ", "tpm2 = true\nkey = "));
    let mut machine = pair();
    let without = line(&spec, &machine, "luks crypt");
    machine.has_tpm = true;
    let with = line(&spec, &machine, "luks crypt");
    let mut machine = finish(&spec, machine);
    machine.reboot();
    assert!(is_done(&spec, &machine), "{}", seen(&spec, &machine));
    machine.has_tpm = false;
    machine.reboot();
    insta::assert_snapshot!(told(&[
        ("no TPM", without),
        ("a TPM", with),
        ("a TPM that is gone", line(&spec, &machine, "luks crypt")),
    ]));
    assert!(is_done(&spec, &finish(&spec, machine)));
}

#[test]
fn nothing_is_done_to_what_does_not_answer() {
    for settings in [NUC, PAIR] {
        let spec = spec(settings);
        let lines = plan(&spec, &spec.parts(), &Facts::default()).0;
        for line in lines.iter().filter(|line| is_storage(&line.part)) {
            assert!(matches!(line.verdict, Verdict::Wait(_)), "{line}");
        }
    }
}

/// With its members and devices dead, what runs on them is left to run.
#[test]
fn a_running_array_is_done_though_a_member_does_not_answer() {
    let spec = spec(PAIR);
    let machine = finish(&spec, pair());
    let mut facts = Facts::default();
    let dead = profiles::ask::Ask::Probe(path(&spec, "disk:pair/raid"));
    for (ask, answer) in machine.facts(&spec).iter().filter(|(ask, _)| **ask != dead) {
        facts.note(ask.clone(), answer.clone());
    }
    let plan = plan(&spec, &spec.parts(), &facts);
    let line = plan.0.iter().find(|line| line.part == "md data").unwrap();
    assert_eq!(line.verdict, Verdict::Done, "{line}");
}

#[test]
fn a_bare_profile_makes_no_volumes() {
    let profile = ("profiles/store.toml".to_owned(), format!("profiles = [\"base\"]\n{NUC}"));
    let files = [("fleet.toml".to_owned(), crate::ROOT.to_owned()), profile].into();
    let spec = Fleet::load(&files).unwrap().profile("store").unwrap();
    for line in lines(&spec, &nuc()) {
        assert!(matches!(line.verdict, Verdict::Wait(_)), "{line}");
    }
}

#[test]
fn settings_that_stand_on_themselves_are_not_read_by_a_machine() {
    let mut spec = spec(PAIR);
    spec.settings.luks[0].device = Device::parse("lv:main/data").unwrap();
    assert_eq!(Spec::read(&spec.json()).unwrap_err(), "it is damaged: devices in it stand on themselves");
}

#[test]
fn volumes_of_one_name_in_two_groups_are_two() {
    let profile = "profiles = [\"base\"]\n[[disk]]\nname = \"a\"\nselect = { bus = [\"sata\"], size-min = \"60G\" }\npartition = [\n\
                   { name = \"one\", type = \"lvm\", size = \"20G\" }, { name = \"two\", type = \"lvm\", size = \"rest\" }]\n\
                   [[vg]]\nname = \"one\"\ndevices = [\"disk:a/one\"]\n[[vg]]\nname = \"two\"\ndevices = [\"disk:a/two\"]\n\
                   [[lv]]\nname = \"data\"\nvg = \"one\"\nsize = \"1G\"\n";
    let node = "profiles = [\"store\"]\n[[lv]]\nname = \"data\"\nvg = \"two\"\nsize = \"2G\"\n[[lv]]\nname = \"data\"\nvg = \"one\"\nsize = \"3G\"\n";
    let files = [("fleet.toml", crate::ROOT), ("profiles/store.toml", profile), ("nodes/eccles.toml", node)];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let spec = Fleet::load(&files).unwrap().node("eccles").unwrap();
    let mut seen: Vec<String> =
        spec.settings.lv.iter().map(|lv| format!("{}/{} {}", lv.vg, lv.name, lv.size)).collect();
    seen.sort();
    assert_eq!(seen, ["one/data 3G", "two/data 2G"]);
}

/// Nothing of the settings alone may make a step that erases.
#[test]
fn no_step_of_volumes_does_harm() {
    for (settings, machine) in [(NUC, nuc()), (PAIR, pair())] {
        for line in lines(&spec(settings), &machine) {
            let Verdict::Do(steps) = line.verdict else { continue };
            for step in steps {
                assert_eq!(step.harm, profiles::act::Harm::None, "{step}");
                assert!(
                    !matches!(&step.act, Act::Run(argv) if argv.iter().any(|word| ["--force", "-f", "-ff", "--yes", "-y"].contains(&word.as_str()))),
                    "{step}"
                );
            }
        }
    }
}
