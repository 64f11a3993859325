//! A system copied to a device, and an ESP made and changed, on real block devices, read by others' tools.

use crate::loops::{Loop, leave};
use firstboot::machine::Machine;
use firstboot::unit::Systemd;
use profiles::act::{Act, EspFile, Fat, Install, Kept, Source};
use profiles::ask::{Answer, Ask, Leaf, Probe};
use profiles::file::File;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use tempfile::{TempDir, tempdir};

const MIB: u64 = 1 << 20;
const DRAFT: &str = "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f01";
const WHOLE: &str = "0b5f4bf6-9ea5-4c0c-9a4e-3a0c0f3a8f02";

fn machine(root: &TempDir) -> Machine {
    Machine::new(root.path(), Systemd::at("unix:path=/nonexistent/bus"))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(ended.stdout).unwrap()
}

async fn uuid(device: &str) -> String {
    let Answer::Probe(Some(Probe { signatures, .. })) =
        machine(&tempdir().unwrap()).answer(&Ask::Probe(device.to_owned())).await.unwrap()
    else {
        panic!("no answer")
    };
    signatures[0].uuid.clone().unwrap()
}

fn put(root: &Path, path: &str, content: &[u8], mode: u32) {
    let path = root.join(path.trim_start_matches('/'));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, content).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A system with one of each thing that a system has.
fn system() -> TempDir {
    let root = tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    put(root.path(), "/etc/passwd", b"root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n", 0o644);
    put(root.path(), "/etc/group", b"root:x:0:\nana:x:1000:\n", 0o644);
    put(root.path(), "/etc/machine-id", b"11111111111111111111111111111111\n", 0o444);
    put(root.path(), "/usr/bin/sudo", b"root's", 0o4755);
    put(root.path(), "/usr/bin/ping", b"capable", 0o755);
    put(root.path(), "/var/log/nginx/access.log", b"somebody", 0o640);
    put(root.path(), "/var/log/journal/abc/system.journal", b"something", 0o640);
    put(root.path(), "/var/lib/mimg/spec.json", b"{\"new\":1}", 0o644);
    put(root.path(), "/home/ana/.ssh/id", b"secret", 0o600);
    put(root.path(), "/tmp/x/y", b"gone", 0o600);
    std::os::unix::fs::chown(at("home/ana/.ssh/id"), Some(1000), Some(1000)).unwrap();
    std::os::unix::fs::chown(at("var/log/nginx"), Some(33), Some(4)).unwrap();
    xattr::set(at("etc/passwd"), "user.note", b"kept").unwrap();
    run("setcap", &["cap_net_raw=ep", at("usr/bin/ping").to_str().unwrap()]);
    fs_err::hard_link(at("usr/bin/ping"), at("usr/bin/ping6")).unwrap();
    fs_err::os::unix::fs::symlink("usr/bin", at("bin")).unwrap();
    run("mkfifo", &[at("var/fifo").to_str().unwrap()]);
    run("mknod", &[at("null").to_str().unwrap(), "c", "1", "3"]);
    let sparse = std::fs::File::create(at("var/sparse")).unwrap();
    sparse.set_len(100 * MIB).unwrap();
    sparse.write_all_at(b"in the middle", 50 * MIB + 3).unwrap();
    sparse.write_all_at(b"end", 100 * MIB - 3).unwrap();
    run(
        "touch",
        &["-h", "-d", "2001-02-03T04:05:06.789", at("bin").to_str().unwrap(), at("usr/bin/sudo").to_str().unwrap()],
    );
    root
}

fn install(device: &str, kept: Option<Kept>) -> Install {
    let mut files = vec![File::new("/etc/fstab", "PARTUUID=x / ext4\n"), File::new("/boot/new/folder.cfg", "set x\n")];
    if kept.is_none() {
        files.push(File { mode: 0o444, ..File::new("/etc/machine-id", "") });
    }
    let left_out = ["/etc/machine-id", "/tmp/*", "/var/log/journal/*", "/var/log/**"].map(str::to_owned).to_vec();
    Install {
        device: device.to_owned(),
        label: "root-a".to_owned(),
        draft: DRAFT.to_owned(),
        uuid: WHOLE.to_owned(),
        left_out,
        kept,
        files,
    }
}

/// What a person with `find` sees of a tree, but for times of folders, and how many folders are in one: `lost+found`.
fn listing(root: &Path) -> Vec<String> {
    let (shown, names) = ("%P %y %m %U:%G %l\\n", "%P has %n names\\n");
    let lost = ["-name", "lost+found", "-prune", "-o", "-printf", shown, "-not", "-type", "d", "-printf", names];
    let found = run("find", &[&[root.to_str().unwrap()], &lost[..]].concat());
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    let sums = format!("cd {} && find . -type f -print0 | sort -z | xargs -0 sha256sum", root.display());
    lines.extend(run("sh", &["-c", &sums]).lines().map(str::to_owned));
    lines.sort();
    lines
}

