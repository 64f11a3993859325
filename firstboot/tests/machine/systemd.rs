//! A private bus with a small service on it that answers as org.freedesktop.systemd1 does.

use firstboot::unit::Systemd;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath};

/// A bus of our own; it ends with the test.
pub struct Bus {
    daemon: Child,
    pub address: String,
}

impl Bus {
    fn start() -> Self {
        let mut command = Command::new("dbus-daemon");
        command
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut daemon = command.spawn().expect("dbus-daemon (package dbus-daemon) starts");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Bus { daemon, address: address.trim().to_owned() }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What a unit's state is now: shared, so that a test can change it.
pub type Active = Arc<Mutex<&'static str>>;

pub type Calls = Arc<Mutex<Vec<String>>>;

pub struct Manager(Calls);

impl Manager {
    fn note(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }

    fn job(&self, verb: &str, name: &str, mode: &str) -> zbus::fdo::Result<OwnedObjectPath> {
        self.note(format!("{verb} {name} {mode}"));
        match name {
            "masked.service" => Err(zbus::fdo::Error::Failed("Unit masked.service is masked.".to_owned())),
            _ => Ok("/org/freedesktop/systemd1/job/1".try_into().unwrap()),
        }
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn load_unit(&self, name: &str) -> OwnedObjectPath {
        let label = name.replace('.', "_2e").replace('-', "_2d");
        format!("/org/freedesktop/systemd1/unit/{label}").try_into().unwrap()
    }

    fn enable_unit_files(
        &self,
        files: Vec<String>,
        runtime: bool,
        force: bool,
    ) -> (bool, Vec<(String, String, String)>) {
        self.note(format!("enable {} {runtime} {force}", files.join(",")));
        (true, vec![])
    }

    fn disable_unit_files(&self, files: Vec<String>, runtime: bool) -> Vec<(String, String, String)> {
        self.note(format!("disable {} {runtime}", files.join(",")));
        vec![]
    }

    fn start_unit(&self, name: &str, mode: &str) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job("start", name, mode)
    }

    fn stop_unit(&self, name: &str, mode: &str) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job("stop", name, mode)
    }

    fn restart_unit(&self, name: &str, mode: &str) -> zbus::fdo::Result<OwnedObjectPath> {
        self.job("restart", name, mode)
    }

    fn reload(&self) {
        self.note("reload".to_owned());
    }

    fn subscribe(&self) {}

    #[zbus(signal)]
    pub async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// The properties of a unit that matter here. Times are microseconds of the monotonic clock.
#[derive(Clone)]
pub struct Properties {
    pub load: &'static str,
    pub active: Active,
    pub job: u32,
    pub condition: (bool, u64),
    pub stale: bool,
    pub entered: u64,
    pub left: u64,
}

pub fn state(active: &'static str) -> Active {
    Arc::new(Mutex::new(active))
}

pub fn running() -> Properties {
    let (load, active) = ("loaded", state("active"));
    Properties { load, active, job: 0, condition: (true, 5), stale: false, entered: 10, left: 0 }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Properties {
    #[zbus(property)]
    fn load_state(&self) -> &str {
        self.load
    }
    #[zbus(property)]
    fn active_state(&self) -> String {
        self.active.lock().unwrap().to_string()
    }
    #[zbus(property)]
    fn unit_file_state(&self) -> &str {
        "enabled"
    }
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (self.job, "/".try_into().unwrap())
    }
    #[zbus(property)]
    fn condition_result(&self) -> bool {
        self.condition.0
    }
    #[zbus(property)]
    fn condition_timestamp_monotonic(&self) -> u64 {
        self.condition.1
    }
    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        self.stale
    }
    #[zbus(property)]
    fn active_enter_timestamp_monotonic(&self) -> u64 {
        self.entered
    }
    #[zbus(property)]
    fn active_exit_timestamp_monotonic(&self) -> u64 {
        self.left
    }
}

/// How a service's main process ended.
pub struct Service {
    pub result: &'static str,
    pub code: i32,
    pub exit: u64,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &str {
        self.result
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.code
    }
    #[zbus(property)]
    fn exec_main_exit_timestamp_monotonic(&self) -> u64 {
        self.exit
    }
}

/// A bus with the manager and one unit on it.
pub struct Case {
    pub systemd: Systemd,
    pub calls: Calls,
    pub connection: Connection,
    pub bus: Bus,
}

pub const WELL: Service = Service { result: "success", code: 0, exit: 0 };

pub async fn case(path: &str, unit: Properties, service: Service) -> Case {
    let bus = Bus::start();
    let calls = Calls::default();
    let path = format!("/org/freedesktop/systemd1/unit/{path}");
    let connection = zbus::connection::Builder::address(bus.address.as_str())
        .serve_at("/org/freedesktop/systemd1", Manager(calls.clone()))
        .serve_at(path.as_str(), unit)
        .serve_at(path.as_str(), service)
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap();
    Case { systemd: Systemd::at(&bus.address), calls, connection, bus }
}
