//! Packages made for each case, unpacked into an empty folder: what arrives, and what is refused.

mod attacks;
mod ground;
#[path = "../made/mod.rs"]
mod made;
mod overlays;
mod raw;

use builder::progress::Progress;
use builder::tree::deb::Deb;
use builder::tree::dpkg;
use builder::tree::payload::Payloads;
use builder::tree::root::Root;
use builder::tree::shelf::Shelf;
use builder::tree::unpack::{Conffiles, Unpacked, Unpacker};
use made::Made;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tar::EntryType;
use tempfile::TempDir;

/// A folder with a tree in it, and something beside the tree that must not change.
struct Place {
    folder: TempDir,
    root: Root,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).expect("making the tree's folder");
        fs::create_dir(folder.path().join("beside")).expect("making a folder beside it");
        let root = Root::open(&tree).expect("opening the tree");
        dpkg::create(&root, 0).expect("making a database");
        Place { folder, root }
    }

    fn unpack(&self, packages: Vec<Made>) -> anyhow::Result<Vec<Unpacked>> {
        let path = |(at, made): (usize, Made)| made.write(self.folder.path(), &format!("package{at}"));
        let paths: Vec<PathBuf> = packages.into_iter().enumerate().map(path).collect();
        let debs = paths.iter().map(|path| Deb::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let round: Vec<usize> = (0..debs.len()).collect();
        let stage = Progress::quiet().stage("unpacking");
        let shelf = Shelf::new(&self.folder.path().join("cache"), &self.folder.path().join("work"));
        let payloads = Payloads::new(debs, shelf, Progress::quiet());
        let unpacked = Unpacker::new(&self.root, &payloads).unpack(&round, Conffiles::New, &stage)?;
        let packages: Vec<(&Deb, &Unpacked)> = payloads.debs.iter().zip(&unpacked).collect();
        dpkg::record(&self.root, 0, &packages)?;
        Ok(unpacked)
    }

    fn refused(&self, made: Made) -> String {
        let error = self.unpack(vec![made]).err().expect("the package is refused");
        let beside = fs::read_dir(self.folder.path().join("beside")).expect("the folder beside").count();
        assert_eq!(beside, 0, "nothing is written outside of the tree");
        format!("{error:#}")
    }

    fn text(&self, path: &str) -> String {
        self.root.text(path).expect("reading in the tree")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }
}

#[test]
fn each_compression_is_read() {
    for ending in ["", ".gz", ".xz", ".zst"] {
        let place = Place::new();
        place.unpack(vec![Made::new("one", "").file("./one", "1").compressed(ending)]).expect(ending);
        assert_eq!(place.text("one"), "1", "data.tar{ending}");
    }
}

#[test]
fn an_archive_that_leads_out_of_the_tree_is_refused() {
    let place = Place::new();
    let said = place.refused(Made::new("out", "").file("./../beside/x", "x"));
    assert!(said.contains("`..`") && said.contains("package0.deb"), "{said}");
    let said = place.refused(Made::new("out", "").file("/etc/x", "x"));
    assert!(said.contains("absolute"), "{said}");
    let said = place.refused(Made::new("out", "").file("./a\nb", "x"));
    assert!(said.contains("control character"), "{said}");
    let said = place.refused(Made::new("out", "").entry("./hard", EntryType::Link, "../beside", b""));
    assert!(said.contains("`..`"), "{said}");
}

#[test]
fn devices_pipes_and_files_given_twice_are_refused() {
    let place = Place::new();
    for kind in [EntryType::Block, EntryType::Char, EntryType::Fifo] {
        let said = place.refused(Made::new("device", "").entry("./dev-x", kind, "", b""));
        assert!(said.contains("dev-x is of type"), "{said}");
    }
    let said = place.refused(Made::new("twice", "").file("./x", "1").file("./x", "2"));
    assert!(said.contains("twice"), "{said}");
}

#[test]
fn a_bomb_is_refused_before_it_fills_the_disk() {
    let place = Place::new();
    let zeros = vec![0; 1 << 20];
    let bomb =
        (0..70).fold(Made::new("bomb", ""), |made, at| made.entry(&format!("./{at}"), EntryType::Regular, "", &zeros));
    let said = place.refused(bomb.compressed(".zst"));
    assert!(said.contains("bomb"), "{said}");
}

