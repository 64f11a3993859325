//! Mistakes that people make in the settings of volumes, each with the whole message that they see.

use crate::{NUC, PAIR, told};

fn seen(settings: &str) -> String {
    match told(settings) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems,
    }
}

/// Each change of settings that are as they should be, and what is said of it.
fn mistakes(settings: &str, changes: &[(&str, &str, &str)]) -> String {
    assert_eq!(seen(settings), "no problem");
    let told = changes.iter().map(|(about, from, to)| {
        assert!(settings.contains(from), "{from}");
        format!("== {about}\n{}", seen(&settings.replacen(from, to, 1)))
    });
    told.collect::<Vec<_>>().join("\n\n")
}

#[test]
fn devices_that_nobody_offers_that_two_use_and_that_stand_on_themselves() {
    insta::assert_snapshot!(mistakes(
        NUC,
        &[
            ("a slip in a device", "[\"disk:system/data\"]", "[\"disk:system/date\"]"),
            ("a device that is none", "[\"disk:system/data\"]", "[\"/dev/sda5\"]"),
            ("a slip in a group", "vg = \"main\"", "vg = \"mian\""),
            ("a device twice", "device = \"lv:main/db\"", "device = \"lv:main/data\""),
            ("a partition for something else", "[\"disk:system/data\"]", "[\"disk:system/root-b\"]"),
            ("a group that is a folder of /dev", "[[vg]]\nname = \"main\"", "[[vg]]\nname = \"net\""),
            ("a group on nothing", "[\"disk:system/data\"]", "[]"),
            (
                "a group on disks that are not all there",
                "name = \"system\"",
                "name = \"system\"\ncount = 2\nabsent = 1"
            ),
            ("a name twice", "[[lv]]\nname = \"db\"", "[[lv]]\nname = \"data\""),
        ]
    ));
    insta::assert_snapshot!(mistakes(
        PAIR,
        &[
            ("a ring", "device = \"md:data\"", "device = \"lv:main/data\""),
            ("two partitions for one file system", "device = \"md:swap\"", "device = \"disk:pair/swap\""),
            ("two partitions for one encrypted device", "device = \"md:data\"", "device = \"disk:pair/raid\""),
        ]
    ));
}

#[test]
fn sizes_that_cannot_fit() {
    insta::assert_snapshot!(mistakes(
        NUC,
        &[
            ("more than the smallest disk has", "size = \"20G\"", "size = \"40G\""),
            ("no word of the smallest disk", "size-min = \"60G\", ", ""),
            ("no size at all", "size = \"20G\"", "size = \"0\""),
            ("too little for xfs", "size = \"10G\"", "size = \"200M\""),
        ]
    ));
    insta::assert_snapshot!(mistakes(
        PAIR,
        &[
            ("more than the array has", "size = \"20G\"", "size = \"60G\""),
            (
                "an array without room for that",
                "level = \"1\"\ndevices = [\"disk:pair/raid\"]",
                "level = \"5\"\ndevices = [\"disk:pair/raid\"]"
            ),
            ("all members absent", "count = 2", "count = 2\nabsent = 2"),
            ("a level that does not exist", "level = \"1\"", "level = \"2\""),
        ]
    ));
}

#[test]
fn members_that_are_too_few() {
    let five = "[[disk]]\nname = \"five\"\ncount = 4\nselect = { bus = [\"sata\"] }\n\
        partition = [{ name = \"raid\", type = \"raid\", size = \"rest\" }]\n\
        [[md]]\nname = \"data\"\nlevel = \"5\"\ndevices = [\"disk:five/raid\"]\n";
    insta::assert_snapshot!(mistakes(
        five,
        &[
            ("two absent where one may be lost", "count = 4", "count = 4\nabsent = 2"),
            ("too few", "count = 4", "count = 2"),
        ]
    ));
    let stripe = five.replace("level = \"5\"", "level = \"0\"");
    insta::assert_snapshot!(mistakes(&stripe, &[("no spare copy", "count = 4", "count = 4\nabsent = 1")]));
}

#[test]
fn places_and_words_that_cannot_be() {
    insta::assert_snapshot!(mistakes(
        NUC,
        &[
            ("a mount point twice", "mount = \"/srv/my-db\"", "mount = \"/srv\""),
            ("a place of the system's own", "mount = \"/srv\"", "mount = \"/usr/local\""),
            ("a folder that is in use", "mount = \"/srv\"", "mount = \"/var\""),
            ("a path that is none", "mount = \"/srv\"", "mount = \"/srv/\""),
            ("the root", "mount = \"/srv\"", "mount = \"/\""),
            ("options in one", "[\"noatime\"]", "[\"noatime,nodev\"]"),
            ("options of nothing", "mount = \"/srv/my-db\"\n", ""),
            ("a kind that does not exist", "type = \"ext4\"\nmount", "type = \"ext5\"\nmount"),
            ("a name that LVM keeps", "[[lv]]\nname = \"db\"", "[[lv]]\nname = \"snapshot1\""),
            ("a name that is none", "[[filesystem]]\nname = \"db\"", "[[filesystem]]\nname = \"My DB\""),
        ]
    ));
    insta::assert_snapshot!(mistakes(
        PAIR,
        &[
            ("swap with a mount point", "device = \"md:swap\"", "device = \"md:swap\"\nmount = \"/mnt\""),
            ("a key that is no path", "key = \"/etc/mimg/keys/crypt\"", "key = \"hunter2\""),
        ]
    ));
}
