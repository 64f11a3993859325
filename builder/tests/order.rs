//! The order in which packages are unpacked and configured.

#[expect(dead_code, reason = "these packages hold no files")]
mod made;

use builder::tree::deb::Deb;
use builder::tree::order::Order;
use made::Made;

/// Each package as (name, more control fields); the answer by names.
fn order(packages: &[(&str, &str)]) -> anyhow::Result<(String, Vec<String>)> {
    let folder = tempfile::tempdir()?;
    let path = |(name, more): &(&str, &str)| Made::new(name, more).write(folder.path(), name);
    let debs = packages.iter().map(|made| Deb::open(&path(made))).collect::<anyhow::Result<Vec<_>>>()?;
    let order = Order::of(&debs)?;
    let names = |set: &Vec<usize>| set.iter().map(|at| debs[*at].name()).collect::<Vec<_>>().join(" ");
    Ok((names(&order.core), order.rounds.iter().map(names).collect()))
}

#[test]
fn the_core_is_the_essential_packages_and_all_that_they_need() {
    let (core, rounds) = order(&[
        ("zlib", ""),
        ("shell", "Essential: yes\nPre-Depends: libc (>= 2)\nDepends: awk | other:any\n"),
        ("libc", "Depends: zlib\n"),
        ("mawk", "Provides: awk (= 1)\n"),
        ("other", ""),
    ])
    .expect("an order");
    assert_eq!((core.as_str(), rounds), ("libc mawk shell zlib", vec!["other".to_owned()]));
}

#[test]
fn what_others_pre_depend_on_comes_in_an_earlier_round_with_all_that_it_needs() {
    let (_, rounds) = order(&[
        ("shell", "Essential: yes\n"),
        ("late", "Pre-Depends: shell, middle\n"),
        ("middle", "Pre-Depends: early\nDepends: helper\n"),
        ("early", ""),
        ("helper", ""),
        ("plain", "Depends: late\n"),
    ])
    .expect("an order");
    assert_eq!(rounds, ["early", "helper middle", "late plain"]);
}

#[test]
fn packages_that_pre_depend_on_each_other_are_refused() {
    let circle = [("one", "Pre-Depends: two\n"), ("two", "Pre-Depends: one\n")];
    let said = format!("{:#}", order(&circle).expect_err("a circle"));
    assert!(said.contains("one") && said.contains("circle"), "{said}");
}

#[test]
fn a_package_given_twice_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = [Made::new("one", "").write(folder.path(), "a"), Made::new("one", "").write(folder.path(), "b")];
    let debs: Vec<Deb> = paths.iter().map(|path| Deb::open(path).expect("a package")).collect();
    let said = format!("{:#}", Order::of(&debs).expect_err("twice"));
    assert!(said.contains("a.deb") && said.contains("b.deb"), "{said}");
}
