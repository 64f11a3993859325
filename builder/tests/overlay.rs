//! Overlays copied into a tree: what arrives, and what is refused with the file, what was seen and the cure; and the
//! scan that looks for what no image may hold.

use builder::tree::overlay::Overlay;
use builder::tree::root::Root;
use builder::tree::scan::{What, scan};
use builder::work::Work;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

fn folders() -> (TempDir, Root) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("tree/var/lib/dpkg/info")).expect("making a tree");
    fs::create_dir(folder.path().join("overlay")).expect("making an overlay");
    let root = Root::open(&folder.path().join("tree")).expect("opening the tree");
    (folder, root)
}

fn put(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("making folders");
    fs::write(path, content).expect("writing a file");
}

fn refused(folder: &Path, root: &Root) -> String {
    let copied = Overlay::from_folder("mine", folder).and_then(|overlay| overlay.copy_into(root, 1, &[]));
    format!("{:#}", copied.expect_err("the overlay is refused"))
}

#[test]
fn an_overlay_is_copied_with_its_modes_and_links_as_roots() {
    let (folder, root) = folders();
    let overlay = folder.path().join("overlay");
    put(&overlay, "usr/bin/tool", "#!/bin/sh\n");
    fs::set_permissions(overlay.join("usr/bin/tool"), fs::Permissions::from_mode(0o755)).expect("setting a mode");
    symlink("/dev/null", overlay.join("masked")).expect("making a link");
    Overlay::from_folder("mine", &overlay).expect("reading it").copy_into(&root, 7, &[]).expect("copying it");
    let tool = fs::metadata(root.path().join("usr/bin/tool")).expect("the tool");
    assert_eq!((tool.mode() & 0o7777, tool.mtime()), (0o755, 7));
    assert_eq!(fs::read_link(root.path().join("masked")).expect("the link"), Path::new("/dev/null"));
}

#[test]
fn a_link_that_leads_out_is_refused() {
    let (folder, root) = folders();
    let overlay = folder.path().join("overlay");
    fs::create_dir(overlay.join("etc")).expect("making a folder");
    symlink("../../../etc/shadow", overlay.join("etc/x")).expect("making a link");
    let said = refused(&overlay, &root);
    assert!(said.contains("etc/x") && said.contains("leads out"), "{said}");
}

