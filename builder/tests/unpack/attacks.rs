//! Attacks on the builder by packages, one to a line. Each is either refused, by the name of the package and of the path, or it
//! stays in the tree. In no case a byte outside of the tree changes.

use crate::ground::End::{self, Contained, Refused};
use crate::ground::{Ground, report};
use crate::made::Made;
use crate::raw::{ar, base256, entry, long, pax};
use std::fs;
use std::path::Path;
use tar::EntryType;

/// Packages, one after the other; the path is that of a folder beside the tree with a file `canary`.
type Packages = fn(&Path) -> Vec<Package>;

enum Package {
    Made(Made),
    /// The bytes of a whole package.
    Bytes(Vec<u8>),
}

fn one(made: Made) -> Vec<Package> {
    vec![Package::Made(made)]
}

fn evil() -> Made {
    Made::new("evil", "")
}

/// `evil` with these bytes in its data.tar.
fn raw(bytes: impl AsRef<[u8]>) -> Vec<Package> {
    one(evil().raw(bytes.as_ref()))
}

/// The path of the canary from the root of the tree, as if the tree were the host's root.
fn absolute(beside: &Path) -> String {
    format!("{}/canary", beside.display())
}

const PACKAGES: &[(&str, End, Packages)] = &[
    // Names that lead out.
    ("a name with ..", Refused(&["../beside/x", "`..`"]), |_| one(evil().file("./../beside/x", "x"))),
    ("a name that comes back by ..", Refused(&["a/../../beside/x"]), |_| one(evil().file("./a/../../beside/x", "x"))),
    ("an absolute name", Refused(&["is absolute"]), |_| one(evil().file("/canary", "x"))),
    ("an absolute long name", Refused(&["canary", "is absolute"]), |at| {
        raw([long(b'L', &absolute(at)), entry("x").with(b"x")].concat())
    }),
    ("a PAX path with ..", Refused(&["../beside/x", "`..`"]), |_| {
        raw([pax(&[("path", "./../beside/x")]), entry("x").with(b"x")].concat())
    }),
    ("a PAX target of a hard link with ..", Refused(&["../beside/canary", "`..`"]), |_| {
        raw([pax(&[("linkpath", "../beside/canary")]), entry("./x").kind(b'1').link("./y").head()].concat())
    }),
    ("a hard link out by ..", Refused(&["../beside/canary", "`..`"]), |_| {
        one(evil().entry("./x", EntryType::Link, "../beside/canary", b""))
    }),
    ("a hard link to an absolute path", Refused(&["is absolute"]), |_| {
        one(evil().entry("./x", EntryType::Link, "/etc/passwd", b""))
    }),
    // Links that lead out.
    ("a link out, and a file through it", Contained, |_| {
        one(evil().link("./out", "../beside").file("./out/canary", "x"))
    }),
    ("an absolute link out, and a file through it", Contained, |at| {
        let link = [long(b'K', &at.display().to_string()), entry("./out").kind(b'2').link("x").head()].concat();
        one(evil().raw(&link).file("./out/canary", "x"))
    }),
    ("a link out by one package, a file through it by another", Refused(&["making the directory out"]), |_| {
        let through = Made::new("through", "").file("./out/canary", "x");
        vec![Package::Made(evil().link("./out", "../../../beside")), Package::Made(through)]
    }),
    ("a link out, and a folder of that name", Contained, |_| {
        one(evil().link("./out", "../beside").dir_with("./out/", 0o777))
    }),
    ("a link out, and a hard link through it", Refused(&["making x", "out/canary"]), |_| {
        one(evil().link("./out", "../beside").entry("./x", EntryType::Link, "./out/canary", b""))
    }),
    ("a hard link to a link out", Contained, |_| {
        one(evil().link("./out", "../beside/canary").entry("./x", EntryType::Link, "./out", b""))
    }),
    ("a link to /proc/self/cwd, and a file through it", Contained, |_| {
        one(evil().link("./out", "/proc/self/cwd").file("./out/x", "x"))
    }),
    ("a file through a file", Refused(&["evil", "x"]), |_| one(evil().file("./x", "x").file("./x/y", "y"))),
    ("a file where a folder is", Refused(&["x is in the archive twice"]), |_| {
        one(evil().dir("./x/").file("./x/y", "y").file("./x", "x"))
    }),
    ("a hard link to nothing", Refused(&["making x", "nothing"]), |_| {
        one(evil().entry("./x", EntryType::Link, "./nothing", b""))
    }),
    ("the root as a link", Refused(&["the root itself"]), |_| raw(entry("./").kind(b'2').link("../beside").head())),
    // What is no file.
    ("a disk", Refused(&["x is of type Block"]), |_| one(evil().entry("./x", EntryType::Block, "", b""))),
    ("a terminal", Refused(&["x is of type Char"]), |_| one(evil().entry("./x", EntryType::Char, "", b""))),
    ("a pipe", Refused(&["x is of type Fifo"]), |_| one(evil().entry("./x", EntryType::Fifo, "", b""))),
    ("a sparse file", Refused(&["data.tar"]), |_| raw(entry("./x").kind(b'S').head())),
    ("a type that nobody knows", Refused(&["x is of type"]), |_| raw(entry("./x").kind(b'Z').head())),
    // Odd names.
    ("a name of two lines", Refused(&["a\\nb", "control character"]), |_| one(evil().file("./a\nb", "x"))),
    ("a name that speaks to the terminal", Refused(&["\\u{1b}", "control character"]), |_| {
        one(evil().file("./\x1b[2J", ""))
    }),
    ("a name that is no text", Refused(&["is not UTF-8"]), |_| raw(entry("").name(b"./\xff\xfe").head())),
    ("a name of 300 bytes", Refused(&["nnn", "over 255 bytes"]), |_| {
        raw([long(b'L', &format!("./{}", "n".repeat(300))), entry("x").head()].concat())
    }),
    ("a name of a megabyte", Refused(&["longer than 4000 bytes"]), |_| {
        raw([long(b'L', &"n/".repeat(500_000)), entry("x").head()].concat())
    }),
    ("a name of a megabyte that leads out", Refused(&["n/", "(1000005 bytes) holds `..`"]), |_| {
        raw([long(b'L', &format!("../{}xx", "n/".repeat(500_000))), entry("x").head()].concat())
    }),
    ("a field of a megabyte", Refused(&["control's Architecture is", "(1000000 bytes)"]), |_| {
        one(Made::new("evil", "")
            .member("control", &format!("Package: evil\nVersion: 1\nArchitecture: {}\n", "/".repeat(1_000_000))))
    }),
    ("a trigger of a megabyte", Refused(&["names the trigger", "(1000000 bytes)"]), |_| {
        one(evil().member("triggers", &format!("interest {}\n", "x/".repeat(500_000))))
    }),
    ("a target of a megabyte", Refused(&["making x"]), |_| {
        raw([long(b'K', &"n/".repeat(500_000)), entry("./x").kind(b'2').link("y").head()].concat())
    }),
    ("a long name that never ends", Refused(&["data.tar"]), |_| {
        raw([entry("././@LongLink").kind(b'L').size(b"77777777777").head(), vec![b'n'; 4096]].concat())
    }),
    ("the same name twice", Refused(&["x is in the archive twice"]), |_| one(evil().file("./x", "1").file("./x", "2"))),
    // Numbers that lie.
    ("a size beyond the end", Refused(&["data.tar from ./x on"]), |_| raw(entry("./x").size(b"00077777777").head())),
    ("a size of 8 EiB", Refused(&["data.tar from ./x on"]), |_| raw(entry("./x").size(&base256(1 << 63)).head())),
    ("a size that wraps around", Refused(&["data.tar"]), |_| {
        raw([entry("./x").size(&base256(u64::MAX)).head(), entry("./y").head()].concat())
    }),
    ("a size that is no number", Refused(&["data.tar"]), |_| raw(entry("./x").size(b"huge").head())),
    ("a PAX size that lies", Refused(&["data.tar from ./x on"]), |_| {
        raw([pax(&[("size", "99999999")]), entry("./x").with(b"x")].concat())
    }),
    ("PAX records that are none", Contained, |_| {
        raw([entry("./pax").kind(b'x').with(b"99999 no record\n=\n-1 x=y\n"), entry("./x").with(b"x")].concat())
    }),
    ("an owner beyond all numbers", Refused(&["reading x"]), |_| raw(entry("./x").uid(&base256(u64::MAX)[4..]).head())),
    ("a date beyond all calendars", Refused(&["x"]), |_| raw(entry("./x").mtime(&base256(u64::MAX)).head())),
    ("a wrong checksum", Refused(&["data.tar"]), |_| {
        let mut head = entry("./x").head();
        head[0] ^= 1;
        raw(head)
    }),
    // Bombs.
    ("a bomb of xz", Refused(&["decompression bomb"]), |_| one(bomb().compressed(".xz"))),
    ("a bomb of zstd", Refused(&["decompression bomb"]), |_| one(bomb().compressed(".zst"))),
    ("a bomb for a control member", Refused(&["preinst", "decompression bomb"]), |_| {
        one(evil().member("preinst", &"\0".repeat(65 << 20)).compressed(".xz"))
    }),
    ("xz that wants 4 GiB of memory", Refused(&["control.tar"]), |_| packed(".xz", &greedy_xz())),
    ("zstd that wants 2 TiB of memory", Refused(&["control.tar"]), |_| {
        packed(".zst", b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00")
    }),
    // Control members.
    ("a status of its own", Refused(&["the field Status"]), |_| {
        one(Made::new("evil", "Status: install ok installed\n"))
    }),
    ("a status of its own, in other letters", Refused(&["the field Status"]), |_| {
        one(Made::new("evil", "sTATUS: install ok installed\n"))
    }),
    ("a second paragraph", Refused(&["more than one paragraph"]), |_| {
        one(Made::new("evil", "X: y\n\nPackage: other\nStatus: install ok installed\n"))
    }),
    ("a name that is a path", Refused(&["\"../evil\""]), |_| one(Made::new("../evil", ""))),
    ("a second version", Refused(&["the field \"Version\" twice"]), |_| one(Made::new("evil", "Version: ../../1\n"))),
    ("a member in a folder", Refused(&["no name of a member"]), |_| one(evil().member("sub/x", ""))),
    ("a conffile with ..", Refused(&["etc/../../beside/canary", "`..`"]), |_| {
        one(evil().member("conffiles", "/etc/../../beside/canary\n"))
    }),
    ("a trigger that is a path", Refused(&["../../beside/x"]), |_| {
        one(evil().member("triggers", "interest ../../beside/x\n"))
    }),
    ("a trigger that is ..", Refused(&["trigger \"..\""]), |_| one(evil().member("triggers", "interest ..\n"))),
    // The frame.
    ("no ar", Refused(&["package0.deb"]), |_| vec![Package::Bytes(b"PK\x03\x04 a zip".to_vec())]),
    ("members in another order", Refused(&["stands where debian-binary was wanted"]), |_| {
        vec![Package::Bytes(ar(&[("control.tar", b"", 0), ("debian-binary", b"2.0\n", 4), ("data.tar", b"", 0)]))]
    }),
    ("a member of ten gigabytes that are not there", Refused(&["control"]), |_| {
        vec![Package::Bytes(ar(&[("debian-binary", b"2.0\n", 4), ("control.tar", b"", 9_999_999_999)]))]
    }),
    ("a compression of its own", Refused(&["control.tar.evil is compressed in a way that is not known"]), |_| {
        packed(".evil", b"")
    }),
];

/// A package whose control.tar has these bytes, under this ending.
fn packed(ending: &str, content: &[u8]) -> Vec<Package> {
    let name = format!("control.tar{ending}");
    let members = [("debian-binary", &b"2.0\n"[..], 4), (&name, content, content.len()), ("data.tar", b"", 0)];
    vec![Package::Bytes(ar(&members))]
}

fn bomb() -> Made {
    let zeros = vec![0; 1 << 20];
    (0..80).fold(evil(), |made, at| made.entry(&format!("./{at}"), EntryType::Regular, "", &zeros))
}

/// A block of xz that says it needs the largest dictionary there is.
fn greedy_xz() -> Vec<u8> {
    let mut packed = liblzma::encode_all(&b"a tar"[..], 0).expect("compressing in memory");
    // Behind the stream's header: size, flags, filter, size of its properties, dictionary; then a checksum.
    let length = (usize::from(packed[12]) + 1) * 4;
    packed[16] = 40;
    let mut sum = flate2::Crc::new();
    sum.update(&packed[12..12 + length - 4]);
    packed[12 + length - 4..12 + length].copy_from_slice(&sum.sum().to_le_bytes());
    packed
}

#[test]
fn no_package_gets_out_of_the_tree() {
    let failed = PACKAGES.iter().filter_map(|(name, end, packages)| {
        let ground = Ground::new();
        let packages = packages(&ground.folder.path().join("beside"));
        let count = packages.len();
        for (at, package) in packages.into_iter().enumerate() {
            let name = format!("package{at}");
            match package {
                Package::Made(made) => drop(made.write(ground.folder.path(), &name)),
                Package::Bytes(bytes) => {
                    fs::write(ground.folder.path().join(name + ".deb"), bytes).expect("writing a package");
                }
            }
        }
        let came = ground.suffer(*end, &["package0.deb", "package1.deb", "unpacking evil"], || ground.unpack(count));
        came.err().map(|error| format!("{name}: {error}"))
    });
    report(PACKAGES.len(), failed.collect());
}