#[test]
fn a_link_out_of_the_tree_is_followed_within_it() {
    let place = Place::new();
    let beside = place.folder.path().join("beside");
    std::os::unix::fs::symlink(&beside, place.at("absolute")).expect("making a link");
    std::os::unix::fs::symlink("../../../../beside", place.at("climbing")).expect("making a link");
    fs::create_dir(place.at("beside")).expect("making a folder");
    let said = place.unpack(vec![Made::new("in", "").file("./climbing/x", "x").file("./absolute/y", "y")]);
    said.expect("links are followed in the tree");
    assert_eq!(place.text("beside/x"), "x");
    assert_eq!(fs::read_dir(&beside).expect("the folder beside").count(), 0);
}

#[test]
fn a_directory_shipped_where_the_tree_has_a_link_leaves_the_link() {
    let place = Place::new();
    std::os::unix::fs::symlink("/run/lock", place.at("var/lock")).expect("making a link");
    place
        .unpack(vec![Made::new("drbd", "").dir("./var/").dir("./var/lock/").file("./var/lock/x", "x")])
        .expect("unpacking");
    assert!(place.at("var/lock").symlink_metadata().expect("a link").is_symlink());
    assert_eq!(place.text("run/lock/x"), "x");
}

#[test]
fn a_link_shipped_where_another_package_has_a_directory_leaves_the_directory() {
    for turned in [false, true] {
        let place = Place::new();
        let mut packages = vec![
            Made::new("links", "").dir("./usr/").link("./usr/doc", "share").link("./usr/own", "doc"),
            Made::new("ships", "").dir("./usr/").dir("./usr/doc/").file("./usr/doc/x", "x"),
        ];
        if turned {
            packages.reverse();
        }
        place.unpack(packages).expect("unpacking");
        assert!(place.at("usr/doc").symlink_metadata().expect("it is there").is_dir());
        assert_eq!(fs::read_link(place.at("usr/own")).expect("the link"), Path::new("doc"));
    }
}

#[test]
fn two_packages_with_one_file_are_an_error_that_names_both() {
    let place = Place::new();
    let error = place.unpack(vec![Made::new("one", "").file("./x", "1"), Made::new("two", "").file("./x", "2")]);
    let said = format!("{:#}", error.err().expect("a conflict"));
    assert!(said.contains("/x is in one and in two"), "{said}");
}

#[test]
fn the_package_that_replaces_has_the_file_whichever_comes_first() {
    for turned in [false, true] {
        let place = Place::new();
        let big = "1".repeat(100_000);
        let mut packages = vec![
            Made::new("new", "Replaces: other, old (<< 2)\n").file("./x", "new"),
            Made::new("old", "").file("./x", &big).file("./y", "old"),
        ];
        if turned {
            packages.reverse();
        }
        place.unpack(packages).expect("unpacking");
        assert_eq!(place.text("x"), "new");
        assert_eq!(place.text("var/lib/dpkg/info/new.list"), "/.\n/x\n");
        assert_eq!(place.text("var/lib/dpkg/info/old.list"), "/.\n/y\n");
    }
}

#[test]
fn the_first_package_in_the_list_says_whose_a_shared_directory_is() {
    let place = Place::new();
    let ships = |name: &str, mode: u32| {
        Made::new(name, "").dir_with("./shared/", mode).file(&format!("./shared/{name}"), &"x".repeat(mode as usize))
    };
    place.unpack(vec![ships("one", 0o750), ships("two", 0o755)]).expect("unpacking");
    let shared = fs::metadata(place.at("shared")).expect("the directory");
    assert_eq!((shared.permissions().mode() & 0o7777, shared.mtime()), (0o750, 1_700_000_000));
}

