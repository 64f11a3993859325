//! Secure Boot: Debian's signed shim, GRUB and kernel, with nothing of ours between them.

use crate::machine::{Bench, said, wait_for_report};
use anyhow::{Result, ensure};
use builder::vm::Firmware;
use qemu_tests::case::case;
use std::time::Duration;

#[test]
fn an_image_boots_with_secure_boot_on() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let mut vm = bench.start(Firmware::SecureBoot, Vec::new())?;
        vm.wait_for_boot(Duration::from_secs(180))?;
        wait_for_report(&mut vm, "a report", |report| report.code() == 4)?;
        // The variable's last byte, after four bytes of attributes.
        let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let on = said(&mut vm, &format!("od -An -tu1 -j4 {variable}"))?;
        ensure!(on == "1", "SecureBoot is {on}");
        let kernel = said(&mut vm, "journalctl -b -k --no-pager | grep -i 'secure boot'")?;
        ensure!(kernel.contains("Secure boot enabled"), "{kernel}");
        vm.power_off()
    });
}
