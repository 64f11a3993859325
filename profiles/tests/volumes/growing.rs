//! What becomes larger, and all that stands on it.

use crate::disks::Disk;
use crate::model::{Lv, Machine};
use crate::plans::{line, nuc, ssd, told};
use crate::{NUC, finish, is_done, seen, spec};

#[test]
fn a_volume_written_larger_grows_with_its_file_system() {
    let machine = finish(&spec(NUC), nuc());
    let larger = spec(&NUC.replace("20G", "30G").replace("10G", "12G"));
    insta::assert_snapshot!(told(&[
        ("ext4's volume", line(&larger, &machine, "lv main/data")),
        ("ext4", line(&larger, &machine, "filesystem data")),
        ("xfs's volume", line(&larger, &machine, "lv main/db")),
        ("xfs", line(&larger, &machine, "filesystem db")),
    ]));
    let grown = finish(&larger, machine);
    assert!(is_done(&larger, &grown));
    let sizes: Vec<u64> = grown.mounts.values().map(|(_, uuid)| grown.filled[uuid]).collect();
    assert_eq!(sizes, [30 << 30, 12 << 30]);
}

/// firstboot goes by the first plan for what comes before a Part: the mapping must not be called done while its volume grows.
#[test]
fn an_encrypted_volume_written_larger_grows_with_its_mapping_before_its_file_system() {
    let encrypted = "[[lv]]\nname = \"crypt\"\nvg = \"main\"\nsize = \"1G\"\n[[luks]]\nname = \"crypt\"\n\
        device = \"lv:main/crypt\"\nkey = \"/etc/mimg/keys/crypt\"\n[[filesystem]]\nname = \"secret\"\n\
        device = \"luks:crypt\"\ntype = \"ext4\"\nmount = \"/srv/secret\"\n";
    let settings = format!("{NUC}{encrypted}");
    let mut machine = nuc();
    machine.keys.insert("/etc/mimg/keys/crypt".to_owned(), "secret");
    let machine = finish(&spec(&settings), machine);
    assert!(is_done(&spec(&settings), &machine));
    let larger = spec(&settings.replace("\"1G\"", "\"2G\""));
    for part in ["lv main/crypt", "luks crypt", "filesystem secret"] {
        assert!(line(&larger, &machine, part).starts_with("to do"), "{}", line(&larger, &machine, part));
    }
    assert!(is_done(&larger, &finish(&larger, machine)));
}

#[test]
fn volumes_that_are_written_smaller_or_do_not_fit_are_refused_in_bytes() {
    let machine = finish(&spec(NUC), nuc());
    let smaller = spec(&NUC.replace("10G", "9G"));
    // What the settings promise of the disk is enough; this machine's group has something else in it.
    let mut full = machine.clone();
    let other = Lv { size: 415 << 30, ..full.lv("main/db").clone() };
    full.groups.get_mut("main").unwrap().lvs.insert("other".to_owned(), other);
    let larger = spec(&NUC.replace("20G", "30G"));
    insta::assert_snapshot!(told(&[
        ("smaller", line(&smaller, &machine, "lv main/db")),
        ("too large", line(&larger, &full, "lv main/data")),
        ("the one that needs nothing", line(&larger, &full, "lv main/db")),
    ]));
}

/// The disk of a cloud server becomes larger; its partition, group, volume and file system follow in one plan.
#[test]
fn a_disk_that_grew_lets_all_that_stands_on_it_grow() {
    let cloud = |size: &str| {
        format!(
            "[[disk]]\nname = \"data\"\nselect = {{ bus = [\"virtio\"], size-min = \"{size}\" }}\n\
             partition = [{{ name = \"lvm\", type = \"lvm\", size = \"rest\" }}]\n\
             [[vg]]\nname = \"main\"\ndevices = [\"disk:data/lvm\"]\n[[lv]]\nname = \"data\"\nvg = \"main\"\nsize = \"{size}\"\n\
             [[filesystem]]\nname = \"data\"\ndevice = \"lv:main/data\"\ntype = \"xfs\"\nmount = \"/srv\"\n"
        )
        .replace("size-min = \"100G\"", "size-min = \"101G\"")
        .replace("size-min = \"200G\"", "size-min = \"201G\"")
    };
    let before = spec(&cloud("100G"));
    let mut machine = finish(&before, Machine::of(vec![("vdb", Disk::virtio(110 << 30, "pci-0000:00:06.0"))]));
    assert!(is_done(&before, &machine));
    machine.base.disks[0].1.size = 220 << 30;
    let table = machine.base.disks[0].1.table.as_mut().unwrap();
    table.sectors = (220 << 30) / 512;
    let after = spec(&cloud("200G"));
    insta::assert_snapshot!(seen(&after, &machine));
    let machine = finish(&after, machine);
    assert!(is_done(&after, &machine), "{}", seen(&after, &machine));
    assert_eq!(machine.size("/dev/main/data"), Some(200 << 30));
    assert_eq!(machine.filled.values().max(), Some(&(200 << 30)));
}

#[test]
fn a_device_more_becomes_part_of_the_group() {
    let before = spec(NUC);
    let mut machine = finish(&before, nuc());
    machine.base = machine.base.with("sda", ssd("S6PENL0T902341K"));
    let more = "[[disk]]\nname = \"more\"\nselect = { serial = \"S6PENL0T902341K\", size-min = \"200G\" }\n\
                partition = [{ name = \"lvm\", type = \"lvm\", size = \"rest\" }]\n";
    let settings = NUC
        .replace("size-max = \"600G\"", "size-max = \"600G\", model = \"WD\"")
        .replace("[\"disk:system/data\"]", "[\"disk:system/data\", \"disk:more/lvm\"]");
    let after = spec(&format!("{settings}{more}"));
    insta::assert_snapshot!(line(&after, &machine, "vg main"));
    let machine = finish(&after, machine);
    assert!(is_done(&after, &machine));
    assert_eq!(machine.groups["main"].pvs.len(), 2);
    let gone = spec(NUC);
    insta::assert_snapshot!(line(&gone, &machine, "vg main"));
}
