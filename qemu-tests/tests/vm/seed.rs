//! A seed makes a waiting machine a node, once and for all; a finished node is left alone.

use crate::machine::{Bench, root_size, said, wait_for_ready};
use anyhow::{Context, Result, ensure};
use builder::vm::{Firmware, Running};
use profiles::report::Report;
use qemu_tests::case::case;
use std::time::Duration;

const ECCLES: &str = r#"
profiles = ["nuc"]
timezone = "Europe/Berlin"

[swap]
size = "256M"

[journald]
system-max-use = "64M"

[[user]]
name = "ana"
sudo = true
ssh-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6Lk0000000000000000000000000000000000000 ana@example.org"]
"#;

/// What firstboot keeps, with the times of its last writes: nothing of it changes on a finished machine.
const KEPT: &str = "stat --format='%n %Y %s' /var/lib/mimg/* && sha256sum /var/lib/mimg/*";

#[test]
fn a_seed_makes_a_node_that_stays_one_without_it_and_is_not_written_to_again() {
    case(1, || {
        let bench = Bench::new("nuc")?;
        let mut vm = bench.start(Firmware::Bios, vec![bench.seed(ECCLES)?])?;
        let report = wait_for_ready(&mut vm)?;
        ensure!(report.node.as_deref() == Some("eccles"));
        vm.wait_for_boot(Duration::from_secs(180))?;
        is_eccles(&mut vm)?;
        nothing_is_left_to_do(&mut vm)?;
        let key = said(&mut vm, "cat /etc/ssh/ssh_host_ed25519_key.pub")?;
        let kept = said(&mut vm, KEPT)?;
        vm.power_off()?;

        let mut vm = bench.start(Firmware::Uefi, Vec::new())?;
        let report = wait_for_ready(&mut vm)?;
        ensure!(report.done.is_empty(), "a second boot did {:?}", report.done);
        ensure!(report.source == "/var/lib/mimg/spec.json", "{}", report.source);
        is_eccles(&mut vm)?;
        ensure!(said(&mut vm, "cat /etc/ssh/ssh_host_ed25519_key.pub")? == key, "the host key changed");
        let again = said(&mut vm, KEPT)?;
        ensure!(again == kept, "a second boot wrote to /var/lib/mimg:\n{kept}\n{again}");
        vm.power_off()
    });
}

fn is_eccles(vm: &mut Running) -> Result<()> {
    let facts = [
        ("uname -n", "eccles"),
        ("readlink /etc/localtime", "../usr/share/zoneinfo/Europe/Berlin"),
        ("id -nG ana", "ana"),
        ("sudo -l -U ana | grep -c NOPASSWD", "1"),
        ("passwd --status ana | cut -d' ' -f2", "L"),
        ("cut -d' ' -f3 /etc/ssh/authorized_keys.d/ana", "ana@example.org"),
        ("sshd -T | grep ^passwordauthentication", "passwordauthentication no"),
        ("systemctl is-active ssh.service", "active"),
        ("swapon --show=NAME,SIZE --bytes --noheadings --raw", "/swapfile 268431360"),
        ("systemd-analyze cat-config systemd/journald.conf | grep ^SystemMaxUse", "SystemMaxUse=64M"),
    ];
    for (command, wanted) in facts {
        let found = said(vm, command)?;
        ensure!(found == wanted, "{command}: {found}, wanted {wanted}");
    }
    ensure!(root_size(vm)? == 8 << 30);
    let filesystem: u64 = said(vm, "df --block-size=1 --output=size / | tail -n 1")?.trim().parse()?;
    ensure!(filesystem > 7 << 30, "the file system has {filesystem} bytes");
    Ok(())
}

/// Three more runs by hand: no act, no write, and the same words from all commands.
fn nothing_is_left_to_do(vm: &mut Running) -> Result<()> {
    let before = said(vm, KEPT)?;
    for _ in 0..3 {
        let applied = said(vm, "firstboot apply --json")?;
        let report: Report = serde_json::from_str(&applied).with_context(|| applied.clone())?;
        ensure!(report.ready && report.done.is_empty(), "{report}\n{:?}", report.done);
    }
    ensure!(said(vm, KEPT)? == before, "running again wrote to /var/lib/mimg");
    let plan = said(vm, "firstboot plan")?;
    ensure!(plan.lines().filter(|line| line.starts_with("to do")).count() == 0, "{plan}");
    let facts = said(vm, "firstboot facts --json")?;
    serde_json::from_str::<profiles::facts::Facts>(&facts).context("reading what `firstboot facts` says")?;
    ensure!(said(vm, "su nobody -s /bin/sh -c 'firstboot status'")?.contains("eccles (profile nuc): ready"));
    Ok(())
}
