//! Events after which a machine is worth looking at again.

use crate::place::LABELS;
use crate::unit::Systemd;
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::BTreeSet;

use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::unix::AsyncFd;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath};

/// systemd's signals about jobs and units.
pub struct Signals {
    stream: MessageStream,
}

impl Signals {
    pub async fn subscribe(systemd: &Systemd) -> Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.systemd1")
            .path_namespace("/org/freedesktop/systemd1")
            .build()?;
        let stream = MessageStream::for_match_rule(rule, systemd.connection().await?, None).await?;
        systemd.subscribe().await?;
        Ok(Signals { stream })
    }

    /// Waits until a job of one of `units` ended, or one of them changed. Fails where the bus is gone.
    pub async fn next(&mut self, units: &BTreeSet<String>) -> Result<()> {
        loop {
            match self.stream.next().await {
                Some(Ok(message)) if concerns(&message, units) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("waiting for systemd's signals"),
                None => bail!("the connection to the system bus ended"),
            }
        }
    }
}

fn concerns(message: &Message, units: &BTreeSet<String>) -> bool {
    let header = message.header();
    match header.member().map(|member| member.as_str()) {
        Some("JobRemoved") => {
            let body = message.body();
            let job: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
            job.is_ok_and(|(_, _, unit, _)| units.contains(&unit))
        }
        Some("PropertiesChanged") => {
            let path = header.path().map(|path| path.as_str()).unwrap_or_default();
            units.iter().any(|unit| path.strip_prefix("/org/freedesktop/systemd1/unit/") == Some(&*escaped(unit)))
        }
        _ => false,
    }
}

/// A unit's name as the last part of its object's path: bus_label_escape of sd-bus.
fn escaped(name: &str) -> String {
    let plain = |index: usize, c: u8| c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit());
    let escape =
        |(index, c): (usize, u8)| if plain(index, c) { char::from(c).to_string() } else { format!("_{c:02x}") };
    name.bytes().enumerate().map(escape).collect()
}

/// A watch on the labels of file systems: media that come and go.
pub struct Labels {
    inotify: AsyncFd<OwnedFd>,
}

impl Labels {
    /// Begins to watch. Before the first labelled medium there is no folder of labels: then where it will be made.
    pub fn watch(root: &Path) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let labels = root.join(LABELS.trim_start_matches('/'));
        let folder = labels.ancestors().find(|folder| folder.is_dir()).unwrap_or(root);
        let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, changes).with_context(|| format!("watching {}", folder.display()))?;
        // SAFETY: an OwnedFd is open, and one and the same, as long as it lives.
        let inotify = unsafe { AsyncFd::register(OwnedFd::from(inotify)) }.map_err(std::io::Error::from)?;
        Ok(Labels { inotify })
    }

    /// Waits until something changed since `watch`.
    pub async fn changed(&self) -> Result<()> {
        let ready = self.inotify.readable().await.context("waiting for media")?;
        // Each wait has a watch of its own: what it says is not read.
        drop(ready);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tempfile::tempdir;
    use tokio::time::timeout;

    #[test]
    fn names_of_units_are_escaped_as_on_the_bus() {
        assert_eq!(escaped("systemd-journald.service"), "systemd_2djournald_2eservice");
        assert_eq!(escaped("3a@b3.swap"), "_33a_40b3_2eswap");
    }

    #[tokio::test]
    async fn a_label_that_comes_is_noticed_whether_or_not_there_was_one_before() {
        for known in ["", "dev", "dev/disk/by-label"] {
            let root = tempdir().unwrap();
            fs_err::create_dir_all(root.path().join(known)).unwrap();
            let labels = Labels::watch(root.path()).unwrap();
            let early = timeout(Duration::from_millis(50), labels.changed()).await;
            assert!(early.is_err(), "something was noticed before it happened, below {known:?}");
            fs_err::create_dir_all(root.path().join("dev/disk/by-label/MIMG-SEED")).unwrap();
            let noticed = timeout(Duration::from_secs(10), labels.changed()).await;
            noticed.expect("the label is noticed in time").unwrap();
        }
    }
}
