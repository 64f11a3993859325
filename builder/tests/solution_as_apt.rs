//! The solution equals apt's own, on the real archive through the host's mirror.

use builder::archive::Archive;
use builder::archive::cache::Cache;
use builder::archive::fetch::fetch;
use builder::archive::mirror::Mirror;
use builder::archive::package::{Package, Why};
use builder::archive::solve::Wanted;
use builder::archive::source::Source;
use builder::archive::universe::Universe;
use builder::progress::Progress;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMPONENTS: [&str; 3] = ["main", "contrib", "non-free-firmware"];

/// What machines of different kinds ask for; the first is the set that builders are compared by.
const LISTS: &[&str] = &[
    "systemd systemd-sysv systemd-resolved dbus udev openssh-server lvm2 mdadm drbd-utils wireguard-tools postgresql-17 \
     nginx-light nftables chrony parted gdisk e2fsprogs xfsprogs dosfstools ca-certificates curl jq rsync less vim-tiny \
     ethtool pciutils usbutils smartmontools prometheus-node-exporter firmware-misc-nonfree intel-microcode docker.io \
     linux-image-amd64 initramfs-tools zstd grub-pc-bin grub-efi-amd64-bin apt",
    "",
    "systemd-sysv docker.io docker-compose containerd",
    "postgresql-17 postgresql-17-repack pgbouncer",
    "pacemaker corosync corosync-qdevice crmsh pcs fence-agents resource-agents",
    "nginx php-fpm mariadb-server redis-server",
    "libvirt-daemon-system qemu-system-x86 virtinst",
    "zfsutils-linux zfs-dkms zfs-zed linux-headers-amd64",
    "prometheus prometheus-alertmanager grub-efi-amd64-signed shim-signed",
    "opensmtpd rspamd dovecot-imapd",
    "postfix bind9 unbound haproxy keepalived",
    "network-manager wpasupplicant bluez avahi-daemon",
    "gnome-shell firefox-esr cups",
    "openjdk-21-jre-headless tomcat10 maven",
    "python3-django gunicorn git build-essential",
    "samba winbind krb5-user sssd freeipa-client",
    "nfs-kernel-server ceph-common glusterfs-server drbd-utils",
    "lighttpd exim4 mutt sudo cron logrotate rsyslog locales",
];

fn archive() -> Option<Archive> {
    let mirror = match Mirror::of_host() {
        Ok(mirror) => mirror,
        Err(error) => {
            eprintln!("skipped: {error:#}");
            return None;
        }
    };
    let cache = Cache::open(&tmp("cache")).unwrap();
    let sources = Source::debian(&mirror, &COMPONENTS.map(str::to_owned)).unwrap();
    Some(Archive::open(&sources, &cache, &Progress::to_stderr(), jiff::Timestamp::now()).unwrap())
}

fn tmp(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn solve(archive: &Archive, universe: &Universe, list: &str) -> Vec<Package> {
    let wanted: Vec<Wanted> =
        list.split_whitespace().map(|name| Wanted { name: name.to_owned(), by: "the test".to_owned() }).collect();
    archive.solve_in(universe, &wanted).unwrap()
}

/// apt in a folder of its own: nothing is installed, and the sources are ours.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new() -> Option<Self> {
        if Command::new("apt-get").arg("--version").output().is_err() {
            eprintln!("skipped: there is no apt-get on this machine");
            return None;
        }
        let apt = Apt { folder: tmp("apt") };
        for folder in ["etc/apt/apt.conf.d", "etc/apt/preferences.d", "state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(apt.folder.join(folder)).unwrap();
        }
        std::fs::write(apt.folder.join("status"), "").unwrap();
        let mirror = Mirror::of_host().unwrap();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys");
        let keys: Vec<String> = ["automatic", "security-automatic", "stable"]
            .iter()
            .map(|name| keys.join(format!("debian-archive-trixie-{name}.asc")).display().to_string())
            .collect();
        let line = |uri: &str, suite: &str| {
            format!("deb [signed-by={}] {uri} {suite} {}\n", keys.join(","), COMPONENTS.join(" "))
        };
        let (archive, security) = (&mirror.archive[0], &mirror.security[0]);
        let list = [line(archive, "trixie"), line(archive, "trixie-updates"), line(security, "trixie-security")];
        std::fs::write(apt.folder.join("sources.list"), list.concat()).unwrap();
        apt.run(&["update", "-q"]);
        Some(apt)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let output = Command::new("apt-get")
            .arg(format!("-oDir::Etc::SourceList={}", at("sources.list")))
            .arg("-oDir::Etc::SourceParts=/dev/null")
            .arg("-oDir::Etc::Preferences=/dev/null")
            .arg(format!("-oDir::Etc::PreferencesParts={}", at("etc/apt/preferences.d")))
            .arg(format!("-oDir::State={}", at("state")))
            .arg(format!("-oDir::State::status={}", at("status")))
            .arg(format!("-oDir::Cache={}", at("cache")))
            .args(["-oAPT::Sandbox::User=root", "-oAPT::Architecture=amd64", "-oAPT::Architectures::=amd64"])
            .args(["-oAcquire::Languages=none", "-oAPT::Get::AutomaticRemove=false"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "apt-get {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `name version` of all that apt would install.
    fn solve(&self, names: &[&str]) -> BTreeSet<String> {
        let mut arguments = vec!["install", "-s", "-q", "--no-install-recommends"];
        arguments.extend(names);
        self.run(&arguments).lines().filter_map(installed).collect()
    }
}

/// `Inst name (version …` as `name version`.
fn installed(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    Some(format!("{name} {}", rest.split_whitespace().next()?))
}

#[test]
fn every_solution_is_the_one_of_apt() {
    let Some(archive) = archive() else { return };
    let Some(apt) = Apt::new() else { return };
    let universe = archive.universe().unwrap();
    let essential: Vec<String> = solve(&archive, &universe, "")
        .into_iter()
        .filter(|package| package.why == Why::Essential)
        .map(|p| p.name)
        .collect();
    let mut wrong = Vec::new();
    for list in LISTS {
        let ours: BTreeSet<String> = solve(&archive, &universe, list).iter().map(Package::to_string).collect();
        let names: Vec<&str> = essential.iter().map(String::as_str).chain(list.split_whitespace()).collect();
        let theirs = apt.solve(&names);
        eprintln!("{} packages here, {} by apt: {list}", ours.len(), theirs.len());
        if ours != theirs {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            wrong.push(format!("{list}\n  ours: {:?}\n  apt's: {:?}", only(&ours, &theirs), only(&theirs, &ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn packages_of_the_real_archive_arrive_verified() {
    let Some(archive) = archive() else { return };
    let mut packages = archive.solve(&[]).unwrap();
    packages.sort_by_key(|package| package.size);
    packages.truncate(5);
    let cache = Cache::open(&tmp("cache")).unwrap();
    let paths = fetch(&packages, &cache, &Progress::to_stderr()).unwrap();
    for (path, package) in paths.iter().zip(&packages) {
        assert_eq!(std::fs::metadata(path).unwrap().len(), package.size, "{package}");
        assert!(std::fs::read(path).unwrap().starts_with(b"!<arch>\ndebian-binary"), "{package} is a .deb");
    }
    assert!(archive.epoch() > 1_754_000_000, "Debian 13 was published in August 2025: {}", archive.epoch());
}