/// A file system mounted for a while.
struct Mounted(TempDir);

impl Mounted {
    fn new(device: &str) -> Mounted {
        let folder = tempdir().unwrap();
        run("mount", &["-o", "ro", device, folder.path().to_str().unwrap()]);
        Mounted(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_system_is_copied_with_all_that_a_file_can_have_and_without_what_is_left_out() {
    let Some(_leave) = leave().await else { return };
    let disk = Loop::new(512, 300 * MIB);
    let root = system();
    // What is mounted on top of it is not a part of it; what is below that mount is.
    put(root.path(), "/srv/below", b"below", 0o644);
    run("mount", &["-t", "tmpfs", "none", root.path().join("srv").to_str().unwrap()]);
    put(root.path(), "/srv/above", b"above", 0o644);
    let done = machine(&root).act(&Act::Install(install(&disk.device, None))).await;
    run("umount", &[root.path().join("srv").to_str().unwrap()]);
    done.unwrap();
    assert_eq!(uuid(&disk.device).await, WHOLE);
    run("e2fsck", &["-fn", &disk.device]);

    let wanted = root.path();
    for gone in ["tmp/x", "var/log/journal/abc"] {
        fs_err::remove_dir_all(wanted.join(gone)).unwrap();
    }
    fs_err::remove_file(wanted.join("var/log/nginx/access.log")).unwrap();
    put(wanted, "/etc/machine-id", b"", 0o444);
    put(wanted, "/etc/fstab", b"PARTUUID=x / ext4\n", 0o644);
    put(wanted, "/boot/new/folder.cfg", b"set x\n", 0o644);
    let seen = Mounted::new(&disk.device);
    let top = seen.0.path();
    assert_eq!(listing(top), listing(wanted));
    assert_eq!(xattr::get(top.join("etc/passwd"), "user.note").unwrap().as_deref(), Some(&b"kept"[..]));
    assert!(run("getcap", &[top.join("usr/bin/ping6").to_str().unwrap()]).contains("cap_net_raw=ep"));
    let inode = |path: &str| fs_err::metadata(top.join(path)).unwrap().ino();
    assert_eq!(inode("usr/bin/ping"), inode("usr/bin/ping6"));
    assert!(fs_err::metadata(top.join("var/sparse")).unwrap().blocks() < 100, "its holes were filled");
    for path in ["bin", "usr/bin/sudo"] {
        let time = |root: &Path| fs_err::symlink_metadata(root.join(path)).unwrap().modified().unwrap();
        assert_eq!(time(top), time(wanted), "{path}");
    }
}

#[tokio::test]
async fn a_newer_system_takes_over_what_outlives_the_one_before() {
    let Some(_leave) = leave().await else { return };
    let (old, new) = (Loop::new(512, 200 * MIB), Loop::new(512, 200 * MIB));
    let before = system();
    put(before.path(), "/etc/machine-id", b"22222222222222222222222222222222\n", 0o444);
    put(before.path(), "/etc/ssh/ssh_host_rsa_key", b"key", 0o600);
    put(before.path(), "/etc/ssh/sshd_config", b"old", 0o644);
    put(before.path(), "/var/lib/mimg/spec.json", b"{\"old\":1}", 0o644);
    put(before.path(), "/var/lib/mimg/record.jsonl", b"{}\n", 0o600);
    put(before.path(), "/var/lib/mimg/secrets/one", b"sealed", 0o600);
    let first = Install { left_out: Vec::new(), files: Vec::new(), ..install(&old.device, None) };
    machine(&before).act(&Act::Install(first)).await.unwrap();

    let root = system();
    let kept = Kept {
        device: old.device.clone(),
        paths: ["/etc/machine-id", "/etc/ssh/ssh_host_*", "/var/lib/mimg/*", "/not/there"].map(str::to_owned).to_vec(),
        left_out: vec!["/var/lib/mimg/spec.json".to_owned()],
    };
    machine(&root).act(&Act::Install(install(&new.device, Some(kept)))).await.unwrap();
    let seen = Mounted::new(&new.device);
    let read = |path: &str| fs_err::read_to_string(seen.0.path().join(path)).unwrap_or_else(|error| error.to_string());
    assert_eq!(read("etc/machine-id").trim(), "2".repeat(32));
    assert_eq!(
        (read("etc/ssh/ssh_host_rsa_key").as_str(), read("var/lib/mimg/secrets/one").as_str()),
        ("key", "sealed")
    );
    assert_eq!(
        (read("var/lib/mimg/spec.json").as_str(), read("var/lib/mimg/record.jsonl").as_str()),
        ("{\"new\":1}", "{}\n")
    );
    assert!(!seen.0.path().join("etc/ssh/sshd_config").exists(), "more was taken over than was asked for");
}

#[tokio::test]
async fn a_device_in_use_or_too_small_gets_no_system() {
    let Some(_leave) = leave().await else { return };
    let (used, small) = (Loop::new(512, 200 * MIB), Loop::new(512, 16 * MIB));
    let root = system();
    put(root.path(), "/large", &vec![7; 20 * MIB as usize], 0o644);
    run("mke2fs", &["-q", "-t", "ext4", "-U", DRAFT, &used.device]);
    let held = Mounted::new(&used.device);
    let error = machine(&root).act(&Act::Install(install(&used.device, None))).await.unwrap_err();
    assert!(format!("{error:#}").contains("is mounted"), "{error:#}");
    drop(held);
    let error = machine(&root).act(&Act::Install(install(&small.device, None))).await.unwrap_err();
    assert!(format!("{error:#}").contains("No space left"), "{error:#}");
    assert_eq!(uuid(&small.device).await, DRAFT, "half a system has the UUID of a whole one");
    // The next try finds nothing in its way.
    fs_err::remove_file(root.path().join("large")).unwrap();
    machine(&root).act(&Act::Install(install(&used.device, None))).await.unwrap();
    assert_eq!(uuid(&used.device).await, WHOLE);
}

fn text(path: &str, text: &str) -> EspFile {
    EspFile { path: path.to_owned(), from: Source::Text(text.to_owned()) }
}

async fn files(device: &str) -> BTreeMap<String, Leaf> {
    match machine(&tempdir().unwrap()).answer(&Ask::Esp(device.to_owned())).await.unwrap() {
        Answer::Esp(Some(files)) => files,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_esp_is_made_and_changed_and_fsck_finds_nothing_wrong_with_it() {
    let Some(_leave) = leave().await else { return };
    for (sector, size) in [(512, 256), (512, 64), (4096, 300)] {
        let disk = Loop::new(sector, size * MIB);
        disk.file.as_file().write_all_at(&vec![0xa5; 8 * MIB as usize], 0).unwrap();
        let root = tempdir().unwrap();
        put(root.path(), "/usr/lib/shim", &vec![7; 950_000], 0o644);
        let shim = EspFile { path: "EFI/BOOT/BOOTX64.EFI".to_owned(), from: Source::File("/usr/lib/shim".to_owned()) };
        let env = |slot: &str| profiles::grub::environment(&[("slot", slot)]);
        let make = Some(Fat { label: "ESP".to_owned(), serial: 0xabcd_1234 });
        let act = |make, files| Act::Esp { device: disk.device.clone(), make, files };
        let first = vec![shim.clone(), text("EFI/debian/grub.cfg", "one"), text("EFI/debian/grubenv", &env("root-a"))];
        machine(&root).act(&act(make, first)).await.unwrap();
        assert_eq!(uuid(&disk.device).await, "ABCD-1234");
        run("fsck.fat", &["-n", &disk.device]);

        put(root.path(), "/usr/lib/shim", &vec![8; 960_000], 0o644);
        let marker = text("EFI/debian/mimg-installed", "yes");
        let second = vec![shim, text("EFI/debian/grubenv", &env("root-b")), marker];
        for _ in 0..2 {
            machine(&root).act(&act(None, second.clone())).await.unwrap();
        }
        run("fsck.fat", &["-n", &disk.device]);
        let seen = files(&disk.device).await;
        let paths: Vec<&str> = seen.keys().map(String::as_str).collect();
        let wanted = ["EFI/BOOT/BOOTX64.EFI", "EFI/debian/grub.cfg", "EFI/debian/grubenv", "EFI/debian/mimg-installed"];
        assert_eq!(paths, wanted);
        assert_eq!(seen[wanted[0]], Leaf::new(&vec![8; 960_000]));
        assert_eq!(seen[wanted[2]].text.as_deref(), Some(env("root-b").as_str()));
        if sector == 512 {
            assert_eq!(run("mtype", &["-i", &disk.device, "::/EFI/debian/grub.cfg"]), "one");
        }
    }
}

#[tokio::test]
async fn an_esp_that_is_not_there_or_damaged_has_no_answer() {
    let root = tempdir().unwrap();
    let ask = |device: &str| Ask::Esp(device.to_owned());
    assert_eq!(machine(&root).answer(&ask("/dev/there-is-no-such-disk")).await.unwrap(), Answer::Esp(None));
    let Some(_leave) = leave().await else { return };
    let disk = Loop::new(512, 64 * MIB);
    machine(&root).answer(&ask(&disk.device)).await.unwrap_err();
}
