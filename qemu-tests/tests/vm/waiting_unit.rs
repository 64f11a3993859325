//! Units that wait for firstboot, in every way that systemd has, do not hang the boot.

use crate::machine::{Bench, said, wait_for_ready};
use anyhow::{Result, ensure};
use builder::vm::Firmware;
use qemu_tests::case::case;
use std::ops::ControlFlow;
use std::time::Duration;

/// `ordered` is started by firstboot itself, and may only start once firstboot is active: the classic deadlock.
/// `ready` starts when the machine is ready. `early` is pulled in by the boot and requires the target before its time.
const ECCLES: &str = r#"
profiles = ["nuc"]

[[unit]]
name = "ordered.service"
text = """
[Unit]
After=firstboot.service
Requires=firstboot.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""

[[unit]]
name = "ready.service"
start = false
text = """
[Unit]
After=mimg-ready.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/test -e /run/mimg/ready
[Install]
WantedBy=mimg-ready.target
"""

[[unit]]
name = "early.service"
start = false
text = """
[Unit]
After=mimg-ready.target
Requires=mimg-ready.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""
"#;

#[test]
fn units_that_wait_for_firstboot_do_not_hang_the_boot() {
    case(1, || -> Result<()> {
        let bench = Bench::new("nuc")?;
        let mut vm = bench.start(Firmware::Bios, vec![bench.seed(ECCLES)?])?;
        wait_for_ready(&mut vm)?;
        vm.wait_for_boot(Duration::from_secs(180))?;
        ensure!(said(&mut vm, "systemctl is-active ordered.service")? == "active");
        vm.power_off()?;

        // From here on all three are part of the boot itself.
        let mut vm = bench.start(Firmware::Bios, Vec::new())?;
        vm.wait_for_boot(Duration::from_secs(180))?;
        wait_for_ready(&mut vm)?;
        for unit in ["ordered", "ready"] {
            vm.wait_for(&format!("{unit}.service"), Duration::from_secs(30), |vm| {
                let state = vm.shell(&format!("systemctl is-active {unit}.service"))?.out;
                Ok(if state.trim() == "active" { ControlFlow::Break(()) } else { ControlFlow::Continue(state) })
            })?;
        }
        let order = "systemctl show --property=ActiveEnterTimestampMonotonic --value";
        let ready: u64 = said(&mut vm, &format!("{order} ready.service"))?.parse()?;
        let target: u64 = said(&mut vm, &format!("{order} mimg-ready.target"))?.parse()?;
        ensure!(ready >= target, "ready.service ran before mimg-ready.target");
        vm.power_off()
    });
}
