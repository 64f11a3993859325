//! Images made of real Debian 13 packages, examined by the tools that others read disks with.

mod tools;

use builder::image::base::Base;
use builder::image::bios::Bios;
use builder::image::boot::Boot;
use builder::image::edit::Edit;
use builder::image::identity::Identity;
use builder::image::{Image, Layout, Writing, esp, ext4, grub, stream};
use builder::progress::Progress;
use builder::tree::payload::Payloads;
use builder::tree::root::Root;
use builder::tree::shelf::Shelf;
use builder::tree::state::State;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use tools::{inside, says, tools};

const EPOCH: i64 = 1_700_000_000;

/// `cap_net_raw=ep` as setcap writes it: revision 2 with the effective bit, then permitted and inheritable, low words
/// first.
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

fn layout() -> Layout {
    let namespace = uuid::Uuid::from_u128(0x1d0e_c0de);
    Layout { esp_size: 64 << 20, ..Layout::new(Identity { namespace, name: "node/example".to_owned() }) }
}

/// A copy of the tools with one of everything that a file can be.
fn tree(at: &Path) {
    says("cp", &["-a", text(tools()), text(at)]);
    let put = |path: &str, content: &str| {
        let path = at.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("making the folder");
        fs::write(&path, content).expect("writing");
        path
    };
    let plain = put("srv/plain", "plain\n");
    chown(&plain, Some(1000), Some(1001)).expect("chown");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o4751)).expect("chmod");
    fs::hard_link(&plain, at.join("srv/again")).expect("a hard link");
    let capable = put("srv/capable", "x");
    xattr::set(&capable, "security.capability", &CAP_NET_RAW).expect("a capability");
    put(&format!("srv/{}/deep", "n".repeat(200)), "long");
    put("srv/Főtanúsítvány.crt", "name");
    symlink("../a//b/./c/", at.join("srv/untidy")).expect("a link");
    symlink("t".repeat(300), at.join("srv/far")).expect("a link");
    says("mknod", &[text(&at.join("srv/pipe")), "p"]);
    says("mknod", &[text(&at.join("srv/null")), "c", "1", "3"]);
    for gone in ["run/lock", "tmp/left", "var/tmp/left", "dev/shm/left"] {
        put(gone, "left");
    }
    says("touch", &["-d", "@1600000000", text(&at.join("srv/capable"))]);
    fs::set_permissions(at.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
}

/// A boot loader without a kernel: all that `Image::pack` asks for.
fn boot(tree: &Path) -> Boot {
    let boot = fs::read(tree.join("usr/lib/grub/i386-pc/boot.img")).expect("boot.img");
    let command = ["grub-mkimage", "-O", "i386-pc", "-o", "/core.img", "-p", "(,gpt2)/EFI/debian"];
    inside(tree, &[&command[..], &grub::MODULES[..]].concat()).expect("core.img");
    let core = fs::read(tree.join("core.img")).expect("core.img");
    fs::remove_file(tree.join("core.img")).expect("removing core.img");
    let files = esp::files(tree, "# a configuration\n".to_owned()).expect("the ESP's files");
    Boot { kernel: "6.12".to_owned(), bios: Bios::new(&boot, core, 2048, 1 << 20).expect("a known GRUB"), esp: files }
}

fn pack(tree: &Path, out: &Path) -> anyhow::Result<Image> {
    let folder = tempfile::tempdir()?;
    Ok(write(base(tree, folder.path())?, &Edit::default(), tree, out)?.0)
}

/// The tree's file system, in `folder`.
fn base(tree: &Path, folder: &Path) -> anyhow::Result<Base> {
    let size = ext4::size_for(&stream::used(tree)?);
    Base::pack(tree, size, &layout().identity, EPOCH, folder, &Progress::quiet().stage("packing"))
}

fn write(base: Base, edit: &Edit, tree: &Path, out: &Path) -> anyhow::Result<(Image, Base)> {
    Writing::begin(base, &layout(), out)?.end(edit, &boot(tree), EPOCH, &Progress::quiet())
}

