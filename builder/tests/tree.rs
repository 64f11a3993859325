//! A tree of real packages, made by root and by an ordinary user: right by dpkg's and apt's own word, the same bits
//! whoever makes it, and what mmdebstrap makes of the same packages but for the differences listed here.
//!
//! Packages come from the mirror of the host's apt configuration. What is missing on the host is said, and skipped.

mod archive;
mod listing;

use anyhow::{Context, Result, ensure};
use archive::Archive;
use builder::progress::Progress;
use builder::tree::overlay::Overlay;
use builder::tree::sandbox;
use builder::tree::scan::scan;
use builder::tree::shelf::Shelf;
use builder::tree::{Making, Tree};
use builder::work::Work;
use listing::Listing;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EPOCH: i64 = 1_770_000_000;

/// Packages whose scripts do most of what scripts do: users, diversions, keys, clusters, triggers, links in /var.
const WANTED: [&str; 12] = [
    "apt",
    "ca-certificates",
    "dbus",
    "drbd-utils",
    "initramfs-tools",
    "lvm2",
    "mdadm",
    "nftables",
    "openssh-server",
    "postgresql-17",
    "ssl-cert",
    "systemd-sysv",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", root, debs] => make(Path::new(root), Path::new(debs)),
        ["replace", root, debs, tools] => replace(Path::new(root), Path::new(debs), Path::new(tools)),
        ["hang", root, cache] => hang(Path::new(root), Path::new(cache)),
        words if words.contains(&"--list") => {
            println!("a_tree_of_real_packages: test");
            Ok(())
        }
        _ => cases(),
    }
}

fn cases() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("mimg-tree-").tempdir()?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open)?;
    let archive = match Archive::of_host(folder.path()) {
        Ok(archive) => archive,
        Err(why) => return skip(&format!("{why:#}")),
    };
    let debs = archive.download(&WANTED)?;
    let roots = folder.path().join("by-root");
    let by_root = made(Command::new(this()?), &roots, &debs)?;
    if !nix::unistd::geteuid().is_root() {
        return skip("the rest compares with what root makes, and this is not root");
    }
    nothing_is_left_of_a_killed_run(&roots)?;
    replaced_files_outlive_an_upgrade(folder.path())?;
    as_an_ordinary_user(folder.path(), &debs, &by_root)?;
    as_mmdebstrap(folder.path(), &archive, &roots)
}

/// In a process of its own: makes a tree, lets dpkg and apt judge it, and prints what is in it.
fn make(root: &Path, debs: &Path) -> Result<()> {
    sandbox::become_root()?;
    std::fs::create_dir(root)?;
    let debs = std::fs::read_dir(debs)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let tree = tree_of(root, &debs)?;
    let said = |argv: &[&str]| -> Result<String> { Ok(tree.run(argv)?.text()) };
    ensure!(said(&["dpkg", "--audit"])?.is_empty(), "dpkg --audit: {}", said(&["dpkg", "--audit"])?);
    let differs = said(&["dpkg", "--verify"])?;
    ensure!(differs.trim() == "??5?????? c /etc/lvm/lvmlocal.conf", "dpkg --verify: {differs}");
    said(&["apt-get", "check"])?;
    closed(&tree)?;
    tree.finish()?;
    let findings = scan(tree.root())?;
    ensure!(findings.is_empty(), "the scan finds {findings:?}");
    off(&tree)?;
    print!("{}", Listing::of(tree.path())?);
    Ok(())
}

/// A tree of these packages, nothing of which was kept before.
fn tree_of(root: &Path, debs: &[PathBuf]) -> Result<Tree> {
    let beside = root.with_extension("beside");
    let shelf = Shelf::new(&beside, &beside.join("work"));
    let first = BTreeSet::from(["openssh-server".to_owned(), "initramfs-tools".to_owned()]);
    let (packed, progress) = (|_: &str| false, Progress::to_stderr());
    let making = Making { debs, first: &first, epoch: EPOCH, shelf: &shelf, packed: &packed, progress: &progress };
    Ok(Tree::make(root, &making, &mut |_| {})?.0)
}

