//! `mimg diff` of two images.

use crate::disk;
use crate::tools::{find, said};
use anyhow::bail;
use builder::diff::{self, Difference};
use builder::image::table::{ESP, ROOT};
use builder::progress::Progress;
use builder::publish::place::Place;
use builder::publish::{Format, Publication};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tempfile::TempDir;

const STATUS: &str = "Package: bash\nStatus: install ok installed\nInstalled-Size: 7000\nArchitecture: amd64\n\
    Version: 5.2-1\n\nPackage: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";

/// Two images that are equal at first, and may be changed.
struct Pair {
    folder: TempDir,
    debugfs: PathBuf,
    mcopy: PathBuf,
    root: u64,
    esp: u64,
}

impl Pair {
    /// `None` where the host lacks a tool for it.
    fn make() -> Option<Pair> {
        let folder = tempfile::tempdir().expect("a folder");
        let (debugfs, mcopy) = (find("debugfs", "e2fsprogs")?, find("mcopy", "mtools")?);
        let table = disk::make(&folder.path().join("old.img"), 24)?.image.table;
        let (root, esp) = (table.partition(ROOT).start(), table.partition(ESP).start());
        let pair = Pair { folder, debugfs, mcopy, root, esp };
        fs::write(pair.path("status"), STATUS).expect("a file");
        pair.edit("old.img", "mkdir /var\nmkdir /var/lib\nmkdir /var/lib/dpkg\nwrite status /var/lib/dpkg/status\n");
        pair.edit("old.img", "symlink /link etc/hostname\nmkdir /empty\nsif /empty uid 1\nsif /empty gid 1\n");
        pair.edit("old.img", "sif /link uid 0\nsif /link gid 0\nsif /noise mode 0100644\n");
        fs::copy(pair.path("old.img"), pair.path("new.img")).expect("a copy");
        Some(pair)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has debugfs change the root file system of an image.
    fn edit(&self, image: &str, script: &str) {
        fs::write(self.path("script"), script).expect("a script");
        let disk = format!("{image}?offset={}", self.root);
        let said = said(&self.debugfs, &["-w", "-f", "script", &disk], self.folder.path());
        let faults: Vec<&str> =
            said.lines().filter(|line| line.contains(": ") && !line.starts_with("debugfs")).collect();
        assert!(faults.iter().all(|line| line.starts_with("Allocated inode: ")), "{said}");
    }

    fn put_on_esp(&self, image: &str, file: &str) {
        let esp = format!("{}@@{}", self.path(image).display(), self.esp);
        said(&self.mcopy, &["-o", "-i", &esp, file, &format!("::/{file}")], self.folder.path());
    }

    fn diff(&self, old: &str, new: &str) -> Difference {
        let cache = || Ok(self.path("cache"));
        diff::diff(&self.path(old), &self.path(new), &cache).unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// Changes of every kind.
fn change(pair: &Pair) {
    fs::write(pair.path("status"), STATUS.replace("5.2-1", "5.2-2").replace("7000", "7100")).expect("a file");
    fs::write(pair.path("come"), "a new file\n").expect("a file");
    fs::write(pair.path("small"), "large\n").expect("a file");
    pair.edit(
        "new.img",
        "rm /var/lib/dpkg/status\nwrite status /var/lib/dpkg/status\nwrite come /etc/come\nrm /zeros\n\
         rm /etc/hostname\nwrite small /etc/hostname\nrm /link\nmkdir /link\n\
         sif /link uid 0\nsif /link gid 0\nsif /noise mode 0104755\nsif /empty uid 70000\nsif /empty gid 5\n",
    );
    fs::write(pair.path("noise"), "not so loud").expect("a file");
    pair.put_on_esp("new.img", "noise");
}

#[test]
fn two_images_differ_in_packages_files_and_what_files_are_like() {
    let Some(pair) = Pair::make() else { return };
    assert_eq!(
        pair.diff("old.img", "old.img").to_string(),
        "0 added, 0 removed, 0 changed, +0.0 MB of packages\nthe images are equal, bit for bit\n"
    );
    change(&pair);
    let difference = pair.diff("old.img", "new.img");
    insta::assert_snapshot!(difference);
    let json = serde_json::to_value(&difference).expect("JSON");
    assert_eq!(json["changed"][0]["new"]["version"], "5.2-2");
    assert_eq!(json["image"]["files"]["removed"][0]["path"], "/zeros");
    assert_eq!(json["image"]["files"]["removed"][0]["entry"]["size"], 300_000);
    assert_eq!(json["image"]["equal"], false);
}

#[test]
fn an_image_may_be_compressed_or_for_qemu_and_nothing_is_left_of_it() {
    let (Some(pair), Some(qemu)) = (Pair::make(), find("qemu-img", "qemu-utils")) else { return };
    change(&pair);
    let wanted = pair.diff("old.img", "new.img").to_string();
    for name in ["old", "new"] {
        let raw = pair.path(&format!("{name}.img"));
        let manifest = disk::make(&pair.path("other.img"), 24).expect("a manifest");
        let formats = [Format::Zst, Format::Qcow2];
        let place = Place::new(&raw);
        let publication = Publication { place: &place, formats: &formats, key: None, workers: 2 };
        publication.write(&raw, manifest, &Progress::quiet()).expect("publishing");
    }
    for (old, new) in [("old.img.zst", "new.qcow2"), ("old.qcow2", "new.img.zst"), ("old.img", "new.qcow2")] {
        assert_eq!(pair.diff(old, new).to_string(), wanted, "{old} and {new}");
    }
    assert!(pair.diff("old.img.zst", "old.qcow2").image.expect("two images").equal);
    let left: Vec<_> = fs::read_dir(pair.path("cache/work")).expect("the folder").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "lock"), "{left:?}");
    // What would have others of our files read is refused.
    let over = ["create", "-q", "-f", "qcow2", "-b", "old.img", "-F", "raw", "over.qcow2"];
    said(&qemu, &over, pair.folder.path());
    let refused = diff::diff(&pair.path("over.qcow2"), &pair.path("old.img"), &|| Ok(pair.path("cache")));
    let refused = format!("{:#}", refused.expect_err("it rests upon another"));
    assert!(refused.contains("rests upon another file"), "{refused}");
}

#[test]
fn bytes_that_belong_to_no_file_are_told_by_their_place() {
    let Some(pair) = Pair::make() else { return };
    let disk = File::options().write(true).open(pair.path("new.img")).expect("the image");
    disk.write_all_at(&[1], 3).expect("the boot code");
    disk.write_all_at(&[1], 1 << 20).expect("the core image");
    fs::write(pair.path("value"), [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).expect("a value");
    pair.edit("new.img", "ea_set -f value /noise security.capability\n");
    let said = pair.diff("old.img", "new.img").to_string();
    let others: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("other    ")).collect();
    assert_eq!(others.len(), 3, "{said}");
    assert!(others[0].starts_with("boot code") && others[1].starts_with("partition bios"), "{said}");
    assert!(others[2].contains("partition root: all files are equal") && others[2].contains("capabilities"), "{said}");
    assert!(said.contains("0 added, 0 removed, 0 changed, +0.0 MB of files"), "{said}");
}

#[test]
fn images_of_other_sizes_have_their_files_compared_too() {
    let Some(pair) = Pair::make() else { return };
    let Some(_) = disk::make(&pair.path("large.img"), 40) else { return };
    let said = pair.diff("old.img", "large.img").to_string();
    assert!(said.contains("size     disk  63 MiB -> 79 MiB\nsize     root  24 MiB -> 40 MiB\n"), "{said}");
    assert!(said.contains("removed  bash 5.2-1  7168 kB\n"), "{said}");
    assert!(said.contains("removed  /empty  folder\n") && !said.contains("/noise"), "{said}");
}

#[test]
fn an_image_and_a_list_are_not_compared_and_damage_is_an_error() {
    let Some(pair) = Pair::make() else { return };
    let cache = || bail!("nothing has to be unpacked");
    fs::write(pair.path("a.manifest.json"), "{\"suites\":[],\"packages\":[]}").expect("a list");
    let said = diff::diff(&pair.path("old.img"), &pair.path("a.manifest.json"), &cache).expect_err("two kinds");
    assert!(said.to_string().contains("one is an image, the other is not"), "{said}");
    File::options().write(true).open(pair.path("new.img")).expect("it").set_len(30 << 20).expect("cutting it off");
    let said = format!("{:#}", diff::diff(&pair.path("old.img"), &pair.path("new.img"), &cache).expect_err("cut off"));
    assert!(said.contains("new.img") && said.contains("cut off"), "{said}");
}

#[test]
fn a_damaged_file_system_is_an_error_or_an_answer_but_no_panic_and_no_circle() {
    let Some(pair) = Pair::make() else { return };
    let disk = File::options().read(true).write(true).open(pair.path("new.img")).expect("the image");
    let mut random = fastrand::Rng::with_seed(3);
    let mut errors = 0;
    for _ in 0..500 {
        // Superblock, descriptors, tables of inodes, folders; and of the FAT its head, table and first folders.
        let at = match random.bool() {
            true => pair.root + 1024 + random.u64(..600_000),
            false => pair.esp + random.u64(..1_200_000),
        };
        let mut before = [0];
        disk.read_exact_at(&mut before, at).expect("reading");
        disk.write_all_at(&[random.u8(..)], at).expect("writing");
        let differing = diff::diff(&pair.path("old.img"), &pair.path("new.img"), &|| bail!("nothing to unpack"));
        errors += i32::from(differing.is_err());
        disk.write_all_at(&before, at).expect("writing");
    }
    assert!(errors > 0, "nothing was damaged");
}
