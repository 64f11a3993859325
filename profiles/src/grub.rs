//! What GRUB reads, on media and on machines alike: texts of grub.cfg, and the environment block with the boot pointer.
//!
//! ```text
//! medium:     EFI/debian/grub.cfg --finds another ESP with MARKER--> that one's grub.cfg
//! own disk:   EFI/debian/grub.cfg --slot=NAME in grubenv--> /vmlinuz of that slot, with the parameters that it brings
//! ```

use std::collections::BTreeMap;

/// Where GRUB's files lie on an ESP. Debian's signed GRUB has this name built in, so core.img is told the same.
pub const FOLDER: &str = "EFI/debian";
/// A file on the ESP of a machine's own disk: a system is installed there, and media hand over to it.
pub const MARKER: &str = "EFI/debian/mimg-installed";
/// A file of a system that sets `extra`, its own kernel parameters, for GRUB.
pub const EXTRA: &str = "/boot/mimg.cfg";
/// The kernel's parameter of the medium's entry "install again".
pub const AGAIN: &str = "mimg.install=again";

/// Files of the ESP, and where the running system has them. shim starts the GRUB that lies beside it, and MokManager when
/// a key is to be enrolled, by exactly these names.
pub const SIGNED: [(&str, &str); 3] = [
    ("EFI/BOOT/BOOTX64.EFI", "/usr/lib/shim/shimx64.efi.signed"),
    ("EFI/BOOT/grubx64.efi", "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    ("EFI/BOOT/mmx64.efi", "/usr/lib/shim/mmx64.efi.signed"),
];

/// The kernel's parameters that every system has, next to `root=`.
pub const PARAMETERS: [&str; 5] = [
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

/// The beginning of every grub.cfg.
pub const HEAD: &str = r#"# Written by mimg. GRUB reads it under BIOS and UEFI alike.

# The disk that this file was read from: its own partitions are booted, whatever other disks hold.
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
if [ -s "$prefix/grubenv" ]; then
  load_env
fi
"#;

/// What follows the setting of `default`.
pub const NEXT: &str = r#"# For one boot only, as grub-editenv sets it.
if [ -n "$next_entry" ]; then
  set default="$next_entry"
  set next_entry=
  save_env next_entry
fi
"#;

/// One of the two slots of a machine's own disk, as its grub.cfg names it.
pub struct Slot<'a> {
    pub name: &'a str,
    /// The partition's number, and what Linux calls PARTUUID.
    pub number: usize,
    pub guid: String,
    /// The UUID of a file system there that is not whole yet.
    pub draft: String,
}

/// grub.cfg of a machine's own disk: the slot that the boot pointer names, the kernel before in it, then the other slot.
/// A slot whose file system is not whole is not offered.
pub fn slots([one, other]: &[Slot; 2]) -> String {
    let side = |prefix: &str, slot: &Slot| {
        let Slot { name, number, guid, draft } = slot;
        format!(
            "  set {prefix}={name}\n  set {prefix}_gpt=gpt{number}\n  set {prefix}_root={guid}\n  set {prefix}_draft={draft}\n"
        )
    };
    let sides = [
        format!("if [ \"$slot\" = {} ]; then\n", other.name),
        side("now", other),
        side("other", one),
        "else\n".to_owned(),
        side("now", one),
        side("other", other),
        "fi\n".to_owned(),
    ];
    SLOTS
        .replace("@HEAD@", HEAD)
        .replace("@NEXT@", NEXT)
        .replace("@SIDES@", &sides.concat())
        .replace("@PARAMETERS@", &PARAMETERS.join(" "))
}

const SLOTS: &str = r#"@HEAD@
# The slot that was last written as a whole, and the one before.
@SIDES@
set default=0
@NEXT@
function boot_linux {
  set root="$disk,$3"
  set extra=
  if [ -s /boot/mimg.cfg ]; then
    source /boot/mimg.cfg
  fi
  echo "Loading $1 of $5 ..."
  linux "$1" root=PARTUUID=$4 @PARAMETERS@ $extra
  initrd "$2"
}

menuentry "Debian GNU/Linux" --id debian {
  boot_linux /vmlinuz /initrd.img $now_gpt $now_root $now
}
set entries=1
if [ -e "($disk,$now_gpt)/vmlinuz.old" ]; then
  menuentry "Debian GNU/Linux, the kernel before" --id previous {
    boot_linux /vmlinuz.old /initrd.img.old $now_gpt $now_root $now
  }
  # By number: names are not looked up here.
  set fallback=1
  set entries=2
fi
if [ -e "($disk,$other_gpt)/vmlinuz" ]; then
  probe --set=other_uuid --fs-uuid "($disk,$other_gpt)"
  if [ "$other_uuid" != "$other_draft" ]; then
    menuentry "Debian GNU/Linux, the system before" --id other {
      boot_linux /vmlinuz /initrd.img $other_gpt $other_root $other
    }
    if [ "$entries" = 2 ]; then set fallback="1 2"; else set fallback=1; fi
  fi
fi
"#;

/// The content of `EXTRA`, which GRUB reads. `extra` were checked: GRUB takes none of them apart.
pub fn extra(extra: &[String]) -> String {
    format!("set extra=\"{}\"\n", extra.join(" "))
}

/// GRUB writes the environment in place, so it always has these bytes.
const BLOCK: usize = 1024;
const TITLE: &str = "# GRUB Environment Block\n";

/// An environment block as `grub-editenv` makes it.
pub fn environment(values: &[(&str, &str)]) -> String {
    let mut block = TITLE.to_owned();
    block.extend(values.iter().map(|(key, value)| format!("{key}={value}\n")));
    let room = BLOCK.saturating_sub(block.len());
    block + &"#".repeat(room)
}

/// The values of an environment block.
pub fn values(block: &str) -> BTreeMap<&str, &str> {
    block.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_block_has_its_fixed_size_and_gives_back_its_values() {
        for values_in in [vec![], vec![("slot", "root-b"), ("boot", "1")]] {
            let block = environment(&values_in);
            assert_eq!(block.len(), 1024);
            assert!(block.starts_with("# GRUB Environment Block\n"), "{block}");
            assert_eq!(values(&block), values_in.into_iter().collect());
        }
    }

    #[test]
    fn each_slot_is_offered_with_its_own_partition() {
        let slot =
            |name, number, guid: &str| Slot { name, number, guid: guid.to_owned(), draft: format!("{guid}-new") };
        let text = slots(&[slot("root-a", 3, "aaaa"), slot("root-b", 4, "bbbb")]);
        let (_, sides) = text.split_once("if [ \"$slot\" = root-b ]; then\n").expect("a look at the pointer");
        let (then, otherwise) = sides.split_once("else\n").expect("both ways");
        assert!(
            then.contains("now_gpt=gpt4\n  set now_root=bbbb\n") && then.contains("other_draft=aaaa-new"),
            "{then}"
        );
        assert!(otherwise.contains("now_gpt=gpt3\n  set now_root=aaaa\n"), "{otherwise}");
        assert!(!text.contains('@'), "{text}");
    }
}
