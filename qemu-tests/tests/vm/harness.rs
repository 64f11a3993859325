//! The machines themselves, tried with guests of one boot sector.

use anyhow::Result;
use builder::vm::{Accelerator, Disk, Firmware, Format, Interface, Link, Running, Segment, Vm, wait_until};
use qemu_tests::case::case;
use qemu_tests::sector::Sector;
use qemu_tests::writelog::{Crash, Kind, Unflushed, WriteLog};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

fn disk(folder: &TempDir, guest: &Sector) -> Result<PathBuf> {
    let path = folder.path().join("disk.img");
    guest.disk(&path)?;
    Ok(path)
}

fn hello() -> Sector {
    Sector::new().print("hello\n")
}

/// Waits until no process `id` is left: a killed one is there until its parent has taken note.
fn wait_for_death(id: u32) -> Result<()> {
    wait_until("the machine's death", SOON, || {
        let there = Path::new(&format!("/proc/{id}")).exists();
        Ok(if there { ControlFlow::Continue(format!("process {id} is there")) } else { ControlFlow::Break(()) })
    })
}

#[test]
fn a_machine_runs_what_its_disk_holds_and_ends_with_its_value() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &hello())?).start()?;
        vm.wait_for_console("hello", SOON)?;
        let id = vm.id();
        drop(vm);
        wait_for_death(id)
    });
}

#[test]
fn a_machine_that_switches_itself_off_has_ended() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        Vm::new(&disk(&folder, &Sector::new().power_off())?).start()?.wait_for_end(SOON)
    });
}

#[test]
fn an_error_tells_what_was_awaited_and_what_the_console_showed() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &hello())?).name("polite").start()?;
        vm.wait_for_console("hello", SOON)?;
        let said = vm.wait_for_console("goodbye", Duration::ZERO).unwrap_err().to_string();
        assert!(said.contains("\"goodbye\" on the console: it was not shown"), "{said}");
        assert!(said.starts_with("polite: ") && said.contains("hello"), "{said}");
        Ok(())
    });
}

#[test]
fn a_machine_that_ends_is_not_waited_for_any_longer() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &Sector::new().power_off())?).start()?;
        let said = vm.wait_for_console("hello", Duration::from_secs(3600)).unwrap_err().to_string();
        assert!(said.contains("the machine ended"), "{said}");
        Ok(())
    });
}

#[test]
fn what_qemu_refuses_is_said_in_its_words() {
    case(1, || {
        let said = format!("{:#}", Vm::new(Path::new("/nowhere/disk.img")).start().err().expect("an error"));
        assert!(said.contains("/nowhere/disk.img") && said.contains("No such file"), "{said}");
        Ok(())
    });
}

/// Set for the process that the next test starts: this test's own program, which starts a machine and is killed.
const VICTIM: &str = "MIMG_TEST_VICTIM";

#[test]
fn a_machine_ends_with_the_process_that_started_it() {
    if let Some(folder) = std::env::var_os(VICTIM) {
        let vm = Vm::new(&Path::new(&folder).join("disk.img")).start().unwrap();
        std::fs::write(Path::new(&folder).join("id.part"), vm.id().to_string()).unwrap();
        std::fs::rename(Path::new(&folder).join("id.part"), Path::new(&folder).join("id")).unwrap();
        loop {
            std::thread::park();
        }
    }
    case(1, || {
        // The victim could not say what this host lacks.
        Accelerator::of_host()?;
        let folder = tempfile::tempdir()?;
        disk(&folder, &hello())?;
        let mut victim = Command::new(std::env::current_exe()?);
        victim.args(["--exact", "harness::a_machine_ends_with_the_process_that_started_it"]);
        let mut victim = victim.env(VICTIM, folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let id = wait_until("the victim's machine", SOON, || {
            let id = std::fs::read_to_string(folder.path().join("id")).ok().and_then(|text| text.parse().ok());
            Ok(id.map_or(ControlFlow::Continue("it has not started".to_owned()), ControlFlow::Break))
        });
        victim.kill()?;
        victim.wait()?;
        wait_for_death(id?)
    });
}

#[test]
fn a_snapshot_forgets_what_the_guest_wrote() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let path = disk(&folder, &Sector::new().write(1, b'x').print("written\n"))?;
        let before = std::fs::read(&path)?;
        Vm::new(&path).start()?.wait_for_console("written", SOON)?;
        assert!(std::fs::read(&path)? == before, "the image was changed");
        Vm::without_disks().disk(Disk::file(&path)).start()?.wait_for_console("written", SOON)?;
        assert_eq!(std::fs::read(&path)?[512..1024], [b'x'; 512]);
        Ok(())
    });
}