#[test]
fn pipes_odd_names_and_hidden_rights_are_refused() {
    let (folder, root) = folders();
    let overlay = folder.path().join("overlay");
    nix::unistd::mkfifo(&overlay.join("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("making a pipe");
    let said = refused(&overlay, &root);
    assert!(said.contains("pipe") && said.contains("wanted files"), "{said}");
    fs::remove_file(overlay.join("pipe")).expect("removing the pipe");

    put(&overlay, "a\nb", "");
    let said = refused(&overlay, &root);
    assert!(said.contains("control character") && said.contains("rename"), "{said}");
    fs::remove_file(overlay.join("a\nb")).expect("removing the file");

    put(&overlay, "su", "");
    fs::set_permissions(overlay.join("su"), fs::Permissions::from_mode(0o4755)).expect("setting a mode");
    let said = refused(&overlay, &root);
    assert!(said.contains("su, set-user-id"), "{said}");
}

#[test]
fn a_packages_file_is_replaced_only_if_that_is_said() {
    let (folder, root) = folders();
    let overlay = folder.path().join("overlay");
    put(&overlay, "bin/tool", "mine");
    put(root.path(), "usr/bin/tool", "theirs");
    symlink("usr/bin", root.path().join("bin")).expect("making a link");
    put(root.path(), "var/lib/dpkg/info/tools.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n");
    let said = refused(&overlay, &root);
    assert!(said.contains("/bin/tool") && said.contains("tools"), "{said}");
    let overlay = Overlay::from_folder("mine", &overlay).expect("reading it");
    overlay.copy_into(&root, 1, &["/bin/tool"]).expect("it is allowed now");
    assert_eq!(root.text("usr/bin/tool").expect("the tool"), "mine");
}

#[test]
fn all_that_would_be_replaced_is_told_at_once_with_its_owner_and_the_key_that_allows_it() {
    let (folder, root) = folders();
    let overlay = folder.path().join("overlay");
    for path in ["usr/lib/older", "etc/conf", "etc/own"] {
        put(&overlay, path, "mine");
    }
    fs::create_dir_all(root.path().join("usr/lib")).expect("making folders");
    symlink("usr/lib", root.path().join("lib")).expect("making a link");
    // The first was packed before /lib became a link into /usr.
    put(root.path(), "var/lib/dpkg/info/old.list", "/.\n/lib\n/lib/older\n");
    put(root.path(), "var/lib/dpkg/info/new.list", "/.\n/etc\n/etc/conf\n");
    put(
        root.path(),
        "var/lib/dpkg/status",
        "Package: new\nConffiles:\n /etc/conf 0123 obsolete\nDescription: x\n /etc/own y\n",
    );
    let overlay = Overlay::from_folder("mine", &overlay).expect("reading it");
    let said = overlay.replaced(&root, &["/etc/own"]).expect_err("none of them is allowed").to_string();
    for part in [
        "overlays/mine/etc/conf would replace a file of the package new",
        "overlays/mine/usr/lib/older would replace a file of the package old",
        "replaces = [\"/usr/lib/older\"] in profiles/mine.toml",
    ] {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("etc/own"), "{said}");
    let replaced = overlay.replaced(&root, &["/etc/conf", "/usr/lib/older"]).expect("they are allowed");
    let seen: Vec<_> = replaced.iter().map(|file| (file.listed.to_str().expect("UTF-8"), file.conffile)).collect();
    assert_eq!(seen, [("etc/conf", true), ("lib/older", false)]);
}

#[test]
fn the_overlay_of_every_image_is_in_the_binary() {
    let (_folder, root) = folders();
    Overlay::embedded("base").expect("it is there").copy_into(&root, 1, &[]).expect("copying it");
    assert!(root.text("etc/mdadm/mdadm.conf").expect("reading it").contains("AUTO -all"));
    let said = format!("{:#}", Overlay::embedded("basis").err().expect("there is no such overlay"));
    assert!(said.contains("base"), "{said}");
}

#[test]
fn the_scan_finds_each_thing_that_may_not_be_in_an_image() {
    let (_folder, root) = folders();
    // Put together here, so that scanners of this repository find no key.
    let pem = format!("-----BEGIN OPENSSH {} KEY-----\nAAAA\n", "PRIVATE");
    let wanted = [
        ("etc/apt/sources.list", "deb https://user:word@archive.example.org/ x main\n", What::Credentials),
        ("etc/machine-id", "0123\n", What::MachineId),
        ("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa\n", What::HostKey),
        ("etc/ssl/certs/ssl-cert-snakeoil.pem", "x", What::Snakeoil),
        ("etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = AAAA\n", What::PrivateKey),
        ("root/.age", "AGE-SECRET-KEY-1QQ\n", What::PrivateKey),
        ("root/key", &pem, What::PrivateKey),
        ("var/cache/apt/pkgcache.bin", "x", What::Cache),
        ("var/lib/postgresql/17/main/PG_VERSION", "17\n", What::Cluster),
        ("var/lib/systemd/random-seed", "x", What::Seed),
        ("var/log/dpkg.log", "x", What::Log),
    ];
    put(root.path(), "etc/apt/sources.list.d/good.list", "deb https://archive.example.org/ x main # a:b@c\n");
    put(root.path(), "etc/ssl/certs/good.pem", "-----BEGIN CERTIFICATE-----\n");
    put(root.path(), "usr/lib/reader.py", "if line == '-----BEGIN PRIVATE KEY-----':\n");
    for (path, content, _) in &wanted {
        put(root.path(), path, content);
    }
    let found: Vec<_> = scan(&root).expect("scanning").into_iter().map(|found| (found.path, found.what)).collect();
    let wanted: Vec<_> = wanted.iter().map(|(path, _, what)| (Path::new(path).to_owned(), *what)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_work_folder_is_gone_with_its_run_and_those_of_dead_runs_are_swept() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let left = cache.path().join("work/run-dead/tree");
    fs::create_dir_all(&left).expect("making what a killed run left");
    let work = Work::in_cache(cache.path()).expect("making a work folder");
    assert!(!left.exists(), "the dead run's folder is swept");
    let path = work.path().to_owned();
    put(&path, "tree/x", "x");
    let other = Work::in_cache(cache.path()).expect("making another");
    assert!(path.join("tree/x").exists(), "a folder in use is left alone");
    drop(work);
    assert!(!path.exists() && other.path().exists());
}
