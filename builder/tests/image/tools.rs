//! A small tree of real Debian 13 packages, unpacked and not configured: enough to make file systems and boot loaders
//! with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PACKAGES: &str = "base-files,coreutils,dash,e2fsprogs,grub-efi-amd64-signed,grub-pc-bin,libarchive13t64,linux-base,perl-base,shim-signed";

/// Runs a command that must end well, and gives what it said on both channels.
pub fn says(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let out = out.unwrap_or_else(|e| panic!("starting {program}: {e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{program} {arguments:?} ended with {}: {said}", out.status);
    said
}

/// What `run` is for the code under test: a command inside of `tree`.
pub fn inside(tree: &Path, command: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut chroot = Command::new("chroot");
    let out =
        chroot.arg(tree).args(command).env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin").output()?;
    anyhow::ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

/// The tree, made once in a run of the tests. It is shared: copy it before changing it.
pub fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        assert_eq!(says("id", &["-u"]).trim(), "0", "these tests make files of other owners: run them as root");
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trixie-tools");
        if tree.exists() {
            std::fs::remove_dir_all(&tree).expect("removing what an earlier run left");
        }
        let mirror = mirror();
        let include = format!("--include={PACKAGES}");
        let kept =
            ["--variant=extract", "--mode=root", "--keyring=/usr/share/keyrings", "--format=directory", &include];
        let place = [&kept[..], &["trixie", tree.to_str().expect("a path of UTF-8"), &mirror]].concat();
        says("mmdebstrap", &place);
        tree
    })
}

/// The mirror that this host uses itself.
fn mirror() -> String {
    let said = says("apt-get", &["indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]);
    let mirror = said.lines().find(|line| !line.contains("security"));
    mirror.expect("a Debian mirror in the host's apt configuration, after apt-get update").to_owned()
}
