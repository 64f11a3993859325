//! The JSON that others read: a change here is a change for all who have a recording or read a report.

use profiles::act::{Act, Step, Verb};
use profiles::ask::{Answer, Ask, Consent, Probe, Ran, Signature, Slice, Table, Unit};
use profiles::facts::Facts;
use profiles::file::File;
use profiles::plan::{Line, Plan, Verdict};
use profiles::report::Report;
use serde_json::{Value, json};

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn facts_are_a_list_of_questions_with_answers_and_read_back_alike() {
    let mut facts = Facts::default();
    let ran = Ran { rc: 1, out: "out".to_owned(), err: "err".to_owned() };
    facts.note(Ask::run(&["id", "ana"]), Answer::Ran(ran));
    facts.note(Ask::File("/f".to_owned()), Answer::File(Some(File::new("/f", "text"))));
    facts.note(Ask::File("/g".to_owned()), Answer::File(None));
    let slice = Slice { number: 3, guid: "g".into(), kind: "k".into(), name: "root".into(), first: 2048, last: 4095 };
    let table =
        Table { guid: "d".into(), primary: true, sector: 512, sectors: 9000, backup: 8999, partitions: vec![slice] };
    facts.note(Ask::Gpt("/dev/vda".to_owned()), Answer::Gpt(Some(table)));
    let unit = Unit { load: "loaded".into(), active: "active".into(), condition: true, ..Unit::default() };
    facts.note(Ask::Unit("a.service".to_owned()), Answer::Unit(unit));
    let outdated = Ask::Outdated { unit: "a.service".to_owned(), path: "/f".to_owned() };
    facts.note(outdated, Answer::Outdated(false));
    let signature = Signature { offset: 1080, kind: "ext4".into(), uuid: Some("u".into()), label: None };
    let probe = Probe { signatures: vec![signature], blank: false };
    facts.note(Ask::Probe("/dev/vda".to_owned()), Answer::Probe(Some(probe)));
    facts.note(Ask::Probe("/dev/vdb".to_owned()), Answer::Probe(None));
    facts.note(Ask::Consent, Answer::Consent([Consent::Replace("bulk/3".to_owned())].into()));

    let wanted = json!([
        {"ask": {"run": ["id", "ana"]}, "answer": {"ran": {"rc": 1, "out": "out", "err": "err"}}},
        {"ask": {"file": "/f"}, "answer": {"file": {"path": "/f", "content": "text", "mode": 420, "owner": "root:root"}}},
        {"ask": {"file": "/g"}, "answer": {"file": null}},
        {"ask": {"gpt": "/dev/vda"}, "answer": {"gpt": {"guid": "d", "primary": true, "sector": 512, "sectors": 9000, "backup": 8999,
            "partitions": [{"number": 3, "guid": "g", "kind": "k", "name": "root", "first": 2048, "last": 4095}]}}},
        {"ask": {"unit": "a.service"}, "answer": {"unit": {"load": "loaded", "active": "active", "file": "", "result": "",
            "job": false, "condition": true, "finished": false, "stale": false}}},
        {"ask": {"outdated": {"unit": "a.service", "path": "/f"}}, "answer": {"outdated": false}},
        {"ask": {"probe": "/dev/vda"}, "answer": {"probe": {"signatures":
            [{"offset": 1080, "kind": "ext4", "uuid": "u", "label": null}], "blank": false}}},
        {"ask": {"probe": "/dev/vdb"}, "answer": {"probe": null}},
        {"ask": "consent", "answer": {"consent": [{"replace": "bulk/3"}]}},
    ]);
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(value(&text), wanted);
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
}

fn report() -> Report {
    let put = Step::new(Act::Put(File::new("/f", "text")), "it is missing");
    let restart = Step::new(Act::unit("a.service", Verb::Restart), "its file changed").interrupts("a");
    Report {
        plan: Plan(vec![
            Line { notes: vec!["all is well".to_owned()], ..Line::new("one", Verdict::Done) },
            Line::new("two", Verdict::Do(vec![restart])),
            Line::new("three", Verdict::Wait("for two".to_owned())),
            Line::new("four", Verdict::refuse("this", "that", "so")),
        ]),
        done: vec![put],
        failure: Some("two: it broke".to_owned()),
        ..Report::new(&crate::parts::spec(), "/usr/share/mimg/spec.json", "0.1.0")
    }
}

#[test]
fn a_report_names_all_verdicts_and_what_was_done_and_reads_back_alike() {
    let wanted = json!({
        "format": 1,
        "node": "ana",
        "profile": "test",
        "fleet": null,
        "spec": crate::parts::spec().digest(),
        "source": "/usr/share/mimg/spec.json",
        "ready": false,
        "hash": "",
        "plan": [
            {"part": "one", "verdict": "done", "notes": ["all is well"]},
            {"part": "two", "verdict": {"do": [{"act": {"unit": {"name": "a.service", "verb": "restart"}},
                "why": "its file changed", "harm": {"interrupts": "a"}}]}},
            {"part": "three", "verdict": {"wait": "for two"}},
            {"part": "four", "verdict": {"refuse": {"saw": "this", "wanted": "that", "cure": "so"}}},
        ],
        "done": [{"act": {"put": {"path": "/f", "content": "text", "mode": 420, "owner": "root:root"}},
            "why": "it is missing", "harm": "none"}],
        "failure": "two: it broke",
        "version": "0.1.0",
    });
    let text = firstboot::record::json(&report()).unwrap();
    assert_eq!(value(&text), wanted);
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
}

#[test]
fn the_notice_above_the_prompt_says_how_it_stands_why_and_where_to_read_more() {
    let notice = "ana (profile test): REFUSED\n\
                  WAITS   three: for two\n\
                  REFUSED four: saw this; wanted that; to go on: so\n\
                  FAILED  two: it broke\n\
                  More: firstboot status, journalctl -u firstboot\n\n";
    assert_eq!(firstboot::console::issue(&report()), notice);
    let ready = Report { plan: Plan::default(), failure: None, ready: true, ..report() };
    assert_eq!(firstboot::console::issue(&ready), "ana (profile test): ready\n\n");
}
