//! Golden plans.

use crate::model::{Disk, Machine, found};
use crate::{finish, is_done, seen, spec, step};
use profiles::ask::{Slice, Table};
use profiles::facts::Facts;
use profiles::fleet::Fleet;
use profiles::plan::plan;

const GB: u64 = 1_000_000_000;
const NUC: &str = "[[disk]]\nname = \"system\"\nselect = { bus = [\"sata\", \"nvme\"], size-min = \"60G\", size-max = \"600G\" }\n\
    [[disk.partition]]\nname = \"bios\"\ntype = \"bios\"\nsize = \"1M\"\n\
    [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"64M\"\n\
    [[disk.partition]]\nname = \"root-a\"\ntype = \"linux\"\nsize = \"8G\"\n\
    [[disk.partition]]\nname = \"root-b\"\ntype = \"linux\"\nsize = \"8G\"\n\
    [[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";
const BOOT: &str = "[[disk]]\nname = \"boot\"\ncount = 2\nselect = { bus = [\"sata\"], rotational = false, size-max = \"300G\" }\n\
    [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"64M\"\n\
    [[disk.partition]]\nname = \"raid\"\ntype = \"raid\"\nsize = \"rest\"\n";

fn ssd() -> Disk {
    Disk::sata("Samsung SSD 870 EVO 250GB", "S6PENL0T902341K", 250_059_350_016)
}

fn other_ssd() -> Disk {
    Disk::sata("CT240BX500SSD1", "2007E28ED6C1", 240 * GB)
}

/// A stick with an image of its own, that the machine booted from.
fn stick() -> Disk {
    in_place(Disk::usb("Ultra Fit", "4C530001230415117044", 30_752_636_928))
}

/// A disk that an image was written to, and that the machine runs from.
fn in_place(mut disk: Disk) -> Disk {
    let lba = |mib: u64| (mib << 20) / disk.sector;
    let slice = |number: u32, kind: &str, name: &str, first: u64, end: u64| Slice {
        number,
        guid: format!("00000000-0000-5000-8000-00000000000{number}"),
        kind: kind.to_owned(),
        name: name.to_owned(),
        first: lba(first),
        last: lba(end) - 1,
    };
    let partitions = vec![
        slice(1, "21686148-6449-6e6f-744e-656564454649", "bios", 1, 2),
        slice(2, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "esp", 2, 66),
        slice(3, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "root", 66, 2000),
    ];
    let guid = "00000000-0000-5000-8000-000000000000".to_owned();
    let sectors = disk.size / disk.sector;
    disk.table = Some(Table { guid, primary: true, sector: disk.sector, sectors, backup: lba(2001) - 1, partitions });
    disk.parts = [(1, found("", None)), (2, found("vfat", None)), (3, found("ext4", None))].into();
    disk.parts.insert(1, crate::model::BLANK);
    disk.mounts = [(3, "/")].into();
    disk
}

fn nuc() -> Machine {
    Machine::default()
        .with("sda", stick())
        .with("nvme0n1", Disk::nvme("WD_BLACK SN770 500GB", "22315E803457", 500_107_862_016))
}

#[test]
fn a_blank_disk_is_partitioned_and_the_stick_stays_as_it_is() {
    insta::assert_snapshot!(seen(&spec(NUC), &nuc()));
}

#[test]
fn a_finished_disk_is_kept_wherever_it_is_plugged_in() {
    let spec = spec(NUC);
    let machine = finish(&spec, nuc());
    assert!(is_done(&spec, &machine));
    let disk = machine.disks[1].1.clone();
    let moved = Machine::default().with("nvme3n1", disk).with("sdc", stick());
    insta::assert_snapshot!(seen(&spec, &moved));
}

#[test]
fn two_disks_where_one_is_wanted_are_both_named_and_nothing_is_done() {
    insta::assert_snapshot!(seen(&spec(NUC), &nuc().with("sdb", ssd())));
}

