//! Attacks on the builder by overlays, one to a line. Each is either refused, by the name of the overlay and of the path, or it
//! stays in the tree. In no case a byte outside of the tree changes.

use crate::ground::End::{self, Contained, Refused};
use crate::ground::{Ground, report};
use builder::tree::overlay::Overlay;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

type Files = fn(&Path, &Path) -> std::io::Result<()>;

/// Overlays: what is put into its folder, and into the tree before it is copied.
const OVERLAYS: &[(&str, End, Files)] = &[
    ("a link out by ..", Refused(&["etc/x", "leads out"]), |overlay, _| {
        fs::create_dir(overlay.join("etc"))?;
        symlink("../../beside/canary", overlay.join("etc/x"))
    }),
    ("a link that goes out and comes back", Refused(&["x", "leads out"]), |overlay, _| {
        symlink("../tree/x", overlay.join("x"))
    }),
    ("a link to a line of text", Refused(&["x", "leads out"]), |overlay, _| symlink("a\nb", overlay.join("x"))),
    ("a file through the tree's link out", Refused(&["copying out"]), |overlay, tree| {
        symlink("../beside", tree.join("out"))?;
        fs::create_dir(overlay.join("out"))?;
        fs::write(overlay.join("out/canary"), "x")
    }),
    ("a file over the tree's link out", Contained, |overlay, tree| {
        symlink("../beside/canary", tree.join("x"))?;
        fs::write(overlay.join("x"), "x")
    }),
    ("a folder over the tree's link out", Refused(&["copying x"]), |overlay, tree| {
        symlink("../../beside", tree.join("x"))?;
        fs::create_dir(overlay.join("x"))?;
        fs::set_permissions(overlay.join("x"), fs::Permissions::from_mode(0o777))
    }),
    ("a file where the tree has a folder", Refused(&["copying x of the overlay evil"]), |overlay, tree| {
        fs::create_dir(tree.join("x"))?;
        fs::write(overlay.join("x"), "x")
    }),
    ("a folder where the tree has a file", Refused(&["copying x", "of the overlay evil"]), |overlay, tree| {
        fs::write(tree.join("x"), "x")?;
        fs::create_dir(overlay.join("x"))?;
        fs::write(overlay.join("x/y"), "y")
    }),
    ("a package's file", Refused(&["/x", "a file of the package owner"]), |overlay, tree| {
        fs::write(tree.join("x"), "x")?;
        fs::write(tree.join("var/lib/dpkg/info/owner.list"), "/x\n")?;
        fs::write(overlay.join("x"), "y")
    }),
    ("a pipe", Refused(&["x, a device, pipe or socket"]), |overlay, _| {
        Ok(nix::unistd::mkfifo(&overlay.join("x"), nix::sys::stat::Mode::S_IRUSR)?)
    }),
    ("a socket", Refused(&["x, a device, pipe or socket"]), |overlay, _| {
        std::os::unix::net::UnixListener::bind(overlay.join("x")).map(drop)
    }),
    ("a name of two lines", Refused(&["a\\nb", "control character"]), |overlay, _| fs::write(overlay.join("a\nb"), "")),
    ("a name that is no text", Refused(&["is not UTF-8"]), |overlay, _| {
        fs::write(overlay.join(OsStr::from_bytes(b"\xff")), "")
    }),
    ("set-user-id", Refused(&["x, set-user-id"]), |overlay, _| with_mode(&overlay.join("x"), 0o4755)),
    ("set-group-id", Refused(&["x, set-user-id or set-group-id"]), |overlay, _| with_mode(&overlay.join("x"), 0o2755)),
    ("a file of a terabyte that is not there", Refused(&["x", "1099511627776 bytes"]), |overlay, _| {
        fs::File::create(overlay.join("x"))?.set_len(1 << 40)
    }),
];

fn with_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[test]
fn no_overlay_gets_out_of_the_tree() {
    let failed = OVERLAYS.iter().filter_map(|(name, end, files)| {
        let ground = Ground::new();
        let overlay = ground.folder.path().join("evil");
        files(&overlay, ground.root.path()).expect("laying out the attack");
        let came = ground.suffer(*end, &["overlay evil", "overlays/evil"], || {
            Overlay::from_folder("evil", &overlay)?.copy_into(&ground.root, 1, &[])
        });
        came.err().map(|error| format!("{name}: {error}"))
    });
    report(OVERLAYS.len(), failed.collect());
}
