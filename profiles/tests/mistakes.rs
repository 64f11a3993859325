//! Mistakes that people make in a fleet, each with the whole message that they see. `cargo insta review` shows changes.

use profiles::fleet::Fleet;
use profiles::problem::Finding;
use std::collections::BTreeMap;

const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect()
}

/// What a person sees for a fleet whose node "eccles" has this text.
fn node(text: &str) -> String {
    seen(&[("fleet.toml", ROOT), ("nodes/eccles.toml", text)])
}

fn seen(given: &[(&str, &str)]) -> String {
    match Fleet::load(&files(given)) {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

macro_rules! mistake {
    ($name:ident, $text:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(node($text));
        }
    };
}

mistake!(a_node_as_it_should_be_has_no_problem, "profiles = [\"nuc\"]\n");
mistake!(an_unknown_key_is_named_with_the_nearest_and_all_that_exist, "profiles = [\"nuc\"]\npackges = [\"htop\"]\n");
mistake!(an_unknown_key_in_a_table, "profiles = [\"nuc\"]\n[journald]\nsystem-max-usage = \"1G\"\n");
mistake!(an_unknown_table, "profiles = [\"nuc\"]\n[zfs]\narc = \"1G\"\n");
mistake!(an_unknown_profile_is_named_with_the_nearest, "profiles = [\"nucc\"]\n");
mistake!(a_node_without_a_profile, "packages = [\"htop\"]\n");
mistake!(a_size_that_is_none, "profiles = [\"nuc\"]\n[swap]\nsize = \"2GB\"\n");
mistake!(a_number_for_a_size, "profiles = [\"nuc\"]\n[swap]\nsize = 2\n");
mistake!(swap_larger_than_half_the_slot, "profiles = [\"nuc\"]\n[swap]\nsize = \"6G\"\n");
mistake!(a_slot_too_small, "profiles = [\"nuc\"]\n[system]\nslot-size = \"1G\"\n");
mistake!(a_journal_too_small, "profiles = [\"nuc\"]\n[journald]\nsystem-max-use = \"1M\"\nmax-retention = \"soon\"\n");
mistake!(a_time_zone_that_does_not_exist, "profiles = [\"nuc\"]\ntimezone = \"Europe/Berln\"\n");
mistake!(a_user_without_a_name, "profiles = [\"nuc\"]\n[[user]]\nsudo = true\n");
mistake!(a_user_with_a_name_that_is_none, "profiles = [\"nuc\"]\n[[user]]\nname = \"Ana Lima\"\n");
mistake!(a_key_that_is_none, "profiles = [\"nuc\"]\n[[user]]\nname = \"ana\"\nssh-keys = [\"id_ed25519.pub\"]\n");
mistake!(a_unit_without_a_type, "profiles = [\"nuc\"]\n[[unit]]\nname = \"nginx\"\n");
mistake!(a_package_with_a_version, "profiles = [\"nuc\"]\npackages = [\"htop=3.4\"]\n");
mistake!(a_component_with_a_slip, "profiles = [\"nuc\"]\ncomponents = [\"non-free-firmwares\"]\n");
mistake!(a_kernel_parameter_that_grub_would_read, "profiles = [\"nuc\"]\nkernel-parameters = [\"a=$b\"]\n");
mistake!(
    paths_to_replace_that_name_no_one_file,
    "profiles = [\"nuc\"]\nreplaces = [\"etc/issue\", \"/etc/../x\", \"/\", \"/usr/lib/*.conf\", \"/etc/issue\"]\n"
);
mistake!(an_extent_that_does_not_exist, "profiles = [\"nuc\"]\n[system]\nroot = \"all\"\n");
mistake!(broken_toml, "profiles = [\"nuc\"\n[swap\nsize = \n");
mistake!(a_key_twice, "profiles = [\"nuc\"]\ntimezone = \"Etc/UTC\"\ntimezone = \"Europe/Berlin\"\n");
mistake!(a_wrong_type, "profiles = \"nuc\"\n");

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    insta::assert_snapshot!(node(
        "profiles = [\"nuc\"]\npackges = [\"htop\"]\n[swap]\nsize = \"x\"\n[[user]]\nsudo = true\n[[user]]\nname = \"Ana\"\n"
    ));
}