#[test]
fn no_disk_that_matches_is_told_with_what_there_is() {
    let small = Disk::sata("KINGSTON SA400S37", "50026B7784A1B2C3", 32 * GB);
    let large = Disk::sas("ST16000NM002G", "ZL2A1B2C", 16_000_900_661_248);
    insta::assert_snapshot!(seen(
        &spec(NUC),
        &Machine::default().with("sda", small).with("sdb", large).with("sdc", stick())
    ));
}

#[test]
fn a_raid_controller_that_hides_its_disks_is_named() {
    let volume =
        Disk { model: "PERC H710P", transport: None, ..Disk::sas("PERC H710P", "00a1b2c3d4e5f60718", 479 * GB) };
    let machine = Machine {
        controllers: "/sys/bus/pci/drivers/megaraid_sas/0000:03:00.0\n",
        ..Machine::default().with("sda", Disk { subsystems: "block:scsi:pci", ..volume })
    };
    insta::assert_snapshot!(seen(&spec(BOOT), &machine));
}

#[test]
fn somebodys_disk_is_refused_with_what_is_on_it_and_erased_only_by_its_fingerprint() {
    let machine = Machine::default().with("sda", ssd().holding("ext4", Some("photos")));
    let refused = seen(&spec(NUC), &machine);
    let fingerprint =
        refused.split("\"foreign:").nth(1).and_then(|rest| rest.split('"').next()).expect("a fingerprint");
    let allowed = NUC.replacen("select", &format!("erase = [\"foreign:{fingerprint}\"]\nselect"), 1);
    let changed = Machine::default().with("sda", ssd().holding("ext4", Some("more photos")));
    let texts = [refused.clone(), seen(&spec(&allowed), &machine), seen(&spec(&allowed), &changed)];
    insta::assert_snapshot!(texts.join("\n\n"));
    assert!(is_done(&spec(&allowed), &finish(&spec(&allowed), machine)));
}

#[test]
fn a_disk_with_data_that_nobody_knows_is_refused_too() {
    let mut disk = ssd();
    disk.whole.blank = false;
    insta::assert_snapshot!(seen(&spec(NUC), &Machine::default().with("sda", disk)));
}

#[test]
fn a_disk_that_does_not_answer_is_refused() {
    let (spec, machine) = (spec(NUC), Machine::default().with("sda", ssd()));
    let mut facts = Facts::default();
    for (ask, answer) in machine.facts(&spec).iter() {
        if !matches!(ask, profiles::ask::Ask::Probe(_)) {
            facts.note(ask.clone(), answer.clone());
        }
    }
    let plan = plan(&spec, &spec.parts(), &facts);
    insta::assert_snapshot!(plan.0.iter().find(|line| line.part == "disk system").expect("a line"));
}

