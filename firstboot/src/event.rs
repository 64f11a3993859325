//! Events after which a machine is worth looking at again.

use crate::place::LABELS;
use crate::unit::Systemd;
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::BTreeSet;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath};

/// systemd's signals about jobs and units, taken from the bus as they come.
///
/// They have a connection of their own, which a task of its own reads: a stream that fills up while a pass runs would
/// hold up every answer on the same connection.
pub struct Signals {
    changed: Arc<Changed>,
}

/// Units that something was heard of, by their names on the bus.
#[derive(Default)]
struct Changed {
    units: Mutex<BTreeSet<String>>,
    ended: AtomicBool,
    news: Notify,
}

impl Signals {
    pub async fn subscribe(systemd: &Systemd) -> Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.systemd1")
            .path_namespace("/org/freedesktop/systemd1")
            .build()?;
        let connection = systemd.subscribed().await?;
        let stream = MessageStream::for_match_rule(rule, &connection, None).await?;
        let changed = Arc::new(Changed::default());
        tokio::spawn(listen(stream, changed.clone()));
        Ok(Signals { changed })
    }

    /// Waits until a job of one of `units` ended, or one of them changed, since the last call. Fails where the bus is
    /// gone.
    pub async fn next(&mut self, units: &BTreeSet<String>) -> Result<()> {
        loop {
            let heard = std::mem::take(&mut *self.changed.units.lock().unwrap_or_else(PoisonError::into_inner));
            if units.iter().any(|unit| heard.contains(&escaped(unit))) {
                return Ok(());
            }
            if self.changed.ended.load(Ordering::Relaxed) {
                bail!("the connection to the system bus ended");
            }
            self.changed.news.notified().await;
        }
    }
}

async fn listen(mut stream: MessageStream, changed: Arc<Changed>) {
    while let Some(Ok(message)) = stream.next().await {
        if let Some(unit) = unit_of(&message) {
            changed.units.lock().unwrap_or_else(PoisonError::into_inner).insert(unit);
            changed.news.notify_one();
        }
    }
    changed.ended.store(true, Ordering::Relaxed);
    changed.news.notify_one();
}

/// The unit that a signal is about, as it is named on the bus.
fn unit_of(message: &Message) -> Option<String> {
    let header = message.header();
    match header.member()?.as_str() {
        "JobRemoved" => {
            let (_, _, unit, _): (u32, OwnedObjectPath, String, String) = message.body().deserialize().ok()?;
            Some(escaped(&unit))
        }
        "PropertiesChanged" => header.path()?.strip_prefix("/org/freedesktop/systemd1/unit/").map(str::to_owned),
        _ => None,
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
