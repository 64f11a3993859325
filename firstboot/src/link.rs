//! Links to partitions by their GUIDs. udev makes them, some time after the kernel was told of a partition.

use crate::block::partition_name;
use crate::command;
use anyhow::{Context, Result, bail};
use profiles::ask::Slice;
use std::path::Path;
use std::time::{Duration, Instant};

const FOLDER: &str = "/dev/disk/by-partuuid";
/// There while udevd runs. Without it nobody makes links, and the kernel's own name of a partition is all there will be.
const UDEV: &str = "/run/udev/control";
const WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until every partition of `disk` has its device node, and where udev runs, its link, which leads to that very
/// node.
pub async fn wait(disk: &str, slices: &[Slice]) -> Result<()> {
    let udev = Path::new(UDEV).exists();
    if udev {
        announce(disk, slices)?;
        command::act(&["udevadm".to_owned(), "settle".to_owned()]).await?;
    }
    let deadline = Instant::now() + WITHIN;
    for slice in slices {
        let node = format!("/dev/{}", partition_name(disk, slice.number));
        let link = format!("{FOLDER}/{}", slice.guid);
        loop {
            let there = Path::new(&node).exists();
            let leads = fs_err::canonicalize(&link).is_ok_and(|path| path == Path::new(&node));
            if there && (leads || !udev) {
                break;
            }
            if Instant::now() > deadline {
                let missing = if there { format!("a link {link} to {node}") } else { format!("a device {node}") };
                bail!("after {} s there is not {missing}; see `journalctl -u systemd-udevd`", WITHIN.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// A partition that only got another GUID is no news to the kernel: udev is told by us.
fn announce(disk: &str, slices: &[Slice]) -> Result<()> {
    for slice in slices {
        let path = format!("/sys/class/block/{}/uevent", partition_name(disk, slice.number));
        fs_err::write(&path, "change").with_context(|| format!("announcing partition {} of {disk}", slice.number))?;
    }
    Ok(())
}