/// What runs in a tree sees nothing of the host and changes nothing of it.
fn closed(tree: &Tree) -> Result<()> {
    let script = "no() { if sh -c \"$1\" 2>/dev/null; then echo \"it could $1\" >&2; exit 9; fi; }
        no 'ls /sys | grep .'
        no 'echo 1 >/proc/sys/vm/drop_caches'
        no 'mknod /tmp/disk b 7 0'
        no 'mount -t tmpfs none /mnt'
        no 'cat /proc/1/environ'
        no 'ls -l /dev/disk /dev/vda /dev/sda'
        grep -c : /proc/net/dev
        ls /proc | grep -c '^[0-9]'
        uname -n; pwd; echo $SOURCE_DATE_EPOCH; id -u; cat; echo end >&2";
    let output = tree.run(&["sh", "-ec", script])?;
    let seen = output.text();
    let lines: Vec<&str> = seen.lines().collect();
    // One network device (lo); a shell, ls, grep and process 1; no input.
    ensure!(lines[0] == "1" && lines[1] == "4", "the sandbox shows {seen:?}");
    ensure!(lines[2..] == ["localhost", "/", &EPOCH.to_string(), "0"], "the sandbox shows {seen:?}");
    let error = format!("{:#}", tree.run(&["sh", "-c", "echo the reason >&2; exit 3"]).expect_err("it fails"));
    ensure!(error.contains("exit code 3") && error.contains("the reason"), "the error is {error:?}");
    let file = tempfile::NamedTempFile::new()?;
    let bound = tree.sandbox().bind(file.path(), "/run/mimg/out/file", true);
    bound.run(&["sh", "-c", "echo written >/run/mimg/out/file"])?;
    ensure!(std::fs::read_to_string(file.path())? == "written\n", "a file bound for writing is written");
    let bound = tree.sandbox().bind(file.path(), "/run/mimg/file", false);
    ensure!(bound.run(&["sh", "-c", "echo again >/run/mimg/file"]).is_err(), "a file bound for reading is not");
    Ok(())
}

/// Debian's automatics are off, and configuring made no initramfs.
fn off(tree: &Tree) -> Result<()> {
    let enabled = tree.run(&["find", "/etc/systemd/system", "-type", "l"])?.text();
    for unit in ["drbd.service", "nftables.service"] {
        ensure!(!enabled.contains(unit), "{unit} is enabled");
    }
    let boot = tree.root().names(Path::new("boot"))?;
    ensure!(boot.iter().all(|name| !name.to_string_lossy().starts_with("initrd")), "an initramfs was made: {boot:?}");
    ensure!(tree.root().names(Path::new("etc/postgresql"))?.is_empty(), "a cluster was made");
    ensure!(tree.root().read(Path::new("usr/sbin/policy-rc.d"))?.is_none(), "policy-rc.d is left");
    Ok(())
}

fn replaced_files_outlive_an_upgrade(folder: &Path) -> Result<()> {
    let folder = folder.join("replacing");
    std::fs::create_dir(&folder)?;
    let debs = Archive::of_host(&folder)?.download(&[])?;
    let replaced = Command::new(this()?).arg("replace").arg(folder.join("tree")).arg(debs).arg(&folder).status()?;
    ensure!(replaced.success(), "replacing files of a package failed");
    Ok(())
}

/// In a process of its own: an overlay takes the place of a program and of a conffile, and then a newer version of their
/// package comes to the machine.
fn replace(root: &Path, debs: &Path, tools: &Path) -> Result<()> {
    sandbox::become_root()?;
    std::fs::create_dir(root)?;
    let mut debs = std::fs::read_dir(debs)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    debs.push(tool(tools, "1")?);
    let tree = tree_of(root, &debs)?;
    let overlay = tools.join("overlay");
    for file in ["usr/bin/tool", "etc/tool.conf", "etc/tool.d/own"] {
        let file = overlay.join(file);
        std::fs::create_dir_all(file.parent().context("a parent")?)?;
        std::fs::write(file, "ours\n")?;
    }
    let overlay = Overlay::from_folder("mine", &overlay)?;
    let refused = tree.overlay(&overlay, &["/etc/tool.conf"]).expect_err("the program is not among those allowed");
    ensure!(format!("{refused:#}").contains("usr/bin/tool would replace a file of the package tool"), "{refused:#}");
    let allowed = ["/usr/bin/tool", "/etc/tool.conf"];
    let replaced = tree.overlay(&overlay, &allowed)?;
    ensure!(replaced.iter().map(|file| file.conffile).collect::<Vec<_>>() == [true, false], "{replaced:?}");

    let text = |path: &str| tree.root().text(path);
    let said = |argv: &[&str]| -> Result<String> { Ok(tree.run(argv)?.text()) };
    let judged = |version: &str| -> Result<()> {
        let of_package = format!("version {version}\n");
        ensure!(text("usr/bin/tool")? == "ours\n" && text("usr/bin/tool.distrib")? == of_package, "the program");
        ensure!(text("etc/tool.conf")? == "ours\n", "the conffile");
        ensure!(said(&["dpkg", "--audit"])?.is_empty(), "dpkg --audit: {}", said(&["dpkg", "--audit"])?);
        let differs = said(&["dpkg", "--verify"])?;
        ensure!(differs.trim() == "??5?????? c /etc/tool.conf", "dpkg --verify: {differs}");
        Ok(())
    };
    // Again, as a second overlay with the same file would be: the diversion is there already.
    tree.overlays(&[overlay], &allowed)?;
    judged("1")?;
    let unused = tree.overlays(&[], &["/etc/tool.conf"]).expect_err("no overlay makes use of it");
    ensure!(format!("{unused:#}").contains("no package of the image has that file"), "{unused:#}");
    let newer = tree.sandbox().bind(tool(tools, "2")?, "/run/tool.deb", false);
    newer.run(&["dpkg", "--force-confdef", "--force-confold", "--install", "/run/tool.deb"])?;
    judged("2")?;
    // An administrator takes it back as any diversion.
    tree.root().remove(Path::new("usr/bin/tool"))?;
    said(&["dpkg-divert", "--local", "--rename", "--remove", "/usr/bin/tool"])?;
    ensure!(text("usr/bin/tool")? == "version 2\n", "the package's program is back");
    Ok(())
}