#[test]
fn a_power_cut_leaves_a_log_from_which_each_moment_can_be_made() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let base = disk(&folder, &Sector::new().write(1, b'x').write(2, b'y').print("written\n"))?;
        let log = folder.path().join("log");
        let overlay = Disk::overlay(&base, Format::Raw, folder.path().join("overlay"), None)?.write_log(&log);
        let mut vm = Vm::without_disks().disk(overlay).start()?;
        vm.wait_for_console("written", SOON)?;
        vm.cut()?;
        let log = WriteLog::open(&log)?;
        // To a BIOS, which flushes nothing, QEMU offers a disk without a write cache: there are flushes as well.
        let writes = log.entries().iter().filter(|entry| entry.kind == Kind::Write);
        assert_eq!(writes.map(|entry| (entry.offset, entry.length)).collect::<Vec<_>>(), [(512, 512), (1024, 512)]);
        let out = folder.path().join("out");
        log.disk(&base, 1 << 20, Crash { entries: 1, unflushed: Unflushed::Kept }, &out)?;
        let made = std::fs::read(&out)?;
        assert_eq!((made.len(), made[512], made[1024]), (1 << 20, b'x', 0));
        Ok(())
    });
}

#[test]
fn a_reset_boots_again() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &hello())?).start()?;
        vm.wait_for_console("hello\n", SOON)?;
        vm.reset()?;
        vm.wait_for_console("hello\nhello\n", SOON)
    });
}

/// Types a key and waits for what the guest says then.
fn press(vm: &mut Running, expected: &str) -> Result<()> {
    vm.type_text("x")?;
    vm.wait_for_console(expected, SOON)
}

#[test]
fn any_number_of_machines_go_on_from_a_saved_state() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let base =
            disk(&folder, &Sector::new().print("one\n").wait_for_key().print("two\n").write(1, b'x').print("three\n"))?;
        let overlay = Disk::overlay(&base, Format::Raw, folder.path().join("overlay"), None)?;
        let mut vm = Vm::without_disks().disk(overlay).start()?;
        vm.wait_for_console("one\n", SOON)?;
        let saved = vm.save(folder.path().join("it's saved"))?;
        for _ in 0..2 {
            let mut vm = saved.start()?;
            press(&mut vm, "three\n")?;
            assert_eq!(vm.console(), "two\nthree\n");
        }
        Ok(())
    });
}

#[test]
fn a_state_that_would_lose_its_disks_is_not_saved() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let vm = Vm::new(&disk(&folder, &hello())?).start()?;
        let said = vm.save(folder.path().join("state")).expect_err("an error").to_string();
        assert!(said.contains("disk.img") && said.contains("overlay"), "{said}");
        Ok(())
    });
}

#[test]
fn the_screen_is_a_picture() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &hello())?).start()?;
        vm.wait_for_console("hello", SOON)?;
        let picture = folder.path().join("screen.png");
        vm.screen(&picture)?;
        assert!(std::fs::read(&picture)?.starts_with(b"\x89PNG\r\n"));
        Ok(())
    });
}

#[test]
fn a_frozen_machine_goes_on_where_it_was() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let guest = Sector::new().print("one\n").wait_for_key().print("two\n");
        let mut vm = Vm::new(&disk(&folder, &guest)?).start()?;
        vm.wait_for_console("one", SOON)?;
        vm.freeze()?;
        assert_eq!(vm.qmp("query-status", json!({}))?["status"], "paused");
        vm.thaw()?;
        press(&mut vm, "two")
    });
}

#[test]
fn disks_of_every_kind_are_plugged_in_and_a_stick_is_pulled_out() {
    case(1, || {
        let folder = tempfile::tempdir()?;
        let mut vm = Vm::new(&disk(&folder, &hello())?);
        let kinds =
            [Interface::VirtioBlk, Interface::VirtioScsi, Interface::Sata, Interface::Nvme, Interface::UsbStick];
        for (index, kind) in kinds.into_iter().enumerate() {
            let blank = Disk::blank(folder.path().join(format!("{index}")), 8 << 20)?.interface(kind).serial("S123");
            let sector = if matches!(kind, Interface::Sata) { 512 } else { 4096 };
            let named = matches!(kind, Interface::VirtioScsi | Interface::Sata | Interface::Nvme);
            let blank = blank.sector_size(sector);
            vm = vm.disk(if named { blank.wwn(0x5000_c500_0000_0001) } else { blank });
        }
        let mut vm = vm.link(Link::Segment(Segment::new())).link(Link::Host { ports: vec![22] }).start()?;
        vm.wait_for_console("hello", SOON)?;
        assert_eq!(vm.qmp("query-block", json!({}))?.as_array().map(Vec::len), Some(6));
        vm.unplug(5)?;
        assert_ne!(vm.forwarded(22)?, 0);
        assert!(vm.forwarded(80).is_err());
        vm.set_link(0, false)
    });
}

#[test]
fn ovmf_starts_with_and_without_secure_boot() {
    case(1, || {
        for firmware in [Firmware::Uefi, Firmware::SecureBoot] {
            let folder = tempfile::tempdir()?;
            // A boot sector is nothing to UEFI: it says that it looked at the disk and found no loader.
            let mut vm = Vm::new(&disk(&folder, &hello())?).name(firmware.name()).firmware(firmware).start()?;
            vm.wait_for_console("BdsDxe: failed to load", SOON)?;
            assert!(!vm.console().contains("hello"));
        }
        Ok(())
    });
}