#[test]
fn a_diverted_file_goes_where_the_diversion_says_unless_it_is_the_diverters_own() {
    let place = Place::new();
    fs::write(place.at("var/lib/dpkg/diversions"), "/bin/x\n/bin/x.real\nwrapper\n").expect("writing a diversion");
    let ships = |name: &str| Made::new(name, "").dir("./bin/").file("./bin/x", name);
    place.unpack(vec![ships("wrapper"), ships("wrapped")]).expect("unpacking");
    assert_eq!((place.text("bin/x"), place.text("bin/x.real")), ("wrapper".to_owned(), "wrapped".to_owned()));
    assert_eq!(place.text("var/lib/dpkg/info/wrapped.list"), "/.\n/bin\n/bin/x\n");
}

#[test]
fn a_conffile_waits_beside_its_name_and_hard_links_to_it_too() {
    let place = Place::new();
    let made = Made::new("conf", "Multi-Arch: same\n").member("conffiles", "/etc/x\nremove-on-upgrade /etc/gone\n");
    let made = made.dir("./etc/").file("./etc/x", "x").entry("./etc/y", EntryType::Link, "./etc/x", b"");
    place.unpack(vec![made]).expect("unpacking");
    assert_eq!(place.text("etc/x.dpkg-new"), "x");
    assert!(!place.at("etc/x").exists());
    assert_eq!(fs::metadata(place.at("etc/y")).expect("the hard link").nlink(), 2);
    let status = place.text("var/lib/dpkg/status");
    assert!(status.contains("Status: install ok unpacked\n"), "{status}");
    assert!(status.contains("Conffiles:\n /etc/x newconffile\n /etc/gone newconffile remove-on-upgrade\n"), "{status}");
    let sums = place.text("var/lib/dpkg/info/conf:all.md5sums");
    assert_eq!(sums, "9dd4e461268c8034f5c8564e155c67a6  etc/x\n");
}

#[test]
fn an_overridden_file_has_the_owner_and_mode_that_were_set() {
    let place = Place::new();
    fs::write(place.at("var/lib/dpkg/statoverride"), "#0 #0 4710 /x\n").expect("writing an override");
    place.unpack(vec![Made::new("over", "").file("./x", "x")]).expect("unpacking");
    assert_eq!(fs::metadata(place.at("x")).expect("the file").permissions().mode() & 0o7777, 0o4710);
}

#[test]
fn triggers_are_registered_and_set_off() {
    let place = Place::new();
    let watcher = Made::new("watcher", "").member("triggers", "interest-noawait /usr/lib\ninterest named # comment\n");
    let watched = Made::new("watched", "").member("triggers", "activate named\nactivate-noawait other\n");
    place.unpack(vec![watcher]).expect("unpacking");
    place.unpack(vec![watched.dir("./usr/").dir("./usr/lib/").file("./usr/lib/x", "")]).expect("unpacking");
    assert_eq!(place.text("var/lib/dpkg/triggers/File"), "/usr/lib watcher/noawait\n");
    assert_eq!(place.text("var/lib/dpkg/triggers/named"), "watcher\n");
    assert_eq!(place.text("var/lib/dpkg/triggers/Unincorp"), "/usr/lib -\nnamed watched\nother -\n");
}

#[test]
fn a_control_file_that_forges_a_status_is_refused() {
    let place = Place::new();
    let said = place.refused(Made::new("forged", "Status: install ok installed\n"));
    assert!(said.contains("Status"), "{said}");
    let said = place.refused(Made::new("../up", ""));
    assert!(said.contains("Package"), "{said}");
    let said = place.refused(Made::new("member", "").member("sub/x", ""));
    assert!(said.contains("no name of a member"), "{said}");
}

#[test]
fn a_truncated_package_is_refused_by_its_name() {
    let place = Place::new();
    let path =
        Made::new("short", "").file("./x", &"x".repeat(9000)).compressed(".xz").write(place.folder.path(), "short");
    let bytes = fs::read(&path).expect("reading it");
    fs::write(&path, &bytes[..bytes.len() - 60]).expect("cutting it");
    let deb = Deb::open(Path::new(&path)).expect("its control part is whole");
    let said = format!(
        "{:#}",
        deb.each_entry(&mut |entry| {
            std::io::copy(entry.content, &mut std::io::sink())?;
            Ok(())
        })
        .expect_err("it is too short")
    );
    assert!(said.contains("short.deb"), "{said}");
}
