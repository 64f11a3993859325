//! /etc/fstab of a system: its root file system and its ESP.

/// `before` with our lines of `/` and `/boot/efi`, for partitions with these GUIDs; all others stay as they are.
pub fn fstab(before: &str, root: impl std::fmt::Display, esp: impl std::fmt::Display) -> String {
    let others =
        |line: &&str| !matches!(line.split_whitespace().nth(1), Some("/" | "/boot/efi")) || line.starts_with('#');
    let mut lines = vec![
        format!("PARTUUID={root} / ext4 errors=remount-ro 0 1"),
        // Mounted when it is looked at: a machine comes up without its ESP, and a power cut finds it clean.
        format!("PARTUUID={esp} /boot/efi vfat umask=0077,nofail,x-systemd.automount,x-systemd.idle-timeout=1min 0 2"),
    ];
    lines.extend(before.lines().filter(others).map(str::to_owned));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_stay_and_ours_are_there_once() {
        let before = "# a remark on / itself\n/dev/sdz1 / xfs defaults 0 1\n/dev/data /data xfs nofail 0 0\n";
        let once = fstab(before, "aaaa", "eeee");
        assert!(once.starts_with("PARTUUID=aaaa / ext4 ") && once.contains("PARTUUID=eeee /boot/efi vfat "), "{once}");
        assert!(once.ends_with("# a remark on / itself\n/dev/data /data xfs nofail 0 0\n"), "{once}");
        assert!(!once.contains("sdz1"), "{once}");
        assert_eq!(fstab(&once, "aaaa", "eeee"), once);
        let moved = fstab(&once, "bbbb", "eeee");
        assert!(moved.starts_with("PARTUUID=bbbb / ") && !moved.contains("aaaa"), "{moved}");
    }
}
