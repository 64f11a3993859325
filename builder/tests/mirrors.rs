//! Where Debian is fetched from, as the host's apt is configured in any of its ways.

use builder::archive::mirror::Mirror;
use std::path::Path;
use tempfile::TempDir;

fn apt(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn found(files: &[(&str, &str)]) -> Mirror {
    Mirror::named(None, None, apt(files).path()).unwrap()
}

fn refusal(files: &[(&str, &str)]) -> String {
    format!("{:#}", Mirror::named(None, None, apt(files).path()).unwrap_err())
}

fn mirror(archive: &[&str], security: &[&str]) -> Mirror {
    let own = |uris: &[&str]| uris.iter().map(|uri| uri.to_string()).collect();
    Mirror { archive: own(archive), security: own(security) }
}

#[test]
fn one_line_sources_are_read_with_options_and_comments() {
    let list = "# deb http://commented.example.org/debian trixie main\n\
                deb-src http://src.example.org/debian bookworm main\n\
                deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] http://a.example.org/debian/ bookworm main contrib # why\n\
                deb http://s.example.org/debian-security bookworm-security main\n";
    let wanted = mirror(&["http://a.example.org/debian"], &["http://s.example.org/debian-security"]);
    assert_eq!(found(&[("sources.list", list)]), wanted);
}

#[test]
fn deb822_sources_are_read_with_several_addresses_and_disabled_ones_left_out() {
    let off = "Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\nSuites: trixie\nComponents: main\n";
    let on = "# the mirrors\nTypes: deb deb-src\nURIs: https://a.example.org/debian\n https://b.example.org/debian/\n\
              # a comment within\nSuites: trixie trixie-updates\nComponents: main\n\
              Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
              Types: deb\nURIs: https://s.example.org/debian-security\nSuites: trixie-security\nComponents: main\n";
    let wanted = mirror(
        &["https://a.example.org/debian", "https://b.example.org/debian"],
        &["https://s.example.org/debian-security"],
    );
    assert_eq!(found(&[("sources.list.d/a.sources", off), ("sources.list.d/debian.sources", on)]), wanted);
}

#[test]
fn other_repositories_under_debians_suite_names_are_passed_over() {
    let others = "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example.org/debian bookworm main\n\
                  deb https://tool.example.org bookworm main\n\
                  deb https://docker.example.org/linux/debian bookworm stable\n\
                  deb https://db.example.org/pub/repos bookworm-pgdg main\n";
    let own = "deb http://a.example.org/debian bookworm main\ndeb http://a.example.org/debian-security bookworm-security main\n";
    let wanted = mirror(&["http://a.example.org/debian"], &["http://a.example.org/debian-security"]);
    assert_eq!(found(&[("sources.list", others), ("sources.list.d/own.list", own)]), wanted);
}

#[test]
fn a_list_of_mirrors_is_followed() {
    let sources = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n\n\
                   Types: deb\nURIs: mirror+file:///etc/apt/mirrors/security.list\nSuites: trixie-security\nComponents: main\n";
    let files = [
        ("sources.list.d/debian.sources", sources),
        ("mirrors/debian.list", "https://a.example.org/debian\tpriority:1\nhttps://b.example.org/debian\n"),
        ("mirrors/security.list", "https://a.example.org/debian-security\n"),
    ];
    let wanted = mirror(
        &["https://a.example.org/debian", "https://b.example.org/debian"],
        &["https://a.example.org/debian-security"],
    );
    assert_eq!(found(&files), wanted);
}

#[test]
fn files_that_apt_does_not_read_are_not_read() {
    let line = "deb http://a.example.org/debian trixie main\n";
    assert!(refusal(&[("sources.list.d/debian.list.save", line)]).contains("apt names none"));
}

#[test]
fn no_mirror_says_how_to_name_one() {
    let refusal = refusal(&[("sources.list", "deb cdrom:[Debian]/ trixie main\n")]);
    assert!(refusal.contains("mirror = \"https://…\" under [archive]"), "{refusal}");
    assert!(refusal.contains("cdrom:"), "{refusal}");
}

#[test]
fn a_named_mirror_goes_before_the_hosts() {
    let list =
        "deb http://a.example.org/debian trixie main\ndeb http://s.example.org/debian-security trixie-security main\n";
    let apt = apt(&[("sources.list", list)]);
    let found = Mirror::named(Some("https://own.example.org/debian/"), None, apt.path()).unwrap();
    assert_eq!(found, mirror(&["https://own.example.org/debian"], &["http://s.example.org/debian-security"]));
    let both = Mirror::named(Some("http://x.example.org/d"), Some("http://y.example.org/s"), Path::new("/nowhere"));
    assert_eq!(both.unwrap(), mirror(&["http://x.example.org/d"], &["http://y.example.org/s"]));
    let error = format!("{:#}", Mirror::named(Some("own.example.org/debian"), None, apt.path()).unwrap_err());
    assert!(error.contains("\"own.example.org/debian\"") && error.contains("https://…"), "{error}");
}
