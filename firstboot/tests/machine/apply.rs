//! Passes over real files.

use crate::parts::{Made, apply, apply_agreed, file, looks, puts, run, spec};
use firstboot::apply::Agreed;
use profiles::act::{Act, Step};
use profiles::ask::Ask;
use profiles::facts::Facts;
use profiles::part::Part;
use profiles::plan::{Verdict, plan};
use std::os::unix::fs::MetadataExt;
use tempfile::tempdir;

#[tokio::test]
async fn steps_are_done_in_order_and_a_second_pass_does_nothing() {
    let root = tempdir().unwrap();
    let wanted = || vec![file("/a/one", "1"), file("/a/two", "2")];
    let parts = [puts("second", &["first"], vec![file("/three", "3")]), puts("first", &[], wanted())];
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.plan.ready() && outcome.failure.is_none(), "{outcome:?}");
    let heard: Vec<&str> = heard.iter().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(heard, ["first: put /a/one", "first: put /a/two", "second: put /three"]);
    assert_eq!(outcome.done.len(), 3);

    let state = |path: &str| {
        fs_err::metadata(root.path().join(path)).map(|m| (m.ino(), m.mtime_nsec(), m.ctime_nsec())).unwrap()
    };
    let before = ["a/one", "a/two", "three", "a", ""].map(state);
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.plan.ready() && outcome.done.is_empty() && heard.is_empty());
    assert_eq!(["a/one", "a/two", "three", "a", ""].map(state), before, "an idle pass wrote");
}

#[tokio::test]
async fn one_refusal_stops_all_before_the_first_step() {
    let root = tempdir().unwrap();
    let refuse = |_: Option<&_>| Verdict::refuse("a disk with data", "a blank one", "erase it");
    let parts = [puts("willing", &[], vec![file("/f", "")]), looks("unwilling", "/x", refuse)];
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.plan.refused() && outcome.failure.is_none());
    assert_eq!((heard.len(), fs_err::read_dir(root.path()).unwrap().count()), (0, 0));
}

#[tokio::test]
async fn a_refusal_in_the_middle_ends_the_pass_and_is_reported() {
    let root = tempdir().unwrap();
    let plan = |file: Option<&_>| if file.is_some() { Verdict::refuse("it", "another", "that") } else { Verdict::Done };
    let parts = [
        puts("maker", &[], vec![file("/x", "")]),
        looks("unwilling", "/x", plan),
        puts("later", &[], vec![file("/later", "")]),
    ];
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.plan.refused() && outcome.failure.is_none());
    assert_eq!((heard.len(), outcome.done.len(), root.path().join("later").exists()), (1, 1, false));
}

#[tokio::test]
async fn a_failed_step_ends_the_pass_and_is_told() {
    let root = tempdir().unwrap();
    let fails = |_: Option<&_>| run(&["sh", "-c", "echo no space left >&2; exit 5"]);
    let parts = [looks("failing", "/x", fails), puts("later", &[], vec![file("/f", "")])];
    let (outcome, heard) = apply(root.path(), &parts).await;
    let failure = outcome.failure.unwrap();
    assert!(failure.starts_with("failing: run sh -c "), "{failure}");
    assert!(failure.ends_with("ended with 5: no space left"), "{failure}");
    assert!(heard[1].ends_with("no space left"), "{heard:?}");
    assert!(outcome.done.is_empty() && !root.path().join("f").exists());
}

#[tokio::test]
async fn the_same_plan_after_a_step_is_stuck_and_says_what_did_not_change() {
    let root = tempdir().unwrap();
    let parts = [looks("idle", "/x", |_| run(&["true"]))];
    let (outcome, heard) = apply(root.path(), &parts).await;
    let failure = outcome.failure.unwrap();
    assert_eq!(
        failure,
        "idle is stuck: \"run true\" was done, and its plan is the same as before. Not changed: there is no /x"
    );
    assert_eq!((heard.len(), outcome.done.len()), (1, 1));
}

#[tokio::test]
async fn a_plan_that_comes_back_after_others_is_stuck_too() {
    let root = tempdir().unwrap();
    let path = root.path().join("x").display().to_string();
    let plan = |file: Option<&_>| if file.is_some() { run(&["rm", &path]) } else { run(&["touch", &path]) };
    let (outcome, heard) = apply(root.path(), &[looks("turning", "/x", plan)]).await;
    assert!(outcome.failure.unwrap().starts_with("turning is stuck"));
    assert_eq!(heard.len(), 2);
}

#[tokio::test]
async fn parts_that_undo_each_other_are_not_gone_through_for_ever() {
    let root = tempdir().unwrap();
    let parts = [puts("one", &[], vec![file("/x", "1")]), puts("two", &[], vec![file("/x", "2")])];
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.failure.unwrap().contains("undo each other"));
    assert_eq!(heard.len(), 16);
}

#[tokio::test]
async fn plans_that_never_end_are_ended() {
    let root = tempdir().unwrap();
    let path = root.path().join("x").display().to_string();
    let script = format!("echo >> {path}");
    let grow = |file: Option<&profiles::file::File>| {
        let why = format!("{} lines", file.map_or(0, |file| file.content.len()));
        Verdict::Do(vec![Step::new(Act::run(&["sh", "-c", &script]), why)])
    };
    let (outcome, _) = apply(root.path(), &[looks("growing", "/x", grow)]).await;
    assert_eq!(outcome.failure.unwrap(), "growing: 200 steps, and no end");
}

