//! Loop devices: real block devices made of files, with sectors of both sizes.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// A disk that is a sparse file. Gone when dropped.
pub struct Loop {
    pub device: String,
    pub file: NamedTempFile,
}

impl Loop {
    /// `None`, said on stderr, where this host or user has no loop devices.
    pub fn new(sector: u64, length: u64) -> Option<Loop> {
        if let Err(error) = File::options().write(true).open("/dev/loop-control")
            && [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&error.kind())
        {
            eprintln!("NOT RUN: it needs root and loop devices: /dev/loop-control: {error}");
            return None;
        }
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--partscan", "--sector-size", &sector.to_string()]).arg(file.path());
        let ended = losetup.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        Some(Loop { device: String::from_utf8(ended.stdout).unwrap().trim().to_owned(), file })
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

impl Drop for Loop {
    fn drop(&mut self) {
        // Fails where a test that failed left it in use; then it goes with the machine.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}
