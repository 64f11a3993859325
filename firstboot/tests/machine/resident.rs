//! The resident mode as systemd sees it: a process, its notifications, its signals and its exit code.

use crate::systemd::{Case, Manager, Properties, WELL, case, running, state};
use firstboot::machine::Machine;
use firstboot::place::{ADOPTED, ISSUE, LABELS, READY, REPORT, SPEC};
use firstboot::unit::Systemd;
use firstboot::{file, record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getegid, geteuid};
use profiles::part::unit::Unit;
use profiles::report::Report;
use profiles::spec::Spec;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};
use zbus::object_server::SignalEmitter;

const ROOT: &str = "FIRSTBOOT_TEST_ROOT";
const BUS: &str = "FIRSTBOOT_TEST_BUS";
const NODE: &str = "ana";
/// Shorter than the 30 s after which firstboot looks again by itself: what came earlier came by an event.
const SOON: Duration = Duration::from_secs(20);

/// What the tests below start.
#[tokio::test]
#[ignore = "it is started by the tests below"]
async fn worker() {
    let variable = |name| std::env::var(name).expect("started by the tests below");
    let machine = Machine::new(variable(ROOT), Systemd::at(&variable(BUS)));
    let code = firstboot::resident::run(&machine).await.unwrap();
    std::process::exit(code.into());
}

fn spec(node: Option<&str>) -> Spec {
    Spec { node: node.map(str::to_owned), ..crate::parts::spec() }
}

fn web() -> Unit {
    Unit { name: "web.service".to_owned(), enable: true, start: None, text: None }
}