/// A package with a program and a conffile, made by dpkg-deb.
fn tool(folder: &Path, version: &str) -> Result<PathBuf> {
    let tree = folder.join(format!("tool-{version}"));
    let content = format!("version {version}\n");
    let control = format!(
        "Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a tool\n"
    );
    let files = [
        ("DEBIAN/control", control.as_str()),
        ("DEBIAN/conffiles", "/etc/tool.conf\n"),
        ("usr/bin/tool", &content),
        ("etc/tool.conf", &content),
    ];
    for (path, content) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().context("a parent")?)?;
        std::fs::write(path, content)?;
    }
    let deb = folder.join(format!("tool_{version}_all.deb"));
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(tree).arg(&deb).output()?;
    ensure!(built.status.success(), "dpkg-deb: {}", String::from_utf8_lossy(&built.stderr));
    Ok(deb)
}

/// In a process of its own: waits in the sandbox, with a work folder, until it is killed.
fn hang(root: &Path, cache: &Path) -> Result<()> {
    sandbox::become_root()?;
    let _work = Work::in_cache(cache)?;
    sandbox::Sandbox::new(root, EPOCH).run(&["sleep", "1234567"])?;
    Ok(())
}

fn nothing_is_left_of_a_killed_run(root: &Path) -> Result<()> {
    let sleeping = || {
        let found = Command::new("pgrep").args(["-fx", "sleep 1234567"]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let cache = tempfile::tempdir()?;
    let works = || {
        let entries = std::fs::read_dir(cache.path().join("work")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    };
    let mut run = Command::new(this()?).arg("hang").arg(root).arg(cache.path()).spawn()?;
    wait_until("the command runs in the sandbox", sleeping)?;
    ensure!(works() == 1, "a run has a work folder");
    run.kill()?;
    run.wait()?;
    wait_until("the sandbox ends with its caller", || !sleeping())?;
    wait_until("the work folder is removed", || works() == 0)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains("mimg-tree-"), "a mount is left");
    Ok(())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        ensure!(Instant::now() < end, "waiting until {what}: not so after 30 s");
        std::thread::yield_now();
    }
    Ok(())
}

/// A user for this test, with subordinate ids as useradd gives them.
struct User(String);

impl User {
    fn add() -> Result<User> {
        let name = format!("mimg-test-{}", std::process::id());
        let added = Command::new("useradd").args(["--no-create-home", "--shell", "/bin/sh", &name]).status();
        ensure!(added.context("running useradd")?.success(), "useradd failed");
        Ok(User(name))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let removed = Command::new("userdel").arg(&self.0).status();
        assert!(removed.is_ok_and(|status| status.success()), "userdel {} failed", self.0);
    }
}

fn as_an_ordinary_user(folder: &Path, debs: &Path, by_root: &str) -> Result<()> {
    if Command::new("newuidmap").stderr(Stdio::null()).status().is_err() {
        return skip("newuidmap is missing: install the package uidmap");
    }
    let user = User::add()?;
    let place = folder.join("of-user");
    std::fs::create_dir(&place)?;
    let id = nix::unistd::User::from_name(&user.0)?.context("the user was just made")?.uid;
    nix::unistd::chown(&place, Some(id), None)?;
    let program = place.join("program");
    std::fs::copy(this()?, &program)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.0, "--regid", &user.0, "--init-groups"]).arg(program).current_dir(&place);
    let by_user = made(command, &place.join("tree"), debs)?;
    let differing: Vec<_> = by_root.lines().zip(by_user.lines()).filter(|(one, other)| one != other).collect();
    ensure!(by_root == by_user, "root and a user make different trees: {differing:#?}");
    Ok(())
}

fn as_mmdebstrap(folder: &Path, archive: &Archive, ours: &Path) -> Result<()> {
    let theirs = folder.join("theirs");
    if Command::new("mmdebstrap").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("mmdebstrap is missing, with whose tree ours is compared");
    }
    archive.mmdebstrap(&theirs, &WANTED)?;
    let differing = Listing::of(&theirs)?.differing(&Listing::of(ours)?)?;
    ensure!(
        differing.is_empty(),
        "these differ from what mmdebstrap makes, for no known reason:\n{}",
        differing.join("\n")
    );
    Ok(())
}

fn made(mut command: Command, root: &Path, debs: &Path) -> Result<String> {
    let output = command.arg("make").arg(root).arg(debs).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "making {} failed", root.display());
    Ok(String::from_utf8(output.stdout)?)
}

fn this() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

fn skip(why: &str) -> Result<()> {
    eprintln!("skipped: {why}");
    Ok(())
}
