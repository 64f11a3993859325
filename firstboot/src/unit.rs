//! systemd's units over D-Bus (org.freedesktop.systemd1(5)).

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use profiles::act::Verb;
use profiles::ask::Unit;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::OnceCell;
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// systemd answers at once, except while it reads all units again.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// CLD_EXITED of waitid(2): the main process came to its own end.
const EXITED: i32 = 1;

type Properties = HashMap<String, OwnedVariant>;
/// Type, file name and destination of a link that was made or removed.
type Change = (String, String, String);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    fn enable_unit_files(&self, files: &[&str], runtime: bool, force: bool) -> zbus::Result<(bool, Vec<Change>)>;
    fn disable_unit_files(&self, files: &[&str], runtime: bool) -> zbus::Result<Vec<Change>>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload(&self) -> zbus::Result<()>;
    fn subscribe(&self) -> zbus::Result<()>;
}

/// The manager of this machine's units. Connected when it is first asked.
pub struct Systemd {
    address: Option<String>,
    connection: OnceCell<Connection>,
    /// Units that are held. A oneshot that is done and that nobody refers to is unloaded at once: it would seem never to
    /// have run. The references end with the connection.
    held: Mutex<BTreeSet<String>>,
}

impl Systemd {
    /// The one on the system bus.
    pub fn system() -> Self {
        Systemd { address: None, connection: OnceCell::new(), held: Mutex::default() }
    }

    /// The one on the bus at a D-Bus address.
    pub fn at(address: &str) -> Self {
        Systemd { address: Some(address.to_owned()), connection: OnceCell::new(), held: Mutex::default() }
    }

    /// The connection for questions and acts, made at the first call.
    pub async fn connection(&self) -> Result<&Connection> {
        self.connection.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connection> {
        let builder = match &self.address {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        builder.method_timeout(CALL_LIMIT).build().await.context("connecting to the system bus")
    }

    /// A connection of its own to which systemd sends the signals of all jobs and units. A flood of them holds up no
    /// answer on the other.
    pub async fn subscribed(&self) -> Result<Connection> {
        let connection = self.connect().await?;
        ManagerProxy::new(&connection).await?.subscribe().await.context("subscribing to systemd's signals")?;
        Ok(connection)
    }

    async fn manager(&self) -> Result<ManagerProxy<'_>> {
        Ok(ManagerProxy::new(self.connection().await?).await?)
    }

    /// A unit's state, loaded from its file where systemd did not know it.
    pub async fn unit(&self, name: &str) -> Result<Unit> {
        let state = self.state(name).await.with_context(|| format!("asking systemd about {name}"))?;
        Ok(state.unit())
    }

    /// Whether the file at `path` was changed after the unit was last started; false while it is not running.
    pub async fn outdated(&self, name: &str, path: &Path) -> Result<bool> {
        let state = self.state(name).await.with_context(|| format!("asking systemd about {name}"))?;
        let Ok(metadata) = fs_err::metadata(path) else { return Ok(false) };
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(state.unit().active == "active" && started_before(changed, state.number("ActiveEnterTimestampMonotonic"))?)
    }

    /// Drives a unit. Jobs are queued, not waited for. Enabling and disabling make systemd read its units again.
    pub async fn drive(&self, name: &str, verb: Verb) -> Result<()> {
        let manager = self.manager().await?;
        let done = match verb {
            Verb::Enable => manager.enable_unit_files(&[name], false, false).await.map(drop),
            Verb::Disable => manager.disable_unit_files(&[name], false).await.map(drop),
            Verb::Start => manager.start_unit(name, "replace").await.map(drop),
            Verb::Stop => manager.stop_unit(name, "replace").await.map(drop),
            Verb::Restart => manager.restart_unit(name, "replace").await.map(drop),
            Verb::Reload => manager.reload().await,
        };
        let verb_name = format!("{verb:?}").to_lowercase();
        done.with_context(|| format!("asking systemd to {verb_name} {name}"))?;
        if matches!(verb, Verb::Enable | Verb::Disable) {
            manager.reload().await.context("asking systemd to read its units again")?;
        }
        Ok(())
    }

    async fn state(&self, name: &str) -> Result<State> {
        let manager = self.manager().await?;
        let path = manager.load_unit(name).await?;
        let unit = self.properties(&path, UNIT).await?;
        // Only services have a result and a main process.
        let service = match name.ends_with(".service") {
            true => self.properties(&path, SERVICE).await?,
            false => Properties::new(),
        };
        let state = State { unit, service };
        if state.word("LoadState") == "loaded" && self.holds().insert(name.to_owned()) {
            manager.ref_unit(name).await.inspect_err(|_| _ = self.holds().remove(name))?;
        }
        Ok(state)
    }

    fn holds(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn properties(&self, path: &OwnedObjectPath, interface: &'static str) -> Result<Properties> {
        let proxy = PropertiesProxy::builder(self.connection().await?)
            .destination("org.freedesktop.systemd1")
            .path(path)
            .build()
            .await?;
        Ok(proxy.get_all(InterfaceName::from_static_str(interface)?).await?)
    }
}

/// Whether a start at `started` (microseconds of the monotonic clock) was before `changed`, a time of the real clock.
///
/// The wall-clock time of the start cannot be used: without a battery the clock jumps by years when it is set. So the
/// start is placed by how long ago it was. A change in the future was made before the clock was set back: not after
/// this start.
fn started_before(changed: Duration, started: u64) -> Result<bool> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME)?);
    let up = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    let ago = up.saturating_sub(Duration::from_micros(started));
    Ok(changed <= now && changed > now.saturating_sub(ago))
}

/// A unit's properties, as systemd gave them.
struct State {
    unit: Properties,
    service: Properties,
}

impl State {
    fn word(&self, name: &str) -> String {
        let value = self.unit.get(name).or_else(|| self.service.get(name));
        value.and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default().to_owned()
    }

    fn yes(&self, name: &str) -> bool {
        self.unit.get(name).and_then(|value| bool::try_from(value).ok()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        let value = self.unit.get(name).or_else(|| self.service.get(name));
        value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
    }

    /// Job is (id, path); the id is 0 where there is none.
    fn job(&self) -> bool {
        let id = self
            .unit
            .get("Job")
            .and_then(|job| job.try_clone().ok())
            .and_then(|job| <(u32, OwnedObjectPath)>::try_from(job).ok());
        id.is_some_and(|(id, _)| id != 0)
    }

    /// It ran since boot and its main process exited well, before anybody stopped it: a stop comes before the exit.
    fn finished(&self) -> bool {
        let code = self.service.get("ExecMainCode").and_then(|value| i32::try_from(value).ok());
        let (exit, left) = (self.number("ExecMainExitTimestampMonotonic"), self.number("ActiveExitTimestampMonotonic"));
        let by_itself = code == Some(EXITED) && exit > 0 && (left == 0 || exit <= left);
        by_itself && self.word("ActiveState") == "inactive" && self.word("Result") == "success"
    }

    fn unit(&self) -> Unit {
        Unit {
            load: self.word("LoadState"),
            active: self.word("ActiveState"),
            file: self.word("UnitFileState"),
            result: self.word("Result"),
            job: self.job(),
            // Before the conditions were looked at for the first time, systemd says no.
            condition: self.yes("ConditionResult") || self.number("ConditionTimestampMonotonic") == 0,
            finished: self.finished(),
            stale: self.yes("NeedDaemonReload"),
        }
    }
}
