//! Plans from Facts: what each Part would do to a machine. Goldens show every change as a diff.

use profiles::ask::{Answer, Ask, Ran, Slice, Table, Unit};
use profiles::facts::Facts;
use profiles::file::File;
use profiles::fleet::Fleet;
use profiles::plan::{self, Verdict};
use profiles::spec::Spec;
use std::collections::BTreeMap;

const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";
const MIB: u64 = 1 << 20;

fn spec(node: &str) -> Spec {
    let files =
        BTreeMap::from([("fleet.toml".to_owned(), ROOT.to_owned()), ("nodes/eccles.toml".to_owned(), node.to_owned())]);
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    fleet.node("eccles").unwrap_or_else(|problems| panic!("{problems}"))
}

/// A machine's answers, one line each.
#[derive(Default)]
struct Machine(Facts);

impl Machine {
    fn says(mut self, argv: &[&str], out: &str) -> Self {
        let ran = Ran { rc: 0, out: out.to_owned(), err: String::new() };
        self.0.note(Ask::run(argv), Answer::Ran(ran));
        self
    }

    fn holds(mut self, path: &str, text: &str) -> Self {
        self.0.note(Ask::File(path.to_owned()), Answer::File(Some(File::new(path, text))));
        self
    }

    fn unit(mut self, name: &str, unit: Unit) -> Self {
        self.0.note(Ask::Unit(name.to_owned()), Answer::Unit(unit));
        self
    }

    /// A root file system on partition 3 of /dev/vda: sizes in MiB of the disk, the partition and the file system.
    fn disk(mut self, sector: u64, disk: u64, partition: u64, filesystem: u64) -> Self {
        let lba = |mib: u64| mib * MIB / sector;
        let slice = |number: u32, first: u64, last: u64| Slice {
            number,
            guid: format!("00000000-0000-0000-0000-00000000000{number}"),
            kind: String::new(),
            name: String::new(),
            first,
            last,
        };
        let table = Table {
            guid: String::new(),
            primary: true,
            sector,
            sectors: lba(disk),
            backup: lba(66 + partition),
            partitions: vec![
                slice(1, lba(1), lba(2) - 1),
                slice(2, lba(2), lba(66) - 1),
                slice(3, lba(66), lba(66 + partition) - 1),
            ],
        };
        self.0.note(Ask::Gpt("/dev/vda".to_owned()), Answer::Gpt(Some(table)));
        self.says(
            &["findmnt", "--json", "--bytes", "--output=SOURCE,FSTYPE", "--nofsroot", "/"],
            r#"{"filesystems": [{"source":"/dev/vda3","fstype":"ext4"}]}"#,
        )
        .says(&["readlink", "/sys/class/block/vda3"], "../../devices/pci0000:00/virtio1/block/vda/vda3\n")
        .holds("/sys/class/block/vda3/partition", "3\n")
        .holds("/sys/class/block/vda3/size", &format!("{}\n", partition * MIB / 512))
        .says(
            &["dumpe2fs", "-h", "/dev/vda3"],
            &format!("Block count:              {}\nBlock size:               4096\n", filesystem * MIB / 4096),
        )
    }

    fn table(&mut self) -> Table {
        self.0.table("/dev/vda").expect("disk() was called").clone()
    }

    fn with_table(mut self, change: impl FnOnce(&mut Table)) -> Self {
        let mut table = self.table();
        change(&mut table);
        self.0.note(Ask::Gpt("/dev/vda".to_owned()), Answer::Gpt(Some(table)));
        self
    }
}

/// The plan of one Part, as a person sees it.
fn line(spec: &Spec, machine: &Machine, part: &str) -> String {
    let plan = plan::plan(spec, &spec.parts(), &machine.0);
    let line = plan.0.iter().find(|line| line.part == part).unwrap_or_else(|| panic!("there is no part {part}"));
    line.to_string()
}

const PLAIN: &str = "profiles = [\"base\"]\n";

#[test]
fn a_machine_that_answers_nothing_is_never_erased_and_every_part_says_something() {
    let spec = spec("profiles = [\"nuc\"]\n[[user]]\nname = \"ana\"\nsudo = true\n");
    insta::assert_snapshot!(plan::plan(&spec, &spec.parts(), &Facts::default()));
}

#[test]
fn a_bare_profile_waits_for_its_seed() {
    let spec = Fleet::catalog().expect("the catalog").profile("nuc").expect("nuc");
    insta::assert_snapshot!(line(&spec, &Machine::default(), "node"));
}

#[test]
fn the_root_partition_grows_to_its_slot_and_the_rest_stays_free() {
    insta::assert_snapshot!(line(&spec(PLAIN), &Machine::default().disk(512, 100_000, 1500, 1500), "root"));
}

#[test]
fn the_file_system_grows_after_its_partition() {
    let machine = Machine::default().disk(512, 100_000, 8192, 1500);
    let machine = machine.with_table(|table| table.backup = table.sectors - 1);
    insta::assert_snapshot!(line(&spec(PLAIN), &machine, "root"));
}

