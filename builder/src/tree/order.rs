//! In which order packages are unpacked and configured.
//!
//! Debian promises a maintainer script little: `preinst` may rely on essential packages and on its Pre-Depends,
//! configured. All else may be unpacked at once and configured later. So there is a core, which is unpacked with no
//! script run, and then rounds: what others of a later round pre-depend on comes in an earlier one.

use crate::tree::deb::Deb;
use anyhow::{Result, ensure};
use std::collections::{BTreeSet, HashMap};

/// Positions of packages in the list that was given, each in exactly one place, sorted by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// The essential packages and all that they need.
    pub core: Vec<usize>,
    /// The others; each round is configured before the next is unpacked.
    pub rounds: Vec<Vec<usize>>,
}

struct Relations {
    pre: Vec<Vec<Clause>>,
    all: Vec<Vec<Clause>>,
    providers: HashMap<String, Vec<usize>>,
}

/// Packages that satisfy one clause of a dependency: any one of them does.
type Clause = Vec<String>;
type Set = BTreeSet<usize>;

impl Order {
    /// Orders packages by their control files. Fails if a package is given twice, or needs itself before it is there.
    pub fn of(debs: &[Deb]) -> Result<Order> {
        let relations = Relations::of(debs)?;
        let essential = (0..debs.len()).filter(|at| debs[*at].field("Essential") == "yes").collect();
        let core = relations.closure(&essential);
        let rest = (0..debs.len()).filter(|at| !core.contains(at)).collect();
        let sorted = |set: Set| {
            let mut list: Vec<usize> = set.into_iter().collect();
            list.sort_by_key(|at| debs[*at].name());
            list
        };
        let rounds = relations.rounds(rest, debs)?;
        Ok(Order { core: sorted(core), rounds: rounds.into_iter().map(sorted).collect() })
    }
}

impl Relations {
    fn of(debs: &[Deb]) -> Result<Relations> {
        let mut providers: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, deb) in debs.iter().enumerate() {
            let others = providers.entry(deb.name().to_owned()).or_default();
            let other = others.first().map(|other| debs[*other].path.display());
            ensure!(others.is_empty(), "{} and {} are the same package", deb.path.display(), other.expect("one"));
            others.push(at);
        }
        for (at, deb) in debs.iter().enumerate() {
            for name in clauses(deb.field("Provides")).into_iter().flatten() {
                // A real package of that name is what is meant first.
                providers.entry(name).or_default().push(at);
            }
        }
        let pre: Vec<_> = debs.iter().map(|deb| clauses(deb.field("Pre-Depends"))).collect();
        let all = debs.iter().zip(&pre).map(|(deb, pre)| [pre.clone(), clauses(deb.field("Depends"))].concat());
        Ok(Relations { all: all.collect(), pre, providers })
    }

    /// `set` and all that its members need, as far as it was given.
    fn closure(&self, set: &Set) -> Set {
        let mut closed = Set::new();
        let mut open: Vec<usize> = set.iter().copied().collect();
        while let Some(at) = open.pop() {
            if closed.insert(at) {
                open.extend(self.all[at].iter().flat_map(|clause| self.meant(clause)));
            }
        }
        closed
    }

    /// Who satisfies a clause: the first alternative that was given.
    fn meant(&self, clause: &Clause) -> Vec<usize> {
        clause.iter().find_map(|name| self.providers.get(name)).cloned().unwrap_or_default()
    }

    fn rounds(&self, set: Set, debs: &[Deb]) -> Result<Vec<Set>> {
        if set.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = set.iter().flat_map(|at| &self.pre[*at]).flat_map(|clause| self.meant(clause)).collect();
        let early: Set = self.closure(&wanted).intersection(&set).copied().collect();
        let name = || debs[*set.first().expect("not empty")].name();
        ensure!(early != set, "{} and others pre-depend on each other in a circle", name());
        let mut rounds = self.rounds(early.clone(), debs)?;
        rounds.push(set.difference(&early).copied().collect());
        Ok(rounds)
    }
}

/// The names in a relation field: `a (>= 1) | b, c:any` is `[[a, b], [c]]`.
fn clauses(field: &str) -> Vec<Clause> {
    let name = |text: &str| {
        let end = text.find(|c: char| c.is_whitespace() || "(:[<".contains(c)).unwrap_or(text.len());
        text[..end].to_owned()
    };
    let clause = |text: &str| text.split('|').map(str::trim).map(name).collect();
    field.split(',').map(str::trim).filter(|text| !text.is_empty()).map(clause).collect()
}
