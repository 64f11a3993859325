//! Every profile of the catalog boots under BIOS and UEFI, says that it waits for its seed, and has nothing else to do.

use crate::machine::{Bench, DISK, open, root_size, said, wait_for_report};
use anyhow::{Result, ensure};
use builder::vm::{Firmware, Running};
use qemu_tests::case::case;
use std::time::Duration;

/// Boots a bare profile image; its root is to have grown to `root` bytes. Without that it is one that may have to be
/// installed elsewhere: as long as nobody says which machine it is, all of it waits.
fn boots(profile: &str, firmware: Firmware, root: Option<u64>, then: impl FnOnce(&mut Running) -> Result<()>) {
    case(1, || {
        let bench = Bench::new(profile)?;
        let before = std::fs::metadata(&bench.image)?.modified()?;
        let mut vm = bench.start(firmware, Vec::new())?;
        vm.wait_for_boot(Duration::from_secs(180))?;
        let only_the_node = |report: &profiles::report::Report| root.is_none() || open(report).len() == 1;
        let report = wait_for_report(&mut vm, "a machine that waits for its seed alone", only_the_node)?;
        let waits = &open(&report)[0];
        ensure!(waits.contains(&format!("this image is profile {profile} and no node yet")), "{waits}");
        ensure!((report.code(), report.node) == (4, None));
        match (root, root_size(&mut vm)?) {
            (Some(root), size) => ensure!(size == root, "the root partition has {size} bytes, wanted {root}"),
            (None, size) => ensure!(report.done.is_empty() && size < SLOT, "it did {:?}", report.done),
        }
        let failed = said(&mut vm, "systemctl --failed --no-legend --plain")?;
        ensure!(failed.is_empty(), "failed units: {failed}");
        let console = vm.console();
        ensure!(console.contains("MIMG-SEED"), "the console does not say what the machine waits for");
        then(&mut vm)?;
        vm.power_off()?;
        ensure!(std::fs::metadata(&bench.image)?.modified()? == before, "the image itself was written to");
        Ok(())
    });
}

const SLOT: u64 = 8 << 30;
/// The disk without the 258 MiB before the root partition and the last MiB.
const REST: u64 = DISK - (259 << 20);

fn nothing_more(_: &mut Running) -> Result<()> {
    Ok(())
}

#[test]
fn nuc_boots_under_bios() {
    boots("nuc", Firmware::Bios, None, debians_automatics_are_off);
}

#[test]
fn nuc_boots_under_uefi() {
    boots("nuc", Firmware::Uefi, None, nothing_more);
}

#[test]
fn r720_boots_under_bios() {
    boots("r720", Firmware::Bios, Some(SLOT), nothing_more);
}

#[test]
fn r720_boots_under_uefi() {
    boots("r720", Firmware::Uefi, Some(SLOT), debians_automatics_are_off);
}

#[test]
fn droplet_boots_under_bios() {
    boots("droplet", Firmware::Bios, Some(REST), packages_are_as_dpkg_says);
}

#[test]
fn droplet_boots_under_uefi() {
    boots("droplet", Firmware::Uefi, Some(REST), nobody_can_log_in);
}

/// dpkg's own checks, on the running machine: what differs from the packages is what mimg put there.
fn packages_are_as_dpkg_says(vm: &mut Running) -> Result<()> {
    ensure!(said(vm, "dpkg --audit")?.is_empty());
    said(vm, "apt-get check")?;
    let changed = said(vm, "dpkg -V || true")?;
    let ours = |line: &&str| !line.ends_with("/etc/lvm/lvmlocal.conf");
    let others: Vec<&str> = changed.lines().filter(ours).collect();
    ensure!(others.is_empty(), "dpkg -V: {others:?}");
    Ok(())
}

/// No password is set, and no key is let in: an image of the catalog takes a seed only.
fn nobody_can_log_in(vm: &mut Running) -> Result<()> {
    let passwords = said(vm, "cut -d: -f2 /etc/shadow | sort -u")?;
    ensure!(passwords.lines().all(|hash| hash.starts_with(['*', '!'])), "/etc/shadow: {passwords}");
    let keys =
        said(vm, "ls /root/.ssh/authorized_keys /etc/ssh/authorized_keys.d/* /etc/ssh/ssh_host_* 2>/dev/null | wc -l")?;
    ensure!(keys == "0", "{keys} files with keys");
    Ok(())
}

/// What would touch a disk that nobody named, or listen before anybody asked.
fn debians_automatics_are_off(vm: &mut Running) -> Result<()> {
    for unit in ["drbd.service", "nftables.service"] {
        let state = said(vm, &format!("systemctl is-enabled {unit} 2>/dev/null || true"))?;
        ensure!(state != "enabled", "{unit} is enabled");
    }
    if vm.shell("test -e /etc/mdadm/mdadm.conf")?.rc == 0 {
        said(vm, "grep -qx 'AUTO -all' /etc/mdadm/mdadm.conf")?;
    }
    if vm.shell("command -v lvmconfig")?.rc == 0 {
        let activation = said(vm, "lvmconfig global/event_activation activation/auto_activation_volume_list")?;
        ensure!(
            activation == "event_activation=0\nauto_activation_volume_list=[]",
            "LVM activates by itself: {activation}"
        );
    }
    ensure!(said(vm, "cat /proc/cmdline")?.contains("systemd.gpt_auto=0"));
    Ok(())
}