/// What is in a tree of no packages.
fn state(tree: &Root) -> State {
    let shelf = Shelf::new(Path::new("/nowhere"), Path::new("/nowhere"));
    State::of(tree, &Payloads::new(Vec::new(), shelf, Progress::quiet())).expect("looking at the tree")
}

/// Copies one partition out of an image into a file of its own.
fn partition(image: &Path, made: &Image, number: u32, to: &Path) {
    let part = made.table.partition(number);
    let (skip, count) = (part.start() >> 20, part.size() >> 20);
    let (from, to) = (format!("if={}", text(image)), format!("of={}", text(to)));
    says(
        "dd",
        &[&from, &to, "bs=1M", &format!("skip={skip}"), &format!("count={count}"), "conv=sparse", "status=none"],
    );
}

#[test]
fn two_images_of_equal_trees_are_the_same_to_the_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    tree(&one);
    let first = pack(&one, &folder.path().join("one.img")).expect("an image");
    // The other order of making, other inodes, other times of change.
    says("cp", &["-a", text(&one), text(&two)]);
    fs::rename(two.join("srv"), two.join("elsewhere")).expect("moving");
    says("cp", &["-a", text(&two.join("elsewhere")), text(&two.join("srv"))]);
    fs::remove_dir_all(two.join("elsewhere")).expect("removing");
    let second = pack(&two, &folder.path().join("two.img")).expect("an image");
    assert_eq!(first, second);
    says("cmp", &[text(&folder.path().join("one.img")), text(&folder.path().join("two.img"))]);

    fs::write(two.join("srv/capable"), "y").expect("writing");
    let third = pack(&two, &folder.path().join("two.img")).expect("an image");
    assert_ne!(first.tree_sha256, third.tree_sha256, "another tree, the same digest");
}

#[test]
fn an_image_satisfies_every_tool_that_reads_disks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, image) = (folder.path().join("tree"), folder.path().join("disk.img"));
    tree(&root);
    let made = pack(&root, &image).expect("an image");

    assert!(says("sgdisk", &["-v", text(&image)]).contains("No problems found"));
    assert!(says("sfdisk", &["--verify", text(&image)]).contains("No errors detected"));
    let dump = says("sfdisk", &["--dump", text(&image)]).to_lowercase();
    for part in &made.table.partitions {
        let line = format!("size={:>12}, type={}, uuid={}, name=\"{}\"", part.sectors, part.kind, part.guid, part.name);
        assert!(dump.contains(&line), "{line} is not in {dump}");
    }
    let (disk, on_disk) =
        (fs::metadata(&image).expect("the image").len(), fs::metadata(&image).expect("the image").blocks() * 512);
    assert!(disk == made.table.size && on_disk < disk / 2, "{on_disk} of {disk} bytes are on the disk");

    let volume = folder.path().join("esp");
    partition(&image, &made, 2, &volume);
    assert!(says("fsck.fat", &["-n", "-v", text(&volume)]).contains("32 bit entries"));
    assert_eq!(says("mtype", &["-i", text(&volume), "::/EFI/debian/grub.cfg"]), "# a configuration\n");
    says("mcopy", &["-i", text(&volume), "::/EFI/BOOT/grubx64.efi", text(&folder.path().join("grub"))]);
    says(
        "cmp",
        &[text(&folder.path().join("grub")), text(&root.join("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"))],
    );
}

