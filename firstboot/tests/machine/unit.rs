//! What is asked of units, and done to them.

use crate::systemd::{Case, Properties, Service, WELL, case, running, state};
use firstboot::unit::Systemd;
use profiles::act::Verb;
use profiles::ask::Unit;
use std::time::Duration;

async fn service(unit: Properties, service: Service) -> Case {
    case("web_2eservice", unit, service).await
}

#[tokio::test]
async fn a_running_service_is_told_as_systemd_tells_it() {
    let case = service(running(), WELL).await;
    let word = |text: &str| text.to_owned();
    let (load, active, file, result) = (word("loaded"), word("active"), word("enabled"), word("success"));
    let wanted = Unit { load, active, file, result, job: false, condition: true, finished: false, stale: false };
    assert_eq!(case.systemd.unit("web.service").await.unwrap(), wanted);
}

#[tokio::test]
async fn jobs_failures_and_changed_files_are_seen() {
    let failed = Service { result: "exit-code", code: 1, exit: 20 };
    let case = service(Properties { active: state("failed"), job: 7, stale: true, ..running() }, failed).await;
    let unit = case.systemd.unit("web.service").await.unwrap();
    assert_eq!((unit.active.as_str(), unit.result.as_str()), ("failed", "exit-code"));
    assert_eq!((unit.job, unit.stale, unit.finished), (true, true, false));
}

#[tokio::test]
async fn a_unit_that_is_no_service_has_no_result() {
    let case =
        case("up_2etarget", Properties { load: "not-found", active: state("inactive"), ..running() }, WELL).await;
    let unit = case.systemd.unit("up.target").await.unwrap();
    assert_eq!((unit.load.as_str(), unit.result.as_str()), ("not-found", ""));
}

#[tokio::test]
async fn only_a_service_that_came_to_its_own_end_is_finished() {
    let cases = [
        ("a oneshot that is done", 0, Service { result: "success", code: 1, exit: 20 }, true),
        ("a daemon that exited by itself", 21, Service { result: "success", code: 1, exit: 20 }, true),
        ("a daemon that was stopped and exited", 19, Service { result: "success", code: 1, exit: 20 }, false),
        ("a daemon that was stopped by a signal", 19, Service { result: "success", code: 2, exit: 20 }, false),
        ("a oneshot that failed", 0, Service { result: "exit-code", code: 1, exit: 20 }, false),
        ("one that was never started", 0, WELL, false),
    ];
    for (what, left, ended, finished) in cases {
        let case = service(Properties { active: state("inactive"), left, ..running() }, ended).await;
        assert_eq!(case.systemd.unit("web.service").await.unwrap().finished, finished, "{what}");
    }
}

#[tokio::test]
async fn conditions_that_were_never_looked_at_do_not_count_as_unmet() {
    for (condition, met) in [((false, 0), true), ((false, 9), false), ((true, 9), true)] {
        let case = service(Properties { active: state("inactive"), condition, ..running() }, WELL).await;
        assert_eq!(case.systemd.unit("web.service").await.unwrap().condition, met, "{condition:?}");
    }
}

#[tokio::test]
async fn each_verb_is_one_call_and_enabling_reads_the_units_again() {
    let case = service(running(), WELL).await;
    for verb in [Verb::Enable, Verb::Disable, Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload] {
        case.systemd.drive("web.service", verb).await.unwrap();
    }
    let wanted = [
        "enable web.service false false",
        "reload",
        "disable web.service false",
        "reload",
        "start web.service replace",
        "stop web.service replace",
        "restart web.service replace",
        "reload",
    ];
    assert_eq!(*case.calls.lock().unwrap(), wanted);
}

#[tokio::test]
async fn what_systemd_refuses_is_told_with_its_own_words() {
    let case = service(running(), WELL).await;
    let error = case.systemd.drive("masked.service", Verb::Start).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with("asking systemd to start masked.service: "), "{text}");
    assert!(text.contains("Unit masked.service is masked."), "{text}");
}

#[tokio::test]
async fn without_a_bus_the_error_says_so() {
    let error = Systemd::at("unix:path=/nonexistent/bus").unit("web.service").await.unwrap_err();
    assert!(format!("{error:#}").contains("connecting to the system bus"), "{error:#}");
}

#[tokio::test]
async fn a_file_that_changed_after_the_start_is_outdated_and_an_older_or_future_one_is_not() {
    let up = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap());
    let before = |seconds: u64| (up - Duration::from_secs(seconds)).as_micros() as u64;
    let file = tempfile::NamedTempFile::new().unwrap();
    let now = std::time::SystemTime::now();
    let cases =
        [("active", 0, 5, true), ("active", 60, 5, false), ("active", -3600, 5, false), ("inactive", 0, 5, false)];
    for (active, age, started, outdated) in cases {
        let case = service(Properties { active: state(active), entered: before(started), ..running() }, WELL).await;
        let changed = match u64::try_from(age) {
            Ok(age) => now - Duration::from_secs(age),
            Err(_) => now + Duration::from_secs(i64::unsigned_abs(age)),
        };
        file.as_file().set_modified(changed).unwrap();
        let told = case.systemd.outdated("web.service", file.path()).await.unwrap();
        assert_eq!(told, outdated, "{active}, changed {age} s ago, started {started} s ago");
        assert!(!case.systemd.outdated("web.service", std::path::Path::new("/nonexistent")).await.unwrap());
    }
}

#[tokio::test]
async fn a_unit_is_held_once_so_that_systemd_does_not_forget_how_it_ended() {
    let case = service(running(), WELL).await;
    for _ in 0..3 {
        case.systemd.unit("web.service").await.unwrap();
    }
    assert_eq!(*case.calls.lock().unwrap(), ["ref web.service"]);
    let case = service(Properties { load: "not-found", ..running() }, WELL).await;
    assert_eq!(case.systemd.unit("web.service").await.unwrap().load, "not-found");
    assert!(case.calls.lock().unwrap().is_empty(), "systemd refuses to hold what is not there");
}
