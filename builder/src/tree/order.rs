//! In which order packages are unpacked and configured.
//!
//! Debian promises a maintainer script little: `preinst` may rely on essential packages and on its Pre-Depends,
//! configured. All else may be unpacked at once and configured later. So there is a core, which is unpacked with no
//! script run, and then rounds: what others of a later round pre-depend on comes in an earlier one.
//!
//! Above that there are strata, each with all that its packages need in it or in those before: what is configured up to
//! the end of one is kept, and shared by all trees that begin with the same. What changes seldom or is shared by many
//! comes first:
//! ```text
//! core | what boots: of the base profile, of others | the rest of the base profile | of others: large packages, small ones
//! ```
//! What boots comes early, so that the initramfs can be made beside the rest.
//!
//! The strata follow from the packages alone. So a tree is the same whether what is kept is used or not.

use crate::tree::deb::Deb;
use anyhow::{Result, ensure};
use std::collections::{BTreeSet, HashMap};

/// Positions of packages in the list that was given, each in exactly one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// The first has the essential packages and all that they need, in one round.
    pub strata: Vec<Stratum>,
}

/// Packages that are configured before all of the next stratum.
#[derive(Debug, PartialEq, Eq)]
pub struct Stratum {
    /// Each round, sorted by name, is configured before the next is unpacked.
    pub rounds: Vec<Vec<usize>>,
    /// Whether one of them has a part in the initramfs.
    pub boots: bool,
}

/// Packages of at least this size when installed (KiB) are large. To add a small one, only the small ones have to be
/// configured again.
const LARGE: u64 = 4096;

struct Relations {
    pre: Vec<Vec<Clause>>,
    all: Vec<Vec<Clause>>,
    providers: HashMap<String, Vec<usize>>,
}

/// Packages that satisfy one clause of a dependency: any one of them does.
type Clause = Vec<String>;
type Set = BTreeSet<usize>;

impl Order {
    /// Orders packages by their control files; `first` are those that the base profile asks for. Fails if a package is
    /// given twice, or needs itself before it is there.
    pub fn of(debs: &[Deb], first: &BTreeSet<String>) -> Result<Order> {
        let relations = Relations::of(debs)?;
        let all: Set = (0..debs.len()).collect();
        let those = |is: &dyn Fn(&Deb) -> bool| all.iter().copied().filter(|at| is(&debs[*at])).collect::<Set>();
        let core = relations.closure(&those(&|deb| deb.field("Essential") == "yes"));
        let base = relations.closure(&those(&|deb| first.contains(deb.name())));
        let boots = those(&Deb::boots);
        let large = those(&|deb| deb.installed_size() >= LARGE);
        let kinds = [&boots & &base, boots, base, large, all];
        let mut strata = vec![Stratum { rounds: vec![sorted(&core, debs)], boots: false }];
        let mut there = core;
        for kind in kinds {
            let set: Set = relations.closure(&kind).difference(&there).copied().collect();
            if set.is_empty() {
                continue;
            }
            let rounds = relations.rounds(set.clone(), debs)?;
            strata.push(Stratum {
                boots: set.iter().any(|at| debs[*at].boots()),
                rounds: rounds.iter().map(|round| sorted(round, debs)).collect(),
            });
            there.extend(set);
        }
        Ok(Order { strata })
    }
}

impl Stratum {
    /// All of its packages, in the order of its rounds.
    pub fn packages(&self) -> impl Iterator<Item = usize> + '_ {
        self.rounds.iter().flatten().copied()
    }
}

fn sorted(set: &Set, debs: &[Deb]) -> Vec<usize> {
    let mut list: Vec<usize> = set.iter().copied().collect();
    list.sort_by_key(|at| debs[*at].name());
    list
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