#[test]
fn two_profiles_side_by_side_that_differ_are_both_named() {
    insta::assert_snapshot!(seen(&[
        ("fleet.toml", ROOT),
        ("profiles/web.toml", "profiles = [\"base\"]\ntimezone = \"Europe/Berlin\"\n"),
        ("profiles/db.toml", "profiles = [\"base\"]\ntimezone = \"Europe/Paris\"\n"),
        ("nodes/eccles.toml", "profiles = [\"nuc\", \"web\", \"db\"]\n"),
    ]));
}

#[test]
fn a_profile_that_starts_from_itself() {
    insta::assert_snapshot!(seen(&[
        ("fleet.toml", ROOT),
        ("profiles/a.toml", "profiles = [\"b\"]\n"),
        ("profiles/b.toml", "profiles = [\"a\"]\n"),
    ]));
}

#[test]
fn a_node_name_that_is_no_host_name() {
    insta::assert_snapshot!(seen(&[("fleet.toml", ROOT), ("nodes/Eccles_1.toml", "profiles = [\"nuc\"]\n")]));
}

#[test]
fn a_fleet_without_its_file_and_one_without_an_id() {
    insta::assert_snapshot!(seen(&[("nodes/eccles.toml", "profiles = [\"nuc\"]\n")]));
    insta::assert_snapshot!(seen(&[("fleet.toml", "[fleet]\nname = \"home\"\n")]));
    insta::assert_snapshot!(seen(&[("fleet.toml", "[fleet]\nid = \"home\"\nname = \"home\"\n")]));
}

#[test]
fn a_repository_with_a_bad_fingerprint_and_address() {
    insta::assert_snapshot!(node(
        "profiles = [\"nuc\"]\n[[repository]]\nname = \"elastic\"\nuri = \"artifacts.example.org\"\nsuite = \"stable\"\n\
         components = [\"main\"]\nkey = \"-\"\nfingerprint = \"46 09\"\n"
    ));
}

#[test]
fn a_repository_with_a_priority_out_of_range_a_password_and_no_suite() {
    insta::assert_snapshot!(node(&format!(
        "profiles = [\"nuc\"]\n[[repository]]\nname = \"elastic\"\nuri = \"https://ana:word@artifacts.example.org\"\n\
         suite = \"./\"\ncomponents = []\nkey = \"-\"\nfingerprint = \"{}\"\npriority = 1001\n",
        "0".repeat(40)
    )));
    insta::assert_snapshot!(node(
        "profiles = [\"nuc\"]\n[[repository]]\nname = \"elastic\"\nuri = \"https://artifacts.example.org\"\n\
         suite = \"stable\"\ncomponents = [\"main\"]\nkey = \"-\"\nfingerprint = \"\"\npriority = 99999999999\n"
    ));
}

#[test]
fn a_repository_whose_name_is_no_files_and_one_that_apt_cannot_tell_from_another() {
    let repository = |name: &str, more: &str| {
        format!(
            "[[repository]]\nname = \"{name}\"\nuri = \"https://artifacts.example.org/{more}suite = \"stable\"\n\
             components = [\"main\"]\nkey = \"-\"\nfingerprint = \"{}\"\n",
            "0".repeat(40)
        )
    };
    let two = repository("../own", "a\"\npriority = 900\n") + &repository("debian", "b c\"\n");
    insta::assert_snapshot!(node(&format!("profiles = [\"nuc\"]\n{two}")));
}

#[test]
fn what_others_find_wrong_is_shown_where_it_was_written() {
    let files = files(&[
        ("fleet.toml", ROOT),
        ("profiles/web.toml", "profiles = [\"base\"]\nreplaces = [\"/etc/issue\"]\n"),
        ("nodes/eccles.toml", "profiles = [\"web\"]\nreplaces = [\"/etc/issue.net\"]\n"),
    ]);
    let fleet = Fleet::load(&files).expect("a fleet");
    let spec = fleet.node("eccles").expect("a node");
    assert_eq!(spec.settings.replaces, ["/etc/issue", "/etc/issue.net"]);
    let finding = |index: &str| Finding::new(&["replaces", index], "so", "not so", "do it");
    let problems = fleet.blame(&spec, vec![finding("0"), finding("1"), Finding::new(&[], "all of it", "", "")]);
    let places: Vec<(&str, usize)> = problems.0.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
    assert_eq!(places, [("profiles/web.toml", 2), ("nodes/eccles.toml", 2), ("nodes/eccles.toml", 1)]);
}
