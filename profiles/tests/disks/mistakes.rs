//! Mistakes that people make in `[[disk]]`, each with the whole message that they see.

use crate::ROOT;
use profiles::fleet::Fleet;
use std::collections::BTreeMap;

fn told(settings: &str) -> String {
    let node = format!("profiles = [\"base\"]\n{settings}");
    let files = BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node)]);
    match Fleet::load(&files) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

const PARTITION: &str = "[[disk.partition]]\nname = \"data\"\ntype = \"lvm\"\nsize = \"rest\"\n";

#[test]
fn each_mistake_is_told_with_its_line_and_its_cure() {
    let disk = |keys: &str| told(&format!("[[disk]]\nname = \"system\"\n{keys}{PARTITION}"));
    let good = "select = { bus = [\"sata\"] }\n";
    let texts = [
        ("no select", disk("")),
        ("no rule", disk("select = {}\n")),
        ("a rule that does not exist", disk("select = { vendor = \"Dell\" }\n")),
        ("a bus that does not exist", disk("select = { bus = [\"ide\"] }\n")),
        ("sizes exchanged", disk("select = { size-min = \"600G\", size-max = \"60G\" }\n")),
        ("a group of none", disk(&format!("{good}count = 0\n"))),
        ("all absent", disk(&format!("{good}count = 2\nabsent = 2\n"))),
        ("a generation out of reach", disk(&format!("{good}generation = 4000000000\n"))),
        ("a fingerprint that is none", disk(&format!("{good}erase = [\"all\"]\n"))),
        ("a name that is none", told(&format!("[[disk]]\nname = \"My Disk\"\n{good}{PARTITION}"))),
        ("no partitions", told(&format!("[[disk]]\nname = \"system\"\n{good}"))),
        ("a type that does not exist", disk(&format!("{good}{}", PARTITION.replace("lvm", "ext4")))),
        ("a size that is none", disk(&format!("{good}{}", PARTITION.replace("rest", "half")))),
        ("rest not last", disk(&format!("{good}{}", PARTITION.replace("data", "first")))),
        ("less than a MiB", told(&format!("[[disk]]\nname = \"system\"\n{good}{}", PARTITION.replace("rest", "4K")))),
        (
            "more than there is",
            told(&format!(
                "[[disk]]\nname = \"system\"\nselect = {{ size-min = \"60G\" }}\n{}",
                PARTITION.replace("rest", "60G")
            )),
        ),
    ];
    let shown: Vec<String> = texts.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}
