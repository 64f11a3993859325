//! A Spec that this image cannot be: nothing is done, and a person at the console reads why, and where to read more.

use crate::machine::{Bench, root_size, said, wait_for_report};
use anyhow::{Result, ensure};
use builder::vm::Firmware;
use qemu_tests::case::case;
use std::time::Duration;

#[test]
fn a_refused_spec_shows_its_reason_on_the_console_and_does_nothing() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let image = std::fs::metadata(&bench.image)?.len();
        let mut vm = bench.start(Firmware::Bios, vec![bench.seed("profiles = [\"nuc\"]\npackages = [\"htop\"]\n")?])?;
        vm.wait_for_console("REFUSED packages: saw an image without htop (for node eccles)", Duration::from_secs(180))?;
        vm.wait_for_console("mimg build --node eccles", Duration::from_secs(30))?;
        vm.wait_for_console("login:", Duration::from_secs(60))?;
        let report = wait_for_report(&mut vm, "a report of the refusal", |report| report.plan.refused())?;
        ensure!(report.code() == 3 && report.done.is_empty(), "{report}");
        ensure!(root_size(&mut vm)? < image, "the root partition grew, although the plan was refused");
        ensure!(said(&mut vm, "uname -n")? != "eccles");
        let status = vm.shell("firstboot status")?;
        ensure!(status.rc == 3 && status.out.contains("REFUSED packages"), "{} {}", status.rc, status.out);
        ensure!(said(&mut vm, "cat /run/issue.d/50-mimg.issue")?.contains("firstboot status"));
        vm.power_off()
    });
}