/// firstboot under way on a machine with a Spec, one unit and a notification socket.
struct Running {
    root: TempDir,
    socket: UnixDatagram,
    process: Child,
    case: Case,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    async fn start(spec: &Spec, unit: Properties) -> Self {
        let root = tempdir().unwrap();
        put(root.path(), SPEC, &spec.json());
        // Whoever runs the tests may give files to nobody but himself: he is this root's root.
        put(root.path(), "/etc/passwd", &format!("root:x:{}:0::/:\n", geteuid()));
        put(root.path(), "/etc/group", &format!("root:x:{}:\n", getegid()));
        // The kernel has the name already: a test must not name the machine that it runs on.
        put(root.path(), "/proc/sys/kernel/hostname", NODE);
        let case = case("web_2eservice", unit, WELL).await;
        let path = root.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "resident::worker", "--nocapture"]);
        command.env(ROOT, root.path()).env(BUS, &case.bus.address).env("NOTIFY_SOCKET", &path);
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Running { root, socket, process, case }
    }

    /// Waits for a notification that begins so.
    async fn notified(&self, start: &str) -> String {
        let mut heard = Vec::new();
        let deadline = Instant::now() + SOON;
        loop {
            let mut buffer = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
                if text.starts_with(start) {
                    return text;
                }
                heard.push(text);
            }
            assert!(Instant::now() < deadline, "no {start:?} among {heard:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until(&self, what: &str, there: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !there(self) {
            assert!(Instant::now() < deadline, "{what} did not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "firstboot did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn report(&self) -> Option<Report> {
        record::read(self.root.path(), REPORT).unwrap()
    }

    fn called(&self, call: &str) -> bool {
        self.case.calls.lock().unwrap().iter().any(|known| known == call)
    }
}

fn put(root: &Path, path: &str, text: &str) {
    file::replace(root, path, text.as_bytes(), 0o644, None).unwrap();
}

fn text(running: &Running, path: &str) -> String {
    let path: PathBuf = running.root.path().join(path.trim_start_matches('/'));
    fs_err::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn a_machine_that_is_done_says_ready_and_starts_the_target_after_the_file() {
    let running = Running::start(&spec(Some(NODE)), running()).await;
    assert_eq!(running.notified("STATUS=").await, "STATUS=ana (profile test): ready");
    running.notified("READY=1").await;
    running.until("the target", |running| running.called("start mimg-ready.target replace")).await;
    assert!(running.root.path().join(&READY[1..]).exists());
    assert!(running.report().is_some_and(|report| report.ready && report.code() == 0));
    assert_eq!(text(&running, ISSUE), "ana (profile test): ready\n\n");
}

#[tokio::test]
async fn a_refusal_ends_it_with_3_and_without_ready_and_is_shown() {
    let mut spec = spec(Some(NODE));
    spec.settings.packages.push("there-is-no-such-package".to_owned());
    let mut running = Running::start(&spec, running()).await;
    assert_eq!(running.ended().await.code(), Some(3));
    let status = running.notified("STATUS=").await;
    assert!(status.starts_with("STATUS=ana (profile test): REFUSED; REFUSED packages: saw"), "{status}");
    assert!(running.socket.recv(&mut [0; 64]).is_err(), "more was said after the refusal");
    assert!(text(&running, ISSUE).contains("to go on: build one with `mimg build --node ana`"));
    let mut shown = String::new();
    std::io::Read::read_to_string(&mut running.process.stderr.take().unwrap(), &mut shown).unwrap();
    assert!(shown.contains("REFUSED packages") && !running.root.path().join(&READY[1..]).exists(), "{shown}");
}

#[tokio::test]
async fn a_bare_image_is_ready_for_the_boot_and_goes_on_when_a_medium_comes() {
    let running = Running::start(&spec(None), running()).await;
    assert!(running.notified("STATUS=").await.starts_with("STATUS=no node yet (profile test): waiting; WAITS node"));
    running.notified("READY=1").await;
    assert!(!running.called("start mimg-ready.target replace"));
    // No medium can be mounted here: its Spec is there already, and the label that udev makes is what is noticed.
    put(running.root.path(), ADOPTED, &spec(Some(NODE)).json());
    fs_err::create_dir_all(running.root.path().join(&LABELS[1..])).unwrap();
    running.until("the node", |running| running.report().is_some_and(|report| report.ready)).await;
    assert_eq!(running.report().unwrap().node.as_deref(), Some(NODE));
    running.until("the target", |running| running.called("start mimg-ready.target replace")).await;
}

#[tokio::test]
async fn the_end_of_a_job_is_an_event() {
    let mut spec = spec(Some(NODE));
    spec.settings.unit.push(web());
    let active = state("activating");
    let running = Running::start(&spec, Properties { active: active.clone(), ..running() }).await;
    assert!(running.notified("STATUS=").await.contains("WAITS unit web.service"));
    running.notified("READY=1").await;
    *active.lock().unwrap() = "active";
    let emitter = SignalEmitter::new(&running.case.connection, "/org/freedesktop/systemd1").unwrap();
    let job = "/org/freedesktop/systemd1/job/1".try_into().unwrap();
    Manager::job_removed(&emitter, 1, job, "web.service", "done").await.unwrap();
    running.until("ready", |running| running.report().is_some_and(|report| report.ready)).await;
}

#[tokio::test]
async fn after_ready_drift_is_reported_and_not_undone() {
    let mut spec = spec(Some(NODE));
    spec.settings.unit.push(web());
    let active = state("active");
    let running = Running::start(&spec, Properties { active: active.clone(), ..running() }).await;
    running.until("the target", |running| running.called("start mimg-ready.target replace")).await;
    *active.lock().unwrap() = "inactive";
    kill(Pid::from_raw(running.process.id() as i32), Signal::SIGHUP).unwrap();
    running.until("drift", |running| running.report().is_some_and(|report| !report.ready)).await;
    assert!(running.report().unwrap().plan.to_string().contains("start web.service"));
    assert!(!running.called("start web.service replace"), "drift was undone without being asked");
}

#[tokio::test]
async fn a_flood_of_signals_while_a_pass_runs_holds_nothing_up() {
    let mut spec = spec(Some(NODE));
    spec.settings.unit.push(web());
    let running = Running::start(&spec, running()).await;
    let connection = running.case.connection.clone();
    let flood = tokio::spawn(async move {
        let emitter = SignalEmitter::new(&connection, "/org/freedesktop/systemd1").unwrap();
        // Many times what a queue of zbus' holds, as systemd sends when it reads all its units again.
        for _ in 0..5000 {
            let job = "/org/freedesktop/systemd1/job/2".try_into().unwrap();
            Manager::job_removed(&emitter, 2, job, "other.service", "done").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    running.until("ready", |running| running.report().is_some_and(|report| report.ready)).await;
    flood.await.unwrap();
}
