//! What GRUB reads: grub.cfg and grubenv on the ESP, the same ones under BIOS and UEFI.

use crate::image::identity::Identity;
use crate::image::table::ROOT;
use anyhow::{Result, ensure};

/// Where GRUB's files lie on the ESP. Debian's signed GRUB has this name built in, so core.img is told the same.
pub const FOLDER: &str = "EFI/debian";

/// The kernel's parameters that every image has, next to `root=`.
const PARAMETERS: [&str; 5] = [
    // Checked by the initramfs while it is read-only; /etc/fstab makes it writable.
    "ro",
    // The last one is /dev/console. A console whose device is not there is left out by the kernel.
    "console=tty0",
    "console=ttyS0,115200",
    // Mounts what partitions' types suggest: on another disk it would take what nobody named.
    "systemd.gpt_auto=0",
    // Nobody may be there to press a key: 30 s to read why, then another try. It also keeps the initramfs
    // from giving a root shell to whoever is at the console.
    "panic=30",
];

/// Modules of core.img: all that grub.cfg uses, and what finds a root on LVM or md, since none can be loaded later.
pub const MODULES: [&str; 32] = [
    "biosdisk",
    "part_gpt",
    "part_msdos",
    "fat",
    "ext2",
    "lvm",
    "mdraid1x",
    "mdraid09",
    "diskfilter",
    "search",
    "search_fs_uuid",
    "search_fs_file",
    "search_label",
    "normal",
    "configfile",
    "regexp",
    "test",
    "true",
    "echo",
    "linux",
    "boot",
    "loadenv",
    "serial",
    "terminal",
    "minicmd",
    "ls",
    "cat",
    "probe",
    "sleep",
    "halt",
    "reboot",
    "chain",
];

/// grub.cfg for the image of `identity`; `extra` are the profile's own kernel parameters, one in each string.
///
/// Fails for a parameter that GRUB's language or the kernel would take apart.
pub fn configuration(identity: &Identity, extra: &[String]) -> Result<String> {
    for parameter in extra {
        let whole = parameter.bytes().all(|b| b.is_ascii_graphic() && !b"'\"\\".contains(&b)) && !parameter.is_empty();
        ensure!(
            whole,
            "the kernel parameter {parameter:?} has blanks, quotes or other than ASCII: give each parameter alone, without them"
        );
    }
    let root = format!("root=PARTUUID={}", identity.uuid("partition/root"));
    let parameters = PARAMETERS.iter().map(|p| (*p).to_owned()).chain(extra.iter().map(|p| format!("'{p}'")));
    let parameters = parameters.fold(root, |line, parameter| format!("{line} {parameter}"));
    Ok(TEMPLATE.replace("@ROOT@", &ROOT.to_string()).replace("@PARAMETERS@", &parameters))
}

/// An empty environment block, as `grub-editenv create` makes it: GRUB writes it in place, so it always has 1024 bytes.
pub fn environment() -> Vec<u8> {
    let mut block = b"# GRUB Environment Block\n".to_vec();
    block.resize(1024, b'#');
    block
}

const TEMPLATE: &str = r#"# Written by mimg. GRUB reads it under BIOS and UEFI alike.

# The disk that this file was read from: its own root partition is booted, whatever other disks hold.
regexp --set=1:disk '^\(([^,)]+)' "$prefix"

# UEFI firmware shows its console on the serial port where it was told to; a BIOS mostly does not.
# GRUB finds out whether there is a port, so a machine without one is left with its screen alone.
if [ "$grub_platform" = pc ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi

set timeout=3
set default=debian
# By number: names are not looked up here.
set fallback=1
if [ -s "$prefix/grubenv" ]; then
  load_env
fi
# For one boot only, as grub-editenv sets it.
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
fi

function boot_linux {
  set root="$disk,gpt@ROOT@"
  echo "Loading $1 ..."
  linux "$1" @PARAMETERS@
  initrd "$2"
}

menuentry "Debian GNU/Linux" --id debian {
  boot_linux /vmlinuz /initrd.img
}
if [ -e "($disk,gpt@ROOT@)/vmlinuz.old" ]; then
  menuentry "Debian GNU/Linux, the kernel before" --id previous {
    boot_linux /vmlinuz.old /initrd.img.old
  }
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { namespace: uuid::Uuid::nil(), name: "profile/nuc".to_owned() }
    }

    #[test]
    fn linux_is_given_the_root_partition_of_this_image_and_the_profiles_parameters() {
        let text = configuration(&identity(), &["intel_iommu=on".to_owned()]).expect("valid parameters");
        let root = identity().uuid("partition/root");
        let line = text.lines().find(|line| line.trim_start().starts_with("linux ")).expect("a linux line");
        let wanted = format!(
            "root=PARTUUID={root} ro console=tty0 console=ttyS0,115200 systemd.gpt_auto=0 panic=30 'intel_iommu=on'"
        );
        assert!(line.ends_with(&wanted), "{line}");
        assert!(text.contains("set root=\"$disk,gpt3\"") && !text.contains('@'), "{text}");
    }

    #[test]
    fn a_parameter_that_would_be_taken_apart_is_refused() {
        for parameter in ["a b", "a'b", "a\"b", "a\\b", "", "a\nb", "ä"] {
            assert!(configuration(&identity(), &[parameter.to_owned()]).is_err(), "{parameter:?} was taken");
        }
    }

    #[test]
    fn the_environment_block_has_the_size_that_grub_writes_in_place() {
        let block = environment();
        assert!(block.len() == 1024 && block.starts_with(b"# GRUB Environment Block\n#"));
    }
}
