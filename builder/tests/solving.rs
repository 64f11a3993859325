//! Debian's rules on small archives, and what is said when they cannot be kept.

use builder::archive::index::{Index, Names};
use builder::archive::package::Why;
use builder::archive::solve::{Wanted, solve};
use builder::archive::universe::Universe;

/// An index from paragraphs such as `a 1.0; Depends: b; Essential: yes`.
fn index(packages: &[&str]) -> Index {
    let mut text = String::new();
    for package in packages {
        let (head, fields) = package.split_once(';').unwrap_or((package, ""));
        let (name, version) = head.split_once(' ').unwrap();
        text += &format!("Package: {name}\nVersion: {version}\nFilename: x\nSize: 1\nSHA256: {}\n", "0".repeat(64));
        for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            text += &format!("{field}\n");
        }
        text += if fields.contains("Architecture:") { "\n" } else { "Architecture: amd64\n\n" };
    }
    Index { text, suite: 0 }
}

fn with<T>(
    packages: &[&str],
    wanted: &str,
    look: impl FnOnce(&Universe, anyhow::Result<Vec<(String, Why)>>) -> T,
) -> T {
    let index = index(packages);
    let universe = Universe::new(index.entries(&mut Names::default()).unwrap(), &[500]).unwrap();
    let wanted: Vec<Wanted> = wanted
        .split_whitespace()
        .map(|name| Wanted { name: name.to_owned(), by: format!("profile {name}-maker") })
        .collect();
    let solved = solve(&universe, &wanted)
        .map(|chosen| chosen.into_iter().map(|c| (universe.entry(c.place).name.to_owned(), c.why)).collect());
    look(&universe, solved)
}

fn names(packages: &[&str], wanted: &str) -> String {
    with(packages, wanted, |_, solved| solved.unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" "))
}

fn refusal(packages: &[&str], wanted: &str) -> String {
    with(packages, wanted, |_, solved| format!("{:#}", solved.unwrap_err()))
}

#[test]
fn essential_packages_are_always_in() {
    assert_eq!(names(&["base 1; Essential: yes; Pre-Depends: libc", "libc 2", "other 1"], ""), "base libc");
}

#[test]
fn the_first_alternative_that_can_be_had_is_taken() {
    assert_eq!(names(&["a 1; Depends: b | c", "b 1", "c 1"], "a"), "a b");
    assert_eq!(names(&["a 1; Depends: b (>= 2) | c", "b 1", "c 1"], "a"), "a c");
    assert_eq!(names(&["a 1; Depends: b | c", "b 1; Depends: nothing", "c 1"], "a"), "a c");
}

#[test]
fn an_alternative_that_is_there_anyway_is_enough() {
    assert_eq!(names(&["a 1; Depends: b | c", "b 1", "c 1"], "a c"), "a c");
}

#[test]
fn a_rival_of_what_is_asked_for_is_not_taken() {
    let packages =
        ["a 1; Depends: mta-b | mail", "mta-b 1; Provides: mail; Conflicts: mail", "mta-c 1; Provides: mail"];
    assert_eq!(names(&packages, "a mta-c"), "a mta-c");
}

#[test]
fn a_choice_that_turns_out_wrong_is_taken_back() {
    let packages = ["a 1; Depends: x | y, z", "x 1; Conflicts: z", "y 1", "z 1; Depends: y"];
    assert_eq!(names(&packages, "a"), "a y z");
}

#[test]
fn providers_count_by_importance() {
    let packages =
        ["a 1; Depends: v", "one 1; Provides: v; Priority: optional", "two 1; Provides: v; Priority: standard"];
    assert_eq!(names(&packages, "a"), "a two");
    let real = ["a 1; Depends: v", "v 1; Priority: extra", "two 1; Provides: v; Priority: required"];
    assert_eq!(names(&real, "a"), "a v");
}

#[test]
fn a_versioned_need_is_met_by_a_versioned_provider_only() {
    let packages = ["a 1; Depends: v (>= 2)", "old 9; Provides: v", "new 1; Provides: v (= 2.1)"];
    assert_eq!(names(&packages, "a"), "a new");
}