#[test]
fn the_file_system_keeps_all_that_a_file_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, image, disk) = (folder.path().join("tree"), folder.path().join("disk.img"), folder.path().join("root"));
    tree(&root);
    let made = pack(&root, &image).expect("an image");
    partition(&image, &made, 3, &disk);
    says("e2fsck", &["-f", "-n", text(&disk)]);
    let asked = |question: &str| says("debugfs", &["-R", question, text(&disk)]);
    let shows = |question: &str, wanted: &[&str]| {
        let said = asked(question).split_whitespace().collect::<Vec<_>>().join(" ");
        wanted.iter().for_each(|wanted| assert!(said.contains(wanted), "{question}: no {wanted:?} in {said}"));
    };
    shows("stat /srv/plain", &["Mode: 04751", "User: 1000 Group: 1001", "Links: 2", "mtime: 0x6553f100"]);
    let inode = |path: &str| {
        asked(&format!("stat {path}")).lines().find(|l| l.starts_with("Inode:")).map(|l| l[..20].to_owned())
    };
    assert_eq!(inode("/srv/plain"), inode("/srv/again"));
    shows(
        "stat /srv/capable",
        &["security.capability", "= 01 00 00 02 00 20 00", "mtime: 0x5f5e1000", "ctime: 0x5f5e1000"],
    );
    shows(&format!("cat /srv/{}/deep", "n".repeat(200)), &["long"]);
    shows("cat /srv/Főtanúsítvány.crt", &["name"]);
    shows("stat /srv/untidy", &["Fast link dest: \"../a//b/./c/\""]);
    shows("cat /srv/far", &[&"t".repeat(300)]);
    shows("stat /srv/pipe", &["Type: FIFO"]);
    shows("stat /srv/null", &["Type: character special", "Device major/minor number: 01:03"]);
    shows("stat /tmp", &["Mode: 01777"]);
    shows("stat /", &["Mode: 0755", "User: 0 Group: 0"]);
    for gone in ["/run/lock", "/tmp/left", "/var/tmp/left", "/dev/shm"] {
        shows(&format!("stat {gone}"), &["File not found"]);
    }
    shows("features", &["metadata_csum", "resize_inode", "64bit"]);
}

#[test]
fn an_edited_file_system_holds_what_the_tree_became() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, kept) = (folder.path().join("tree"), folder.path().join("kept"));
    tree(&path);
    fs::remove_file(path.join("srv/null")).expect("removing the device");
    fs::create_dir_all(path.join("srv/going/deep")).expect("a folder");
    fs::write(path.join("srv/going/deep/file"), "old").expect("writing");
    fs::create_dir(&kept).expect("a folder");
    let fresh = base(&path, &kept).expect("a file system");
    let root = Root::open(&path).expect("opening the tree");
    let before = state(&root);

    fs::remove_dir_all(path.join("srv/going")).expect("removing");
    fs::write(path.join("srv/untidy.new"), "a file instead of a link").expect("writing");
    fs::rename(path.join("srv/untidy.new"), path.join("srv/untidy")).expect("renaming");
    fs::create_dir_all(path.join("etc/a new folder")).expect("a folder");
    let odd = path.join("etc/a new folder/with \"quotes\" and $signs");
    fs::write(&odd, "odd\n".repeat(5000)).expect("writing");
    chown(&odd, Some(70000), Some(80000)).expect("chown");
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o2750)).expect("chmod");
    fs::hard_link(&odd, path.join("etc/again")).expect("a hard link");
    xattr::set(&odd, "security.capability", &CAP_NET_RAW).expect("a capability");
    symlink("a new folder", path.join("etc/link")).expect("a link");
    fs::set_permissions(path.join("srv"), fs::Permissions::from_mode(0o711)).expect("chmod");
    let edit = Edit::between(&root, &before, &state(&root)).expect("an edit");

    let images = ["one.img", "two.img"].map(|name| folder.path().join(name));
    let (made, fresh) = write(fresh, &edit, &path, &images[0]).expect("an image");
    fresh.save().expect("keeping the file system");
    let known = || Base::open(kept.clone()).expect("the one that was kept");
    assert_eq!(write(known(), &edit, &path, &images[1]).expect("an image").0, made);
    says("cmp", &[text(&images[0]), text(&images[1])]);

    let disk = folder.path().join("root");
    partition(&images[0], &made, 3, &disk);
    says("e2fsck", &["-f", "-n", text(&disk)]);
    let shows = |question: &str, wanted: &[&str]| {
        let said = says("debugfs", &["-R", question, text(&disk)]).split_whitespace().collect::<Vec<_>>().join(" ");
        wanted.iter().for_each(|wanted| assert!(said.contains(wanted), "{question}: no {wanted:?} in {said}"));
    };
    let named = "stat \"/etc/a new folder/with \"\"quotes\"\" and $signs\"";
    shows(named, &["Mode: 02750", "User: 70000 Group: 80000", "Size: 20000", "Links: 2", "security.capability"]);
    shows(named, &["mtime: 0x6553f100:00000000", "crtime: 0x6553f100:00000000"]);
    shows("stat /etc/again", &["Links: 2"]);
    shows("stat /etc/link", &["Fast link dest: \"a new folder\""]);
    shows("stat /srv", &["Type: directory", "Mode: 0711", "mtime: 0x6553f100"]);
    shows("stat /srv/going", &["File not found"]);
    shows("cat /srv/untidy", &["a file instead of a link"]);

    let ext4 = fs::File::options().write(true).open(kept.join("ext4")).expect("the kept file system");
    std::os::unix::fs::FileExt::write_at(&ext4, b"flipped", 5 << 20).expect("writing");
    let said = format!("{:#}", write(known(), &edit, &path, &images[1]).err().expect("it is damaged"));
    assert!(said.contains("its bytes from 4194304 on have the SHA-256"), "{said}");
}

