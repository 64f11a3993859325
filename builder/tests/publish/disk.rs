//! A small disk as mimg lays one out, with a FAT and an ext4 that have files in them, and its manifest.

use crate::tools::{find, said};
use builder::image::Image;
use builder::image::identity::Identity;
use builder::image::manifest::{Binary, Manifest, Member};
use builder::image::table::{ESP, MIB, ROOT, Table};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use uuid::Uuid;

fn table(root: u64) -> Table {
    let identity = Identity { namespace: Uuid::nil(), name: "profile/small".to_owned() };
    Table::lay_out(&identity, 36 * MIB, root * MIB)
}

/// Writes the disk to `path`, with a root of so many MiB; `None` where the host lacks a tool for that.
pub fn make(path: &Path, root: u64) -> Option<Manifest> {
    let (mke2fs, fat, mcopy) =
        (find("mke2fs", "e2fsprogs")?, find("mkfs.fat", "dosfstools")?, find("mcopy", "mtools")?);
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::create_dir_all(here.join("files/etc")).expect("a folder");
    fs::write(here.join("files/etc/hostname"), "small\n").expect("a file");
    // Zeros that belong to a file have to be written, whatever the disk held.
    fs::write(here.join("files/zeros"), vec![0; 300_000]).expect("a file");
    fs::write(here.join("files/noise"), noise(3 << 20)).expect("a file");
    let table = table(root);
    let disk = File::options().create(true).truncate(true).read(true).write(true).open(path).expect("a disk");
    disk.set_len(table.size).expect("sizing the disk");
    let place = |number| (table.partition(number).start(), table.partition(number).size());
    let ((esp, esp_size), (start, size)) = (place(ESP), place(ROOT));
    let text = path.to_str().expect("a path");
    let uuid = "00000000-0000-4000-8000-000000000000";
    let extended = format!("offset={start},hash_seed={uuid}");
    let kib = format!("{}k", size / 1024);
    let options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid, "-E", &extended, "-d", "files", text, &kib];
    said(&mke2fs, &options, here);
    let (sector, length) = ((esp / 512).to_string(), (esp_size / 1024).to_string());
    said(&fat, &["-F", "32", "-s", "1", "-i", "00000001", "--invariant", "--offset", &sector, text, &length], here);
    said(&mcopy, &["-i", &format!("{text}@@{esp}"), "files/noise", "::/noise"], here);
    disk.write_all_at(&[0x47; 40_000], place(1).0).expect("a core image");
    table.write(&disk, [0x90; 440]).expect("a table");
    Some(manifest(table))
}

/// Bytes without a pattern, the same each time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(..)).collect()
}

fn manifest(table: Table) -> Manifest {
    let member = |name: &str, version: &str, repository: Option<&str>| Member {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        suite: "trixie".to_owned(),
        repository: repository.map(str::to_owned),
        size: 1,
        sha256: "ab".repeat(32),
    };
    Manifest {
        format: Manifest::FORMAT,
        mimg: "0.1.0".to_owned(),
        profile: "small".to_owned(),
        node: None,
        fleet: None,
        spec: "cd".repeat(32),
        epoch: 1_790_000_000,
        suites: Vec::new(),
        packages: vec![
            member("grub-pc-bin", "2.12-9", None),
            member("libstdc++6", "14.2.0-19", None),
            member("vim-tiny", "2:9.1.1230-2~deb13u1+b1", None),
            member("tool", "1", Some("their own")),
        ],
        firstboot: Binary { version: "0.1.0".to_owned(), size: 1, sha256: "ef".repeat(32) },
        image: Image {
            table,
            root_uuid: Uuid::nil(),
            tree_sha256: "00".repeat(32),
            tree_entries: 4,
            kernel: "6.12".to_owned(),
        },
        disk_sha256: String::new(),
        files: Vec::new(),
    }
}