#[test]
fn breaks_bind_by_version() {
    let packages = ["a 1; Depends: b | c; Breaks: b (<< 2)", "b 1", "c 1"];
    assert_eq!(names(&packages, "a"), "a c");
    assert_eq!(names(&["a 1; Depends: b; Breaks: b (<< 1)", "b 1"], "a"), "a b");
}

#[test]
fn a_package_may_conflict_with_what_it_provides() {
    assert_eq!(names(&["a 1; Provides: v; Conflicts: v"], "a"), "a");
}

#[test]
fn any_architecture_needs_the_other_side_to_allow_it() {
    assert_eq!(names(&["a 1; Depends: p:any", "p 1; Multi-Arch: allowed"], "a"), "a p");
    assert!(refusal(&["a 1; Depends: p:any", "p 1"], "a").contains("needs p:any, but there is only p 1"));
    assert!(refusal(&["a 1; Depends: p:i386", "p 1"], "a").contains("p:i386"));
}

#[test]
fn cycles_are_no_trouble() {
    assert_eq!(names(&["a 1; Depends: b", "b 1; Depends: a"], "b"), "a b");
}

#[test]
fn recommendations_are_not_followed() {
    assert_eq!(names(&["a 1; Recommends: b", "b 1"], "a"), "a");
}

#[test]
fn everything_chosen_says_why() {
    let packages = ["base 1; Essential: yes", "a 1; Depends: b (>= 0) | c", "b 1", "c 1"];
    let whys = with(&packages, "a", |_, solved| solved.unwrap());
    let needed = Why::Needed { by: "a".into(), relation: "b (>= 0)".into() };
    let asked = Why::Asked(vec!["profile a-maker".into()]);
    assert_eq!(whys, [("a".into(), asked), ("b".into(), needed), ("base".into(), Why::Essential)]);
}

#[test]
fn a_name_that_does_not_exist_says_who_asks_and_what_is_near() {
    let refusal = refusal(&["nginx-light 1", "bash 1"], "ngnix-light");
    assert!(refusal.contains("profile ngnix-light-maker asks for the package \"ngnix-light\""), "{refusal}");
    assert!(refusal.contains("did you mean nginx-light?"), "{refusal}");
}

#[test]
fn all_wrong_names_are_said_at_once() {
    let refusal = refusal(&["a 1"], "xxxxx yyyyy");
    assert!(refusal.contains("xxxxx") && refusal.contains("yyyyy"), "{refusal}");
}

#[test]
fn a_virtual_name_means_its_only_provider() {
    assert_eq!(names(&["a 1; Provides: v"], "v"), "a");
    let refusal = refusal(&["a 1; Provides: v", "b 1; Provides: v"], "v");
    assert!(refusal.contains("ask for one of a, b"), "{refusal}");
}

#[test]
fn a_need_that_cannot_be_met_is_told_as_a_chain() {
    let refusal = refusal(&["a 1; Depends: b", "b 2; Depends: c (>= 3) | d", "c 1"], "a");
    let chain = "  a 1 (asked for by profile a-maker)\n    needs b: b 2\n      \
                 needs c (>= 3) | d, but there is only c 1; nothing provides \"d\"";
    assert!(refusal.contains(chain), "{refusal}");
}

#[test]
fn a_clash_names_both_sides() {
    let refusal = refusal(&["a 1; Depends: x", "x 1; Conflicts: y (<< 9)", "b 1; Depends: y", "y 5"], "a b");
    for part in ["a 1 (asked for by profile a-maker)", "needs x: x 1", "b 1 (asked for by", "needs y: y 5"] {
        assert!(refusal.contains(part), "wanted {part:?} in: {refusal}");
    }
    assert!(refusal.contains("cannot be installed with y 5 (Conflicts: y (<< 9))"), "{refusal}");
}

#[test]
fn a_broken_relation_is_said_with_its_package() {
    let refusal = refusal(&["a 1; Depends: b (>> )", "b 1"], "a");
    assert!(refusal.contains("a") && refusal.contains("(>> )"), "{refusal}");
}