#[test]
fn a_root_that_fills_its_slot_is_done_on_sectors_of_both_sizes() {
    for sector in [512, 4096] {
        let machine = Machine::default().disk(sector, 100_000, 8192, 8192);
        let machine = machine.with_table(|table| table.backup = table.sectors - 1);
        assert_eq!(line(&spec(PLAIN), &machine, "root"), "done    root", "{sector}");
    }
}

#[test]
fn a_backup_table_that_is_not_at_the_end_of_the_disk_is_moved_there() {
    let said = line(&spec(PLAIN), &Machine::default().disk(512, 100_000, 8192, 8192), "root");
    assert!(said.contains("grow partition 3"), "{said}");
}

#[test]
fn a_root_that_takes_the_rest_ends_before_the_backup_table() {
    let rest = spec("profiles = [\"base\"]\n[system]\nroot = \"rest\"\n");
    for sector in [512, 4096] {
        let machine = Machine::default().disk(sector, 100_000, 1500, 1500);
        let last = 99_999 * MIB / sector - 1;
        let said = line(&rest, &machine, "root");
        assert!(said.contains(&format!("end at LBA {last}:")), "{said}");
    }
}

#[test]
fn a_disk_smaller_than_the_slot_is_used_to_its_end() {
    let said = line(&spec(PLAIN), &Machine::default().disk(512, 4000, 1500, 1500), "root");
    assert!(said.contains(&format!("end at LBA {}:", 3999 * 2048 - 1)), "{said}");
}

#[test]
fn what_stands_behind_the_root_partition_is_never_touched() {
    let machine = Machine::default().disk(512, 100_000, 1500, 1500).with_table(|table| {
        let behind = Slice { number: 4, first: 2000 * 2048, last: 3000 * 2048, ..table.partitions[2].clone() };
        table.partitions.push(behind);
    });
    let said = line(&spec(PLAIN), &machine, "root");
    assert!(said.contains(&format!("end at LBA {}:", 2000 * 2048 - 1)), "{said}");
}

#[test]
fn a_table_with_a_gap_in_its_numbers_is_not_rewritten() {
    let machine = Machine::default().disk(512, 100_000, 1500, 1500).with_table(|table| table.partitions[0].number = 14);
    insta::assert_snapshot!(line(&spec(PLAIN), &machine, "root"));
}

#[test]
fn a_root_that_is_no_ext4_on_a_partition_is_refused() {
    let machine = Machine::default().says(
        &["findmnt", "--json", "--bytes", "--output=SOURCE,FSTYPE", "--nofsroot", "/"],
        r#"{"filesystems": [{"source":"overlay","fstype":"overlay"}]}"#,
    );
    insta::assert_snapshot!(line(&spec(PLAIN), &machine, "root"));
}

fn running() -> Unit {
    let word = |text: &str| text.to_owned();
    Unit { load: word("loaded"), active: word("active"), file: word("enabled"), condition: true, ..Unit::default() }
}

