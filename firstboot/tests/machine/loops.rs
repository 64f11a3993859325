//! Loop devices: real block devices made of files, with sectors of both sizes.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, MutexGuard};

/// A disk that is a sparse file. Gone when dropped.
pub struct Loop {
    pub device: String,
    attached: Attached,
    pub file: NamedTempFile,
}

struct Attached(String);

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Leave to use loop devices for as long as the answer is kept: for a moment, losetup takes each that it looks at for
/// itself. `None`, said on stderr, where this host or user has none.
pub async fn leave() -> Option<MutexGuard<'static, ()>> {
    if let Err(error) = File::options().write(true).open("/dev/loop-control")
        && [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&error.kind())
    {
        eprintln!("NOT RUN: it needs root and loop devices: /dev/loop-control: {error}");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().await)
}

impl Loop {
    pub fn new(sector: u64, length: u64) -> Loop {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        Loop::of(file, sector)
    }

    /// One that has this content.
    pub fn of(file: NamedTempFile, sector: u64) -> Loop {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--partscan", "--sector-size", &sector.to_string()]).arg(file.path());
        let ended = losetup.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let device = String::from_utf8(ended.stdout).unwrap().trim().to_owned();
        Loop { attached: Attached(device.clone()), device, file }
    }

    /// The file alone, with all that was written.
    pub fn detached(self) -> NamedTempFile {
        let Loop { attached, file, .. } = self;
        drop(attached);
        file
    }

    /// Makes the kernel have the partitions of its table, if there is one, on hosts whose kernel reads none by itself.
    pub fn scan(&self) {
        let ended = Command::new("partx").args(["--update", &self.device]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() || said.contains("failed to read partition table"), "{said}");
    }

    pub fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device)
    }

    /// The kernel's partitions: number, first and length in sectors of 512 bytes.
    pub fn kernel(&self) -> Vec<(u32, u64, u64)> {
        let name = self.device.trim_start_matches("/dev/");
        let number = |number: u32, file: &str| {
            let path = format!("/sys/class/block/{name}p{number}/{file}");
            fs_err::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        let there = |number: &u32| Path::new(&format!("/sys/class/block/{name}p{number}")).exists();
        (1..=16).filter(there).map(|n| (n, number(n, "start"), number(n, "size"))).collect()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Fails where a test that failed left it in use; then it goes with the machine.
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}