#[test]
fn a_raised_generation_erases_what_was_ours_and_a_lowered_one_is_refused() {
    let machine = finish(&spec(NUC), Machine::default().with("sda", ssd()));
    let next = spec(&NUC.replacen("select", "generation = 1\nselect", 1));
    let remade = finish(&next, machine.clone());
    assert!(is_done(&next, &remade));
    let mut in_use = machine.clone();
    in_use.disks[0].1.mounts = [(3, "/")].into();
    let texts = [seen(&next, &machine), seen(&next, &in_use), seen(&spec(NUC), &remade)];
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_disk_that_the_machine_runs_from_gets_further_partitions_behind_its_root() {
    let droplet = "[[disk]]\nname = \"system\"\nselect = { bus = [\"virtio\"] }\n[[disk.partition]]\nname = \"data\"\n\
        type = \"lvm\"\nsize = \"rest\"\n";
    let machine = Machine::default().with("vda", in_place(Disk::virtio(25 << 30, "virtio-pci-0000:00:06.0")));
    let spec = spec(droplet);
    let done = finish(&spec, machine.clone());
    assert!(is_done(&spec, &done));
    let mut tight = machine.clone();
    tight.disks[0].1.size = 8 << 30;
    tight.disks[0].1.table.as_mut().expect("a table").sectors = (8 << 30) / 512;
    insta::assert_snapshot!([seen(&spec, &machine), seen(&spec, &done), seen(&spec, &tight)].join("\n\n"));
}

#[test]
fn the_same_settings_fit_an_image_written_to_the_disk_and_one_installed_from_a_stick() {
    let spec = spec(NUC);
    let machine = Machine::default().with("sda", in_place(ssd()));
    let mut cut = machine.clone();
    assert!(step(&spec, &mut cut));
    let done = finish(&spec, cut.clone());
    assert!(is_done(&spec, &done));
    insta::assert_snapshot!([seen(&spec, &machine), seen(&spec, &cut), seen(&spec, &done)].join("\n\n"));
}

#[test]
fn a_root_that_takes_the_rest_leaves_no_room_for_partitions() {
    let greedy = spec(&format!("{NUC}[system]\nroot = \"rest\"\n"));
    insta::assert_snapshot!(seen(&greedy, &Machine::default().with("sda", in_place(ssd()))));
}

/// The machine of design: thirteen disks, two of them to boot from.
fn r720() -> Machine {
    let serials = ["ZL2A0001", "ZL2A0002", "ZL2A0003", "ZL2A0004", "ZL2A0005", "ZL2A0006"];
    let fast = ["S3Z1NB0K100001", "S3Z1NB0K100002", "S3Z1NB0K100003"];
    let mut machine = Machine::default();
    let mut plug = |disk: Disk| {
        let letter = char::from(b'a' + machine.disks.len() as u8);
        machine.disks.push((format!("sd{letter}"), disk));
    };
    serials.iter().for_each(|serial| plug(Disk::sas("ST16000NM002G", serial, 16_000_900_661_248)));
    ["BTWL0001", "BTWL0002"].iter().for_each(|serial| plug(Disk::sata("INTEL SSDSC2BB24", serial, 240_057_409_536)));
    fast.iter().for_each(|serial| plug(Disk::sata("Samsung SSD 860", serial, 1_000_204_886_016)));
    ["CT500A", "CT500B"].iter().for_each(|serial| plug(Disk::sata("CT500MX500SSD1", serial, 500_107_862_016)));
    machine
}

const R720: &str = "[[disk]]\nname = \"fast\"\ncount = 3\nselect = { bus = [\"sata\"], size-min = \"900G\", size-max = \"1T\" }\n\
    [[disk.partition]]\nname = \"zfs\"\ntype = \"zfs\"\nsize = \"rest\"\n\
    [[disk]]\nname = \"bulk\"\ncount = 6\nselect = { bus = [\"sas\"], rotational = true }\n\
    [[disk.partition]]\nname = \"zfs\"\ntype = \"zfs\"\nsize = \"rest\"\n\
    [[disk]]\nname = \"cache\"\ncount = 2\nselect = { bus = [\"sata\"], size-min = \"400G\", size-max = \"500G\" }\n\
    [[disk.partition]]\nname = \"zfs\"\ntype = \"zfs\"\nsize = \"rest\"\n";

#[test]
fn the_thirteen_disks_of_an_r720_get_their_slots_by_serial_number() {
    let spec = spec(&format!("{BOOT}{R720}"));
    let machine = r720();
    assert!(is_done(&spec, &finish(&spec, machine.clone())));
    insta::assert_snapshot!(seen(&spec, &machine));
}

#[test]
fn a_disk_that_two_groups_mean_is_refused_by_both() {
    let wide = R720.replacen("size-min = \"400G\", ", "", 1);
    insta::assert_snapshot!(seen(&spec(&format!("{BOOT}{wide}")), &r720()));
}

fn pair() -> Machine {
    Machine::default().with("sda", ssd()).with("sdb", other_ssd())
}

#[test]
fn a_new_disk_takes_a_missing_ones_place_only_by_a_persons_word() {
    let spec = spec(BOOT);
    let mut machine = finish(&spec, pair());
    assert!(is_done(&spec, &machine));
    machine.disks.remove(1);
    let missing = seen(&spec, &machine);
    let machine = machine.with("sdc", Disk::sata("KINGSTON SA400S37", "50026B7784A1B2C3", 240 * GB));
    let allowed = machine.clone().allowing("boot/0");
    assert!(is_done(&spec, &finish(&spec, allowed.clone())));
    insta::assert_snapshot!([missing, seen(&spec, &machine), seen(&spec, &allowed)].join("\n\n"));
}

#[test]
fn a_group_whose_making_was_cut_off_is_made_to_its_end_without_a_word() {
    let spec = spec(BOOT);
    let mut machine = pair();
    for cut in 0.. {
        let whole = finish(&spec, machine.clone());
        assert!(is_done(&spec, &whole), "after {cut} steps: {}", seen(&spec, &machine));
        if !step(&spec, &mut machine) {
            assert_eq!(cut, 2 + 2 + 2, "two tables, two partitions with dust in them, two tables finished");
            break;
        }
    }
}

#[test]
fn nothing_is_changed_on_a_finished_group_while_a_disk_is_missing() {
    let mut machine = finish(&spec(BOOT), pair());
    machine.disks.remove(1);
    let next = spec(&BOOT.replacen("count = 2", "count = 2\ngeneration = 1", 1));
    let more = spec(&format!(
        "{}[[disk.partition]]\nname = \"more\"\ntype = \"zfs\"\nsize = \"rest\"\n",
        BOOT.replacen("\"rest\"", "\"100G\"", 1)
    ));
    let half = finish(&spec(&BOOT.replacen("\"rest\"", "\"100G\"", 1)), pair());
    let half = Machine { disks: half.disks[..1].to_vec(), ..half };
    insta::assert_snapshot!([seen(&next, &machine), seen(&more, &half)].join("\n\n"));
}

#[test]
fn a_finished_disk_is_never_taken_for_an_unfinished_one_because_its_partitions_have_other_names_now() {
    let mut machine = finish(&spec(NUC), Machine::default().with("sda", ssd()));
    let renamed = ["esp", "root-a", "root-b", "data", "bios"].iter().fold(NUC.to_owned(), |text, name| {
        text.replace(&format!("name = \"{name}\""), &format!("name = \"new-{name}\""))
    });
    // Not as it should be in every way that an unfinished table can have.
    machine.disks[0].1.table.as_mut().expect("a table").backup = 0;
    machine.disks[0].1.whole = found("zfs_member", None);
    insta::assert_snapshot!(seen(&spec(&renamed), &machine));
}

#[test]
fn two_disks_with_one_slot_are_both_named() {
    let spec = spec(BOOT);
    let mut machine = finish(&spec, pair());
    machine.disks[1].1.table = machine.disks[0].1.table.clone();
    insta::assert_snapshot!(seen(&spec, &machine));
}

#[test]
fn a_group_with_an_absent_disk_is_made_without_it() {
    let spec = spec(&BOOT.replacen("count = 2", "count = 2\nabsent = 1", 1));
    let machine = Machine::default().with("sda", ssd());
    assert!(is_done(&spec, &finish(&spec, machine.clone())));
    insta::assert_snapshot!([seen(&spec, &machine), seen(&spec, &pair())].join("\n\n"));
}

#[test]
fn a_disk_that_grew_and_new_settings_grow_what_is_last() {
    let fixed = NUC.replacen("\"rest\"", "\"20G\"", 1);
    let machine = finish(&spec(&fixed), Machine::default().with("sda", ssd()));
    let mut grown = machine.clone();
    grown.disks[0].1.size += 10 << 30;
    let more = format!(
        "{}[[disk.partition]]\nname = \"more\"\ntype = \"linux\"\nsize = \"rest\"\n",
        fixed.replacen("20G", "30G", 1)
    );
    for settings in [NUC, &more] {
        assert!(is_done(&spec(settings), &finish(&spec(settings), machine.clone())), "{settings}");
    }
    let texts = [seen(&spec(&fixed), &grown), seen(&spec(NUC), &grown), seen(&spec(&more), &machine)];
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn shrinking_removing_and_changing_are_refused_with_the_way_by_hand() {
    let machine = finish(&spec(NUC), Machine::default().with("sda", ssd()));
    let smaller = NUC.replacen("8G", "6G", 1).replacen(
        "name = \"esp\"\ntype = \"esp\"\nsize = \"64M\"",
        "name = \"esp\"\ntype = \"esp\"\nsize = \"32M\"",
        1,
    );
    let removed = NUC.replacen("[[disk.partition]]\nname = \"root-b\"\ntype = \"linux\"\nsize = \"8G\"\n", "", 1);
    let cut = NUC.split("[[disk.partition]]\nname = \"data\"").next().expect("it is there").to_owned();
    let other = NUC.replacen("\"lvm\"", "\"zfs\"", 1);
    let middle =
        NUC.replacen("root-b\"\ntype = \"linux\"\nsize = \"8G\"", "root-b\"\ntype = \"linux\"\nsize = \"9G\"", 1);
    let texts = [smaller, removed, cut, other, middle].map(|settings| seen(&spec(&settings), &machine));
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_table_with_a_gap_or_with_somebodys_partition_is_not_changed() {
    let machine = finish(&spec(NUC), Machine::default().with("sda", ssd()));
    let (mut gap, mut guest) = (machine.clone(), machine);
    gap.disks[0].1.table.as_mut().expect("a table").partitions.remove(1);
    let table = guest.disks[0].1.table.as_mut().expect("a table");
    table.partitions[4].last -= 1 << 20;
    let last = table.partitions[4].last;
    let (number, name) = (6, "games".to_owned());
    table.partitions.push(Slice {
        number,
        guid: "g".to_owned(),
        name,
        first: last + 1,
        last: last + 99,
        ..table.partitions[4].clone()
    });
    insta::assert_snapshot!([gap, guest].map(|machine| seen(&spec(NUC), &machine)).join("\n\n"));
}

#[test]
fn a_table_whose_writing_was_cut_off_is_written_again_and_a_damaged_one_repaired_from_its_copy() {
    let spec = spec(NUC);
    let mut torn = Machine::default().with("sda", ssd());
    assert!(step(&spec, &mut torn));
    let draft = torn.disks[0].1.table.clone().expect("a table");
    let done = finish(&spec, torn.clone());
    let with = |machine: &Machine, change: &dyn Fn(&mut Table)| {
        let mut machine = machine.clone();
        change(machine.disks[0].1.table.as_mut().expect("a table"));
        machine.disks[0].1.whole.signatures.clear();
        machine
    };
    let lone =
        with(&torn, &|table| *table = Table { primary: false, backup: 0, partitions: Vec::new(), ..draft.clone() });
    let second = with(&torn, &|table| table.primary = false);
    let damaged = with(&done, &|table| table.primary = false);
    let lost =
        with(&done, &|table| *table = Table { primary: false, backup: 0, partitions: Vec::new(), ..table.clone() });
    let moved = with(&done, &|table| table.backup = 0);
    let mut reused = damaged.clone();
    reused.disks[0].1.whole = found("ext4", Some("mine now"));
    for machine in [&lone, &second, &damaged, &moved] {
        assert!(is_done(&spec, &finish(&spec, machine.clone())));
    }
    let texts = [lone, second, damaged, lost, moved, reused].map(|machine| seen(&spec, &machine));
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_disk_too_small_is_told_in_bytes() {
    let spec = spec(&NUC.replacen("size-min = \"60G\", ", "", 1));
    insta::assert_snapshot!(seen(&spec, &Machine::default().with("sda", Disk { size: 16 * GB, ..ssd() })));
}

#[test]
fn a_bare_profile_and_a_machine_without_answers_wait() {
    let files =
        [("fleet.toml", crate::ROOT), ("profiles/box.toml", NUC)].map(|(path, text)| (path.into(), text.into()));
    let files = files.into();
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    let bare = fleet.profile("box").expect("a profile");
    let silent = plan(&spec(NUC), &spec(NUC).parts(), &Facts::default());
    let silent = silent.0.iter().find(|line| line.part == "disk system").expect("a line").to_string();
    insta::assert_snapshot!([seen(&bare, &nuc()), silent].join("\n"));
}
