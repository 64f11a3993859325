//! Which packages an image needs: Debian's rules on top of a SAT solver.
//!
//! Every package name has one candidate, as in apt, so a variable of the solver is a package. What a package needs is a
//! list of packages, the preferred first; what it cannot stand is a list of packages that must stay out.

use crate::archive::Suite;
use crate::archive::explain;
use crate::archive::index::Entry;
use crate::archive::package::{Package, Why};
use crate::archive::relation::Relation;
use crate::archive::universe::Universe;
use crate::archive::walk::walk;
use anyhow::{Context, Result, bail};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, DenseIndex, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Display;

/// A package that somebody wants, such as `nginx-light` by `profile web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub by: String,
}

/// A package that was chosen, by its place in the universe.
pub struct Chosen {
    pub place: usize,
    pub why: Why,
}

/// The packages of an image, by name. Errors: a name that does not exist (with who asks and what is near), a virtual name
/// with several providers, and needs that cannot be met, with the chain that leads there.
pub fn solve(universe: &Universe, wanted: &[Wanted]) -> Result<Vec<Chosen>> {
    let asked = asked(universe, wanted)?;
    let essential = universe.essential().filter(|place| !asked.iter().any(|(other, _)| other == place));
    let roots: Vec<usize> = essential.chain(asked.iter().map(|(place, _)| *place)).collect();
    let as_apt = walk(universe, &roots)?.and_then(|chosen| agreed(universe, chosen));
    let places = match as_apt {
        Some(places) => places,
        None => resolve(universe, &roots, &asked)?,
    };
    reasons(universe, &asked, &roots, &places)
}

/// What apt's walk chose, if the solver agrees that it needs nothing more and clashes nowhere.
fn agreed(universe: &Universe, chosen: HashSet<usize>) -> Option<HashSet<usize>> {
    let mut all: Vec<usize> = chosen.iter().copied().collect();
    all.sort_unstable();
    let solution = solver(universe).solve(problem(&all)).ok()?;
    (solution.len() == all.len()).then_some(chosen)
}

/// The solver's own choice.
fn resolve(universe: &Universe, roots: &[usize], asked: &[(usize, Vec<String>)]) -> Result<HashSet<usize>> {
    let mut solver = solver(universe);
    let solution = match solver.solve(problem(roots)) {
        Ok(solution) => solution,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let graph = conflict.graph(&solver);
            let text = explain::text(universe, &graph, asked, |union| solver.provider().relation(union));
            bail!("the packages asked for cannot be installed together:\n{text}")
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => bail!("solving was cancelled"),
    };
    if let Some(error) = solver.provider().unions.borrow_mut().failure.take() {
        return Err(error);
    }
    Ok(solution.into_iter().map(DenseIndex::to_index).collect())
}

fn solver<'u, 'a>(universe: &'u Universe<'a>) -> Solver<Debian<'u, 'a>> {
    Solver::new(Debian { universe, unions: RefCell::default() })
}

fn problem(roots: &[usize]) -> Problem {
    Problem::new().requirements(roots.iter().map(|&place| Requirement::from(only(place)).into()).collect())
}

/// The places of what is wanted, in that order and once each, and who asks.
fn asked(universe: &Universe, wanted: &[Wanted]) -> Result<Vec<(usize, Vec<String>)>> {
    let mut asked: Vec<(usize, Vec<String>)> = Vec::new();
    let mut missing = Vec::new();
    for want in wanted {
        match find(universe, want) {
            Err(error) => missing.push(format!("{error:#}")),
            Ok(place) => match asked.iter_mut().find(|(other, _)| *other == place) {
                Some((_, by)) => by.push(want.by.clone()),
                None => asked.push((place, vec![want.by.clone()])),
            },
        }
    }
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Ok(asked)
}

fn find(universe: &Universe, want: &Wanted) -> Result<usize> {
    if let Some(place) = universe.place(&want.name) {
        return Ok(place);
    }
    let providers = universe.providers(&want.name);
    match providers[..] {
        [place] => Ok(place),
        [] => bail!(
            "{} asks for the package {:?}, which does not exist{}",
            want.by,
            want.name,
            near(universe, &want.name)
        ),
        _ => {
            let names: Vec<&str> = providers.iter().map(|&place| universe.entry(place).name).collect();
            bail!(
                "{} asks for {:?}, which several packages provide: ask for one of {}",
                want.by,
                want.name,
                names.join(", ")
            )
        }
    }
}

/// The names most like a wrong one.
fn near(universe: &Universe, wrong: &str) -> String {
    let mut scored: Vec<(f64, &str)> = universe
        .names()
        .map(|name| (strsim::jaro_winkler(wrong, name).max(strsim::normalized_damerau_levenshtein(wrong, name)), name))
        .filter(|(score, _)| *score > 0.85)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let names: Vec<&str> = scored.iter().take(3).map(|(_, name)| *name).collect();
    match names.is_empty() {
        true => ": is a component or a source missing?".to_owned(),
        false => format!(": did you mean {}?", names.join(", ")),
    }
}

