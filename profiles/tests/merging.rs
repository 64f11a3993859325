//! How profiles and nodes become one Spec.

use profiles::fleet::Fleet;
use profiles::size::Size;
use profiles::spec::Spec;
use std::collections::BTreeMap;

const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";

fn spec(given: &[(&str, &str)], node: &str) -> Spec {
    let mut files: BTreeMap<String, String> =
        given.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    files.entry("fleet.toml".to_owned()).or_insert_with(|| ROOT.to_owned());
    let fleet = Fleet::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
    fleet.node(node).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_profile_of_the_catalog_is_a_spec() {
    let fleet = Fleet::catalog().expect("the catalog");
    for name in ["base", "nuc", "r720", "droplet"] {
        let spec = fleet.profile(name).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(spec.packages().contains_key("linux-image-amd64"), "{name}");
        assert_eq!(Spec::read(&spec.json()).as_ref(), Ok(&spec), "{name} is read back as it was written");
    }
}

#[test]
fn who_includes_replaces_and_lists_are_joined() {
    let spec = spec(
        &[(
            "nodes/eccles.toml",
            "profiles = [\"nuc\"]\ntimezone = \"Europe/Berlin\"\npackages = [\"htop\", \"less\"]\n[swap]\nsize = \"1G\"\n",
        )],
        "eccles",
    );
    assert_eq!(spec.settings.timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(spec.settings.swap.as_ref().map(|swap| swap.size), Some(Size(1 << 30)));
    assert_eq!(spec.settings.packages.iter().filter(|name| *name == "less").count(), 1);
    assert!(spec.settings.packages.contains(&"htop".to_owned()));
}

#[test]
fn a_value_that_one_neighbour_replaced_and_the_other_only_inherits_is_no_conflict() {
    let files = [
        ("profiles/web.toml", "profiles = [\"base\"]\ntimezone = \"Europe/Berlin\"\n"),
        ("profiles/db.toml", "profiles = [\"base\"]\n"),
        ("nodes/a.toml", "profiles = [\"web\", \"db\"]\n"),
        ("nodes/b.toml", "profiles = [\"db\", \"web\"]\n"),
    ];
    assert_eq!(spec(&files, "a").settings.timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(spec(&files, "b").settings.timezone.as_deref(), Some("Europe/Berlin"));
}

#[test]
fn tables_of_one_name_are_one_thing() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Lk0000000000000000000000000000000000000 a@example.org";
    let root = format!("{ROOT}[[user]]\nname = \"ana\"\nssh-keys = [\"{key}\"]\n");
    let spec = spec(
        &[
            ("fleet.toml", &root),
            ("nodes/eccles.toml", "profiles = [\"nuc\"]\n[[user]]\nname = \"ana\"\nsudo = true\n"),
        ],
        "eccles",
    );
    let [ana] = &spec.settings.user[..] else { panic!("{:?}", spec.settings.user) };
    assert!(ana.sudo && ana.ssh_keys == [key]);
}

#[test]
fn a_fleets_profile_takes_the_place_of_the_catalogs_and_may_start_from_it() {
    let spec = spec(
        &[
            ("profiles/nuc.toml", "profiles = [\"nuc\"]\npackages = [\"htop\"]\n"),
            ("nodes/eccles.toml", "profiles = [\"nuc\"]\n"),
        ],
        "eccles",
    );
    assert!(spec.settings.packages.contains(&"htop".to_owned()));
    assert!(spec.settings.packages.contains(&"drbd-utils".to_owned()));
}

#[test]
fn the_same_fleet_gives_the_same_identities_and_another_others() {
    let files = [("nodes/eccles.toml", "profiles = [\"nuc\"]\n"), ("nodes/nook.toml", "profiles = [\"nuc\"]\n")];
    let uuid = |node: &str| spec(&files, node).uuid("partition/root");
    assert_eq!(uuid("eccles"), uuid("eccles"));
    assert_ne!(uuid("eccles"), uuid("nook"));
    let other = ROOT.replace("6f2c", "6f2d");
    let elsewhere = spec(&[("fleet.toml", &other), files[0]], "eccles").uuid("partition/root");
    assert_ne!(uuid("eccles"), elsewhere);
}

#[test]
fn a_package_tells_who_asks_for_it() {
    let spec = spec(&[("nodes/eccles.toml", "profiles = [\"nuc\"]\npackages = [\"tzdata\"]\n")], "eccles");
    assert_eq!(spec.packages()["tzdata"], ["node eccles", "timezone"]);
}

#[test]
fn a_spec_of_another_format_is_told_apart_from_a_damaged_one() {
    let json = spec(&[("nodes/eccles.toml", "profiles = [\"nuc\"]\n")], "eccles").json();
    let newer = json.replace("\"format\": 1", "\"format\": 99");
    assert_eq!(Spec::read(&newer), Err("it has format 99, this mimg reads format 1".to_owned()));
    assert!(Spec::read(&json[..json.len() / 2]).is_err_and(|why| why.contains("not a Spec")));
    assert!(Spec::read(&json.replace("\"node\"", "\"nodes\"")).is_err_and(|why| why.contains("damaged")));
}
