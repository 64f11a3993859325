//! What GRUB reads on the ESP of an image: grub.cfg, the same one under BIOS and UEFI.

use crate::image::Layout;
use crate::image::table::ROOT;
use anyhow::{Result, ensure};
use profiles::grub::{AGAIN, HEAD, MARKER, NEXT, PARAMETERS};

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

/// grub.cfg for an image with this layout.
///
/// Fails for a kernel parameter that GRUB's language or the kernel would take apart.
pub fn configuration(layout: &Layout) -> Result<String> {
    for parameter in &layout.parameters {
        let whole = parameter.bytes().all(|b| b.is_ascii_graphic() && !b"'\"\\".contains(&b)) && !parameter.is_empty();
        ensure!(
            whole,
            "the kernel parameter {parameter:?} has blanks, quotes or other than ASCII: give each parameter alone, without them"
        );
    }
    let root = format!("root=PARTUUID={}", layout.identity.uuid("partition/root"));
    let extra = layout.parameters.iter().map(|p| format!("'{p}'"));
    let parameters = PARAMETERS.iter().map(|p| (*p).to_owned()).chain(extra);
    let parameters = parameters.fold(root, |line, parameter| format!("{line} {parameter}"));
    let entries = if layout.installs { MEDIUM } else { PLAIN };
    let text = [HEAD, DEFAULT, NEXT, BOOT, entries, PREVIOUS].concat();
    let words = [("@ROOT@", ROOT.to_string().as_str()), ("@PARAMETERS@", &parameters)].map(|(k, v)| (k, v.to_owned()));
    let words = words.into_iter().chain([("@MARKER@", MARKER.to_owned()), ("@AGAIN@", AGAIN.to_owned())]);
    Ok(words.fold(text, |text, (word, value)| text.replace(word, &value)))
}

const DEFAULT: &str = r#"
set default=0
"#;

const BOOT: &str = r#"
function boot_linux {
  set root="$disk,gpt@ROOT@"
  echo "Loading $1 ..."
  linux "$1" @PARAMETERS@ $3
  initrd "$2"
}
"#;

const PLAIN: &str = r#"
menuentry "Debian GNU/Linux" --id debian {
  boot_linux /vmlinuz /initrd.img
}
"#;

/// For an image that installs itself: left in the machine, it hands over to what it installed.
const MEDIUM: &str = r#"
if search --no-floppy --file --set=installed /@MARKER@; then
  menuentry "Debian GNU/Linux, as installed on this machine" --id installed {
    set root="$installed"
    set prefix="($installed)/EFI/debian"
    configfile "$prefix/grub.cfg"
  }
  menuentry "Install again" --id again {
    boot_linux /vmlinuz /initrd.img @AGAIN@
  }
  menuentry "Debian GNU/Linux, from this medium" --id debian {
    boot_linux /vmlinuz /initrd.img
  }
  # By number: names are not looked up here.
  set fallback=2
else
  menuentry "Debian GNU/Linux" --id debian {
    boot_linux /vmlinuz /initrd.img
  }
fi
"#;

const PREVIOUS: &str = r#"
if [ -e "($disk,gpt@ROOT@)/vmlinuz.old" ]; then
  menuentry "Debian GNU/Linux, the kernel before" --id previous {
    boot_linux /vmlinuz.old /initrd.img.old
  }
  # By number: names are not looked up here.
  if [ -z "$installed" ]; then set fallback=1; fi
fi
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::identity::Identity;

    fn layout(parameters: &[&str]) -> Layout {
        let identity = Identity { namespace: uuid::Uuid::nil(), name: "profile/nuc".to_owned() };
        Layout { parameters: parameters.iter().map(|p| (*p).to_owned()).collect(), ..Layout::new(identity) }
    }

    #[test]
    fn linux_is_given_the_root_partition_of_this_image_and_the_profiles_parameters() {
        let layout = layout(&["intel_iommu=on"]);
        let text = configuration(&layout).expect("valid parameters");
        let root = layout.identity.uuid("partition/root");
        let line = text.lines().find(|line| line.trim_start().starts_with("linux ")).expect("a linux line");
        let wanted = format!(
            "root=PARTUUID={root} ro console=tty0 console=ttyS0,115200 systemd.gpt_auto=0 panic=30 'intel_iommu=on' $3"
        );
        assert!(line.ends_with(&wanted), "{line}");
        assert!(text.contains("set root=\"$disk,gpt3\"") && !text.contains('@'), "{text}");
        assert!(!text.contains("search"), "an image that installs nothing looks at other disks");
    }

    #[test]
    fn a_medium_looks_for_the_marker_of_an_installed_system_first() {
        let text = configuration(&Layout { installs: true, ..layout(&[]) }).expect("valid parameters");
        let search =
            text.find("search --no-floppy --file --set=installed /EFI/debian/mimg-installed").expect("a search");
        assert!(search < text.find("--id again").expect("an entry to install again"));
        assert!(text.contains("boot_linux /vmlinuz /initrd.img mimg.install=again") && !text.contains('@'), "{text}");
    }

    #[test]
    fn a_parameter_that_would_be_taken_apart_is_refused() {
        for parameter in ["a b", "a'b", "a\"b", "a\\b", "", "a\nb", "ä"] {
            assert!(configuration(&layout(&[parameter])).is_err(), "{parameter:?} was taken");
        }
    }
}
