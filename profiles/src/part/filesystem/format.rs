//! The kinds of file systems: the tools that make, check, name, measure and grow each.

use crate::size::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Ext4,
    Xfs,
    Btrfs,
    Vfat,
    Swap,
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

impl Format {
    /// As libblkid and mount(8) call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Ext4 => "ext4",
            Format::Xfs => "xfs",
            Format::Btrfs => "btrfs",
            Format::Vfat => "vfat",
            Format::Swap => "swap",
        }
    }

    /// A UUID as this kind has it: FAT has four bytes.
    pub(super) fn id(self, uuid: Uuid) -> String {
        match self {
            Format::Vfat => {
                let digits = uuid.simple().to_string().to_uppercase();
                format!("{}-{}", &digits[..4], &digits[4..8])
            }
            _ => uuid.to_string(),
        }
    }

    /// Makes it with this id.
    pub(super) fn make(self, id: &str, path: &str) -> Vec<String> {
        match self {
            Format::Ext4 => argv(&["mkfs.ext4", "-q", "-U", id, path]),
            Format::Xfs => argv(&["mkfs.xfs", "-q", "-m", &format!("uuid={id}"), path]),
            Format::Btrfs => argv(&["mkfs.btrfs", "-q", "-U", id, path]),
            Format::Vfat => argv(&["mkfs.vfat", "-i", &id.replace('-', ""), path]),
            Format::Swap => argv(&["mkswap", "-U", id, path]),
        }
    }

    /// The same over what a power cut left of it.
    pub(super) fn make_again(self, id: &str, path: &str) -> Vec<String> {
        let mut argv = self.make(id, path);
        let force = match self {
            Format::Ext4 => Some("-F"),
            Format::Xfs | Format::Btrfs => Some("-f"),
            Format::Vfat | Format::Swap => None,
        };
        argv.splice(1..1, force.map(str::to_owned));
        argv
    }

    /// Ends well where it is whole. A swap area is: it is one page.
    pub(super) fn check(self, path: &str) -> Option<Vec<String>> {
        match self {
            Format::Ext4 => Some(argv(&["e2fsck", "-f", "-n", path])),
            Format::Xfs => Some(argv(&["xfs_repair", "-n", path])),
            Format::Btrfs => Some(argv(&["btrfs", "check", "--readonly", path])),
            Format::Vfat => Some(argv(&["fsck.vfat", "-n", path])),
            Format::Swap => None,
        }
    }

    /// Gives it another id.
    pub(super) fn rename(self, id: &str, path: &str) -> Vec<String> {
        match self {
            Format::Ext4 => argv(&["tune2fs", "-U", id, path]),
            Format::Xfs => argv(&["xfs_admin", "-U", id, path]),
            Format::Btrfs => argv(&["btrfstune", "-M", id, path]),
            Format::Vfat => argv(&["fatlabel", "-i", path, &id.replace('-', "")]),
            Format::Swap => argv(&["swaplabel", "-U", id, path]),
        }
    }

    /// Tells how large it is, while it is mounted.
    pub(super) fn measure(self, path: &str, mount: &str) -> Option<Vec<String>> {
        match self {
            Format::Ext4 => Some(argv(&["dumpe2fs", "-h", path])),
            Format::Xfs => Some(argv(&["xfs_info", mount])),
            Format::Btrfs => Some(argv(&["btrfs", "filesystem", "show", "--raw", mount])),
            Format::Vfat | Format::Swap => None,
        }
    }

    /// Bytes, from what `measure` said.
    pub(super) fn measured(self, said: &str) -> Option<u64> {
        let after = |line: &str, key: &str| -> Option<u64> {
            let rest = line.split_once(key)?.1.trim_start();
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let find = |key: &str| said.lines().find_map(|line| after(line, key));
        match self {
            Format::Ext4 => find("Block count:")?.checked_mul(find("Block size:")?),
            Format::Xfs => {
                let data = said.lines().find(|line| line.starts_with("data "))?;
                after(data, "blocks=")?.checked_mul(after(data, "bsize=")?)
            }
            Format::Btrfs => {
                said.lines().find(|line| line.trim_start().starts_with("devid")).and_then(|line| after(line, "size"))
            }
            Format::Vfat | Format::Swap => None,
        }
    }

    /// Makes it fill its device, while it is mounted.
    pub(super) fn grow(self, path: &str, mount: &str) -> Option<Vec<String>> {
        match self {
            Format::Ext4 => Some(argv(&["resize2fs", path])),
            Format::Xfs => Some(argv(&["xfs_growfs", "-d", mount])),
            Format::Btrfs => Some(argv(&["btrfs", "filesystem", "resize", "max", mount])),
            Format::Vfat | Format::Swap => None,
        }
    }

    /// The least device that it can be made on.
    pub(super) fn least(self) -> Size {
        match self {
            Format::Xfs => Size(300 << 20),
            Format::Btrfs => Size(128 << 20),
            Format::Ext4 | Format::Vfat | Format::Swap => Size(1 << 20),
        }
    }

    pub(super) fn packages(self) -> Vec<&'static str> {
        match self {
            Format::Ext4 => vec!["e2fsprogs"],
            Format::Xfs => vec!["xfsprogs"],
            Format::Btrfs => vec!["btrfs-progs"],
            Format::Vfat => vec!["dosfstools"],
            Format::Swap => vec!["util-linux"],
        }
    }

    /// Whether systemd is to have it checked before it is mounted; the others look after themselves.
    pub(super) fn is_checked_at_boot(self) -> bool {
        matches!(self, Format::Ext4 | Format::Vfat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_measured_as_its_tool_tells() {
        let ext4 = "Inode count:              65280\nBlock count:              348160\nReserved block count:     17408\n\
                    First block:              1\nBlock size:               1024\n";
        assert_eq!(Format::Ext4.measured(ext4), Some(348_160 * 1024));
        let xfs = "meta-data=/dev/main/xfs          isize=512    agcount=4, agsize=21760 blks\n         =                       \
                   sectsz=512   attr=2, projid32bit=1\ndata     =                       bsize=4096   blocks=87040, imaxpct=25\n         \
                   =                       sunit=0      swidth=0 blks\nlog      =internal log           bsize=4096   blocks=16384, version=2\n";
        assert_eq!(Format::Xfs.measured(xfs), Some(87_040 * 4096));
        let btrfs = "Label: none  uuid: 11111111-9ea5-4c0c-9a4e-3a0c0f3a8f11\n\tTotal devices 1 FS bytes used 147456\n\
                     \tdevid    1 size 356515840 used 92274688 path /dev/mapper/main-btrfs\n";
        assert_eq!(Format::Btrfs.measured(btrfs), Some(356_515_840));
        for format in [Format::Ext4, Format::Xfs, Format::Btrfs, Format::Vfat, Format::Swap] {
            assert_eq!(format.measured("nothing of the kind"), None);
        }
    }
}
