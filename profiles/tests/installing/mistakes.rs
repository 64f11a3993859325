//! Mistakes that people make with slots, each with the whole message that they see.

use crate::{NUC, ROOT};
use profiles::fleet::Fleet;
use std::collections::BTreeMap;

fn told(settings: &str) -> String {
    told_of("base", settings)
}

fn told_of(profile: &str, settings: &str) -> String {
    let node = format!("profiles = [\"{profile}\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node)]);
    match Fleet::load(&files) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn each_mistake_is_told_with_its_line_and_its_cure() {
    let but = |old: &str, new: &str| {
        assert!(NUC.contains(old), "{old}");
        told(&NUC.replacen(old, new, 1))
    };
    let texts = [
        ("as it should be", told(NUC)),
        ("no ESP", but("esp = \"disk:system/esp\"\n", "")),
        (
            "one slot",
            but("slots = [\"disk:system/root-a\", \"disk:system/root-b\"]", "slots = [\"disk:system/root-a\"]"),
        ),
        ("the same slot twice", but("\"disk:system/root-b\"]", "\"disk:system/root-a\"]")),
        ("a slot that does not exist", but("\"disk:system/root-b\"]", "\"disk:system/root-c\"]")),
        ("a slot on LVM", but("\"disk:system/root-b\"]", "\"lv:main/root-b\"]")),
        ("a slot on another disk", but("\"disk:system/root-b\"]", "\"disk:other/root-b\"]")),
        ("several disks", but("name = \"system\"\n", "name = \"system\"\ncount = 2\n")),
        (
            "the ESP before the BIOS",
            but(
                "name = \"bios\"\ntype = \"bios\"\nsize = \"1M\"\n\
                 [[disk.partition]]\nname = \"esp\"\ntype = \"esp\"\nsize = \"256M\"\n",
                "name = \"esp\"\ntype = \"esp\"\nsize = \"256M\"\n\
                 [[disk.partition]]\nname = \"bios\"\ntype = \"bios\"\nsize = \"1M\"\n",
            ),
        ),
        ("a slot for LVM", but("root-b\"\ntype = \"linux\"", "root-b\"\ntype = \"lvm\"")),
        ("a small ESP", but("\"256M\"", "\"32M\"")),
        ("a small slot", but("\"8G\"", "\"1G\"")),
        ("the rest for the root", but("[system]\n", "[system]\nroot = \"rest\"\n")),
    ];
    let shown: Vec<String> = texts.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_node_adds_a_partition_to_its_profiles_disk_in_four_lines() {
    let data = "[[disk]]\nname = \"system\"\n[[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";
    assert_eq!(told_of("nuc", data), "no problem");
}