#[test]
fn a_units_state_decides_what_is_left_to_do() {
    let spec = spec("profiles = [\"base\"]\n[[unit]]\nname = \"nginx.service\"\n");
    let states = [
        ("running", running()),
        ("stopped", Unit { active: "inactive".to_owned(), ..running() }),
        ("disabled and stopped", Unit { active: "inactive".to_owned(), file: "disabled".to_owned(), ..running() }),
        ("disabled and running", Unit { file: "disabled".to_owned(), ..running() }),
        ("static", Unit { file: "static".to_owned(), ..running() }),
        ("starting", Unit { active: "activating".to_owned(), ..running() }),
        ("a job is queued", Unit { active: "inactive".to_owned(), job: true, ..running() }),
        ("failed", Unit { active: "failed".to_owned(), result: "exit-code".to_owned(), ..running() }),
        ("a oneshot that is done", Unit { active: "inactive".to_owned(), finished: true, ..running() }),
        ("not for this machine", Unit { active: "inactive".to_owned(), condition: false, ..running() }),
        ("its file is newer", Unit { stale: true, ..running() }),
        ("not there", Unit { load: "not-found".to_owned(), ..Unit::default() }),
    ];
    let lines: Vec<String> = states
        .into_iter()
        .map(|(name, unit)| {
            format!("{name}\n  {}", line(&spec, &Machine::default().unit("nginx.service", unit), "unit nginx.service"))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_unit_that_is_kept_off_is_stopped_and_disabled() {
    let spec = spec("profiles = [\"base\"]\n[[unit]]\nname = \"nginx.service\"\nenable = false\n");
    insta::assert_snapshot!(line(&spec, &Machine::default().unit("nginx.service", running()), "unit nginx.service"));
}

const ANA: &str = "profiles = [\"base\"]\n[[user]]\nname = \"ana\"\nuid = 1005\ngroups = [\"adm\"]\nsudo = true\n\
    ssh-keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Lk0000000000000000000000000000000000000 a@example.org\"]\n";

#[test]
fn a_new_account_is_made_with_its_keys() {
    insta::assert_snapshot!(line(&spec(ANA), &Machine::default(), "user ana"));
}

#[test]
fn an_account_of_another_number_is_refused() {
    let machine = Machine::default().says(&["getent", "passwd", "ana"], "ana:x:1000:1000::/home/ana:/bin/bash\n");
    insta::assert_snapshot!(line(&spec(ANA), &machine, "user ana"));
}

#[test]
fn a_torn_host_key_is_made_again_and_a_whole_one_is_kept() {
    let whole = |machine: Machine, kind: &str| {
        let path = format!("/etc/ssh/ssh_host_{kind}_key");
        machine
            .says(&["ssh-keygen", "-y", "-P", "", "-f", &path], "ssh-… AAAA\n")
            .holds(&format!("{path}.pub"), "ssh-… AAAA\n")
    };
    let torn = "/etc/ssh/ssh_host_ed25519_key";
    let machine = whole(Machine::default(), "rsa").says(&["stat", "--format=%s", torn], "0\n");
    insta::assert_snapshot!(line(&spec(PLAIN), &machine, "ssh"));
}

#[test]
fn a_swap_file_of_another_size_is_made_again_and_a_half_made_one_finished() {
    let spec = spec("profiles = [\"base\"]\n[swap]\nsize = \"1G\"\n");
    let stat = ["stat", "--format=%s %a %u", "--", "/swapfile"];
    let unit = "/etc/systemd/system/swapfile.swap";
    let text = "# Written by mimg from [swap].\n[Unit]\nDescription=Swap file\n\n[Swap]\nWhat=/swapfile\n\n[Install]\nWantedBy=swap.target\n";
    let half = Machine::default().says(&stat, "1073741824 600 0\n").holds(unit, text);
    let other = Machine::default()
        .says(&stat, "536870912 600 0\n")
        .says(&["swaplabel", "/swapfile"], "UUID: x")
        .holds(unit, text);
    let other = other.unit("swapfile.swap", running());
    let empty = Machine::default().says(&stat, "0 600 0\n").holds(unit, text);
    insta::assert_snapshot!([half, other, empty].map(|machine| line(&spec, &machine, "swap")).join("\n"));
}

const OWN: &str = "profiles = [\"nuc\"]\n[[repository]]\nname = \"own\"\nuri = \"https://apt.example.org:8443/x\"\n\
    suite = \"stable\"\ncomponents = [\"main\", \"extra\"]\nfingerprint = \"0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567\"\n\
    priority = 900\nkey = '''\nA word before it.\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----\n\n'''\n";

#[test]
fn a_repository_is_three_files_of_apts_in_the_image_and_is_done_when_they_are_there() {
    let spec = spec(OWN);
    let parts = spec.parts();
    let part = parts.iter().find(|part| part.name() == "repository own").expect("its part");
    let shown: Vec<String> = part
        .files()
        .iter()
        .map(|file| format!("== {} {:o} {}\n{}", file.path, file.mode, file.owner, file.content))
        .collect();
    insta::assert_snapshot!(shown.concat());
    let machine =
        part.files().iter().fold(Machine::default(), |machine, file| machine.holds(&file.path, &file.content));
    assert_eq!(line(&spec, &machine, "repository own"), "done    repository own");
    let pinned_otherwise = machine.holds("/etc/apt/preferences.d/own.pref", "Package: *\n");
    insta::assert_snapshot!(line(&spec, &pinned_otherwise, "repository own"));
}

#[test]
fn an_image_without_a_package_of_the_spec_is_refused() {
    let query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status} ${Provides}\\n"];
    let spec = spec(PLAIN);
    let mut all: Vec<String> = spec.packages().keys().map(|name| format!("{name} installed ")).collect();
    let complete = Machine::default().says(&query, &all.join("\n"));
    assert_eq!(line(&spec, &complete, "packages"), "done    packages");
    all.retain(|line| !line.starts_with("openssh-server"));
    insta::assert_snapshot!(line(&spec, &Machine::default().says(&query, &all.join("\n")), "packages"));
}

#[test]
fn facts_are_written_and_read_back_alike() {
    let facts = Machine::default().disk(512, 100, 50, 50).unit("a.service", running()).0;
    let json = serde_json::to_string(&facts).expect("facts");
    assert_eq!(serde_json::from_str::<Facts>(&json).expect("facts"), facts);
}

#[test]
fn only_an_empty_plan_is_done() {
    let spec = spec("profiles = [\"nuc\"]\n");
    for line in plan::plan(&spec, &spec.parts(), &Facts::default()).0 {
        if let Verdict::Do(steps) = line.verdict {
            assert!(!steps.is_empty(), "{}", line.part);
        }
    }
}