/// Walks from the roots breadth first, so that each package is explained by the shortest chain.
fn reasons(
    universe: &Universe,
    asked: &[(usize, Vec<String>)],
    roots: &[usize],
    places: &HashSet<usize>,
) -> Result<Vec<Chosen>> {
    let mut why: HashMap<usize, Why> = HashMap::new();
    for &place in roots {
        let by = asked.iter().find(|(other, _)| *other == place).map(|(_, by)| by.clone());
        why.insert(place, by.map_or(Why::Essential, Why::Asked));
    }
    let mut queue: VecDeque<usize> = roots.iter().copied().collect();
    while let Some(place) = queue.pop_front() {
        let entry = universe.entry(place);
        for field in [&entry.pre_depends, &entry.depends] {
            for group in Relation::groups(field)? {
                if let Some((needed, relation)) = satisfied(universe, &group, places) {
                    why.entry(needed).or_insert_with(|| {
                        queue.push_back(needed);
                        Why::Needed { by: entry.name.to_owned(), relation }
                    });
                }
            }
        }
    }
    let by_name: BTreeMap<&str, usize> = places.iter().map(|&place| (universe.entry(place).name, place)).collect();
    let chosen = by_name.into_values().map(|place| {
        let why = why.remove(&place).with_context(|| format!("finding who needs {}", universe.entry(place).name))?;
        Ok(Chosen { place, why })
    });
    chosen.collect()
}

/// For each group of a package's dependencies, the chosen packages that meet it.
fn needs(universe: &Universe, entry: &Entry, chosen: &HashSet<usize>) -> Result<Vec<Vec<String>>> {
    let mut needs = Vec::new();
    for field in [&entry.pre_depends, &entry.depends] {
        for group in Relation::groups(field)? {
            let met = universe.alternatives(&group).into_iter().filter(|place| chosen.contains(place));
            needs.push(met.map(|place| universe.entry(place).name.to_owned()).collect());
        }
    }
    Ok(needs)
}

/// The first alternative of a group that is met, by whom, and as written.
fn satisfied(universe: &Universe, group: &[Relation], places: &HashSet<usize>) -> Option<(usize, String)> {
    group.iter().find_map(|relation| {
        let by = universe.satisfying(relation).into_iter().find(|place| places.contains(place))?;
        Some((by, relation.to_string()))
    })
}

impl Chosen {
    /// The package in full: one of `chosen`, which comes from `suite`.
    pub fn package(self, universe: &Universe, chosen: &HashSet<usize>, suite: &Suite) -> Result<Package> {
        let entry = universe.entry(self.place);
        Ok(Package {
            name: entry.name.to_owned(),
            version: entry.version.to_owned(),
            architecture: entry.architecture.to_owned(),
            size: entry.size,
            sha256: entry.sha256.to_owned(),
            path: entry.filename.to_owned(),
            urls: suite.uris.iter().map(|uri| format!("{uri}/{}", entry.filename)).collect(),
            suite: suite.suite.clone(),
            origin: suite.origin.clone(),
            essential: entry.essential,
            priority: entry.priority.name().to_owned(),
            control: format!("{}\n", entry.paragraph),
            needs: needs(universe, entry, chosen)?,
            why: self.why,
        })
    }
}

/// Debian's rules as the solver asks for them. A name and a solvable are both a package's place; a version set is twice
/// the place for "this package", and one more for "not this package".
struct Debian<'u, 'a> {
    universe: &'u Universe<'a>,
    unions: RefCell<Unions>,
}

/// The groups of alternatives met so far.
#[derive(Default)]
struct Unions {
    sets: Vec<(Vec<VersionSetId>, String)>,
    failure: Option<anyhow::Error>,
}

fn only(place: usize) -> VersionSetId {
    VersionSetId::from_index(2 * place)
}

fn not(place: usize) -> VersionSetId {
    VersionSetId::from_index(2 * place + 1)
}

/// The package that a version set is about.
pub fn about(set: VersionSetId) -> usize {
    set.to_index() / 2
}

impl Debian<'_, '_> {
    /// The group behind a union, as it was written.
    fn relation(&self, union: VersionSetUnionId) -> String {
        self.unions.borrow().sets[union.to_index()].1.clone()
    }

    fn rules(&self, place: usize) -> Result<KnownDependencies> {
        let entry = self.universe.entry(place);
        let mut rules = KnownDependencies::default();
        for field in [&entry.pre_depends, &entry.depends] {
            for group in Relation::groups(field).with_context(|| format!("in the dependencies of {}", entry.name))? {
                rules.requirements.push(self.requirement(&group));
            }
        }
        rules.constrains.extend(self.universe.rivals(place)?.into_iter().map(not));
        Ok(rules)
    }

    fn requirement(&self, group: &[Relation]) -> ConditionalRequirement {
        let sets = self.universe.alternatives(group).into_iter().map(only).collect();
        let text = group.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | ");
        let mut unions = self.unions.borrow_mut();
        unions.sets.push((sets, text));
        Requirement::from(VersionSetUnionId::from_index(unions.sets.len() - 1)).into()
    }
}

impl Interner for Debian<'_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        self.universe.entry(solvable.to_index()).name
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.universe.entry(name.to_index()).name
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        if set == only(about(set)) { "any version" } else { "no version" }
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        "dependencies that cannot be read"
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_index(about(set))
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_index(solvable.to_index())
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.unions.borrow().sets[union.to_index()].0.clone().into_iter()
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        unreachable!("no requirement of ours has a condition, but the solver asks for {condition:?}")
    }
}

impl DependencyProvider for Debian<'_, '_> {
    async fn filter_candidates(&self, candidates: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let all = (set == only(about(set))) != inverse;
        if all { candidates.to_vec() } else { Vec::new() }
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let candidates = vec![SolvableId::from_index(name.to_index())];
        Some(Candidates {
            candidates,
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, _: &mut [SolvableId]) {}

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.rules(solvable.to_index()) {
            Ok(rules) => Dependencies::Known(rules),
            Err(error) => {
                self.unions.borrow_mut().failure.get_or_insert(error);
                Dependencies::Unknown(StringId(0))
            }
        }
    }
}