#[tokio::test]
async fn a_part_waits_for_those_it_comes_after_and_not_for_those_that_are_not_there() {
    let root = tempdir().unwrap();
    let waits = |_: Option<&_>| Verdict::Wait("for its peer".to_owned());
    let parts = [
        looks("slow", "/x", waits),
        puts("needs slow", &["slow"], vec![file("/a", "")]),
        puts("needs nobody", &["absent"], vec![file("/b", "")]),
    ];
    let (outcome, heard) = apply(root.path(), &parts).await;
    assert!(outcome.failure.is_none() && !outcome.plan.ready());
    assert_eq!(heard.len(), 1);
    assert!(heard[0].starts_with("needs nobody"), "{heard:?}");
    assert!(matches!(outcome.plan.0[1].verdict, Verdict::Do(_)), "what is left is told");
}

#[tokio::test]
async fn a_part_before_the_one_that_acted_is_looked_at_again() {
    let root = tempdir().unwrap();
    let path = root.path().join("copy").display().to_string();
    let source = root.path().join("x").display().to_string();
    let early = Made {
        name: "copy",
        after: Vec::new(),
        asks: || vec![Ask::File("/x".to_owned()), Ask::File("/copy".to_owned())],
        plan: |facts: &Facts| match (facts.file("/x"), facts.file("/copy")) {
            (Some(_), None) => run(&["cp", &source, &path]),
            _ => Verdict::Done,
        },
    };
    let (outcome, heard) = apply(root.path(), &[Box::new(early), puts("maker", &[], vec![file("/x", "new")])]).await;
    assert!(outcome.plan.ready(), "{outcome:?}");
    assert_eq!(heard.len(), 2);
    assert_eq!(fs_err::read_to_string(path).unwrap(), "new");
}

#[tokio::test]
async fn a_question_without_an_answer_is_told_and_asked_only_once() {
    let root = tempdir().unwrap();
    let asks = || vec![Ask::Unit("web.service".to_owned())];
    let plan = |facts: &Facts| match facts.unit("web.service") {
        None => Verdict::Wait("systemd does not answer".to_owned()),
        Some(_) => Verdict::Done,
    };
    let part = Made { name: "web", after: Vec::new(), asks, plan };
    let (outcome, _) = apply(root.path(), &[Box::new(part)]).await;
    assert!(!outcome.plan.ready() && outcome.failure.is_none());
    assert_eq!(outcome.seen.unanswered.len(), 1);
    assert!(outcome.seen.unanswered[0].starts_with("asking systemd about web.service: connecting to the system bus"));
}

/// A Part that erases `device` by putting a file, as long as that is not there.
fn erases<'a>(name: &'static str, path: &'static str, device: &'static str) -> Box<dyn Part + 'a> {
    looks(name, path, move |seen| match seen {
        Some(_) => Verdict::Done,
        None => Verdict::Do(vec![Step::new(Act::Put(file(path, "")), "for the test").erases(device)]),
    })
}

#[tokio::test]
async fn a_plan_that_was_agreed_to_is_done_and_any_other_is_refused_before_its_first_step() {
    let root = tempdir().unwrap();
    let parts = [erases("one", "/a", "disk A"), erases("two", "/b", "disk B")];
    let hash = |parts: &[Box<dyn Part + '_>]| plan(&spec(), parts, &Facts::default()).hash(&spec());
    let other = hash(&parts[..1]);
    assert_ne!(other, hash(&parts));
    let (outcome, heard) = apply_agreed(root.path(), &parts, Agreed::Plan(other)).await;
    assert!(outcome.plan.refused() && heard.is_empty(), "{outcome:?}");
    assert!(outcome.plan.to_string().contains("REFUSED agreement: saw plan"), "{}", outcome.plan);
    let (outcome, heard) = apply_agreed(root.path(), &parts, Agreed::Plan(hash(&parts))).await;
    assert!(outcome.plan.ready() && heard.len() == 2, "{outcome:?}");
}

#[tokio::test]
async fn harm_that_was_not_in_the_plan_is_not_done_whenever_it_turns_up() {
    let root = tempdir().unwrap();
    let early = looks("early", "/a", |seen| match seen {
        Some(_) => Verdict::Done,
        None => Verdict::Do(vec![Step::new(Act::Put(file("/a", "")), "for the test")]),
    });
    // Once /a is there, it wants to erase something.
    let late = looks("late", "/a", |seen| match seen {
        None => Verdict::Done,
        Some(_) => Verdict::Do(vec![Step::new(Act::Put(file("/b", "")), "for the test").erases("disk B")]),
    });
    let parts = [early, late];
    let agreed = plan(&spec(), &parts, &Facts::default()).hash(&spec());
    let (outcome, _) = apply_agreed(root.path(), &parts, Agreed::Plan(agreed)).await;
    assert!(outcome.failure.is_some_and(|failure| failure.contains("was not in the plan")), "it was done");
    assert!(root.path().join("a").exists() && !root.path().join("b").exists());
    // What goes on later may do less, and no more.
    let (outcome, _) = apply_agreed(root.path(), &parts, outcome.agreed).await;
    assert!(outcome.plan.refused() && !root.path().join("b").exists());
}
