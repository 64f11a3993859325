//! The order in which packages are unpacked and configured.

#[expect(dead_code, reason = "these packages hold no files")]
mod made;

use builder::tree::deb::Deb;
use builder::tree::order::Order;
use made::Made;

/// Each package as (name, more control fields); the answer by names: strata, and in them rounds.
fn strata(packages: &[(&str, &str)], first: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
    let folder = tempfile::tempdir()?;
    let path = |(name, more): &(&str, &str)| Made::new(name, more).write(folder.path(), name);
    let debs = packages.iter().map(|made| Deb::open(&path(made))).collect::<anyhow::Result<Vec<_>>>()?;
    let order = Order::of(&debs, &first.iter().map(|name| name.to_string()).collect())?;
    let names = |set: &Vec<usize>| set.iter().map(|at| debs[*at].name()).collect::<Vec<_>>().join(" ");
    Ok(order.strata.iter().map(|stratum| stratum.rounds.iter().map(names).collect()).collect())
}

/// Where there is one stratum beside the core: the core, and that one's rounds.
fn order(packages: &[(&str, &str)]) -> anyhow::Result<(String, Vec<String>)> {
    let mut strata = strata(packages, &[])?;
    Ok((strata.remove(0).concat(), strata.concat()))
}

#[test]
fn what_many_share_and_what_changes_seldom_comes_in_an_earlier_stratum() {
    let packages = [
        ("shell", "Essential: yes\n"),
        ("linux-image-1", "Depends: modules\n"),
        ("modules", ""),
        ("ssh", "Depends: keys\n"),
        ("keys", ""),
        ("lvm2", ""),
        ("firmware", "Depends: tool\n"),
        ("database", "Installed-Size: 90000\nDepends: library\n"),
        ("library", ""),
        ("tool", ""),
        ("small", "Depends: tool, library\n"),
    ];
    let made = |(name, more): &(&str, &str)| match *name {
        "firmware" => Made::new(name, more).member("triggers", "activate-noawait update-initramfs\n"),
        _ => Made::new(name, more),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let debs: Vec<Deb> = packages
        .iter()
        .map(|package| Deb::open(&made(package).write(folder.path(), package.0)).expect("a package"))
        .collect();
    let first = ["ssh", "linux-image-1"].map(str::to_owned).into();
    let order = Order::of(&debs, &first).expect("an order");
    let names = |set: Vec<usize>| set.iter().map(|at| debs[*at].name()).collect::<Vec<_>>().join(" ");
    let strata: Vec<String> = order.strata.iter().map(|stratum| names(stratum.packages().collect())).collect();
    let wanted = ["shell", "linux-image-1 modules", "firmware tool", "keys ssh", "database library", "lvm2 small"];
    assert_eq!(strata, wanted);
    let boots: Vec<bool> = order.strata.iter().map(|stratum| stratum.boots).collect();
    assert_eq!(boots, [false, true, true, false, false, false]);
}

#[test]
fn a_small_package_more_changes_no_stratum_before_that_of_the_small() {
    let mut packages = vec![("shell", "Essential: yes\n"), ("database", "Installed-Size: 90000\n"), ("jq", "")];
    let before = strata(&packages, &[]).expect("an order");
    packages.push(("curl", ""));
    let after = strata(&packages, &[]).expect("an order");
    assert_eq!(before[..2], after[..2]);
    assert_eq!((before[2].concat().as_str(), after[2].concat().as_str()), ("jq", "curl jq"));
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
    let said = format!("{:#}", Order::of(&debs, &Default::default()).expect_err("twice"));
    assert!(said.contains("a.deb") && said.contains("b.deb"), "{said}");
}