#[test]
fn an_image_that_cannot_be_made_leaves_nothing_and_the_old_one_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, out) = (folder.path().join("tree"), folder.path().join("out"));
    tree(&root);
    fs::create_dir(&out).expect("a folder");
    fs::write(out.join("disk.img"), "an older image").expect("writing");
    let stage = Progress::quiet().stage("packing");
    let small = Base::pack(&root, 1 << 20, &layout().identity, EPOCH, &out, &stage);
    let said = small.err().expect("too small");
    assert!(said.to_string().contains("the tree needs"), "{said}");
    let library = fs::read_dir(root.join("usr/lib/x86_64-linux-gnu")).expect("the libraries").flatten();
    library.filter(|e| e.file_name().to_string_lossy().starts_with("libarchive")).for_each(|e| {
        fs::remove_file(e.path()).expect("removing libarchive");
    });
    let said = format!("{:#}", pack(&root, &out.join("disk.img")).expect_err("no libarchive"));
    assert!(said.contains("the package libarchive13t64"), "{said}");
    let left: Vec<_> = fs::read_dir(&out).expect("the folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["disk.img"]);
    assert_eq!(fs::read_to_string(out.join("disk.img")).expect("the older image"), "an older image");
}

#[test]
fn the_links_point_at_the_newest_kernel_that_has_its_initramfs() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("tree");
    says("cp", &["-a", text(tools()), text(&root)]);
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/base/usr/lib/mimg/boot-links");
    fs::copy(overlay, root.join("boot-links")).expect("the script");
    let kernel = |version: &str, parts: &[&str]| {
        parts.iter().for_each(|part| fs::write(root.join(format!("boot/{part}-{version}")), version).expect("writing"));
    };
    let links = || {
        inside(&root, &["/bin/sh", "/boot-links"]).expect("the script");
        ["vmlinuz", "initrd.img", "vmlinuz.old", "initrd.img.old"].map(|link| fs::read_to_string(root.join(link)).ok())
    };
    let all = ["vmlinuz", "initrd.img"];
    let is = |new: Option<&str>, old: Option<&str>| [new, new, old, old].map(|v| v.map(str::to_owned));
    kernel("6.12.9", &all[..1]);
    assert_eq!(links(), is(None, None));
    kernel("6.12.9", &all);
    assert_eq!(links(), is(Some("6.12.9"), None));
    kernel("6.12.10", &all[..1]);
    assert_eq!(links(), is(Some("6.12.9"), None));
    kernel("6.12.10", &all);
    assert_eq!(links(), is(Some("6.12.10"), Some("6.12.9")));
    kernel("6.12.11", &all);
    assert_eq!(links(), is(Some("6.12.11"), Some("6.12.10")));
    fs::remove_file(root.join("boot/initrd.img-6.12.11")).expect("removing");
    fs::remove_file(root.join("boot/initrd.img-6.12.9")).expect("removing");
    assert_eq!(links(), is(Some("6.12.10"), None));
}
