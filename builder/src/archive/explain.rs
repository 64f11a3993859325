//! Why packages cannot be installed together, as a chain that a person can follow.

use crate::archive::relation::Relation;
use crate::archive::solve::about;
use crate::archive::universe::Universe;
use petgraph::graph::NodeIndex;
use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictGraph, ConflictNode};
use resolvo::{DenseIndex, Requirement, SolvableId, VersionSetUnionId};
use std::collections::HashSet;
use std::fmt::Write;

/// One line per package involved, indented below the one that needs it, ending in what is missing or what clashes.
/// `relation` gives the text of a group of alternatives.
pub fn text(
    universe: &Universe,
    graph: &ConflictGraph<SolvableId>,
    asked: &[(usize, Vec<String>)],
    relation: impl Fn(VersionSetUnionId) -> String,
) -> String {
    let mut account =
        Account { universe, graph, asked, relation: &relation, seen: HashSet::new(), text: String::new() };
    account.below(graph.root_node, 1);
    account.text.trim_end().to_owned()
}

struct Account<'x, 'a> {
    universe: &'x Universe<'a>,
    graph: &'x ConflictGraph<SolvableId>,
    asked: &'x [(usize, Vec<String>)],
    relation: &'x dyn Fn(VersionSetUnionId) -> String,
    seen: HashSet<usize>,
    text: String,
}

impl Account<'_, '_> {
    fn below(&mut self, node: NodeIndex, depth: usize) {
        let mut missing = HashSet::new();
        let edges: Vec<_> = self.graph.graph.raw_edges().iter().filter(|edge| edge.source() == node).collect();
        for edge in edges {
            let target = self.graph.graph[edge.target()];
            match (edge.weight, target) {
                (ConflictEdge::Requires(need), ConflictNode::Solvable(package)) => {
                    self.line(depth, &self.needs(node, package.to_index(), need));
                    if self.seen.insert(package.to_index()) {
                        self.below(edge.target(), depth + 1);
                    }
                }
                (ConflictEdge::Requires(need), _) => {
                    let written = self.written(need);
                    if missing.insert(written.clone()) {
                        self.line(depth, &self.absent(&written));
                    }
                }
                (ConflictEdge::Conflict(ConflictCause::Constrains(set)), _) => {
                    self.line(depth, &self.clash(node, about(set)));
                }
                (ConflictEdge::Conflict(_), _) => {}
            }
        }
    }

    /// `package`, as the one that `node` needs; at the top, as the one that somebody asked for.
    fn needs(&self, node: NodeIndex, package: usize, need: Requirement) -> String {
        let entry = self.universe.entry(package);
        if node != self.graph.root_node {
            return format!("needs {}: {} {}", self.written(need), entry.name, entry.version);
        }
        match self.asked.iter().find(|(place, _)| *place == package) {
            Some((_, by)) => format!("{} {} (asked for by {})", entry.name, entry.version, by.join(", ")),
            None => format!("{} {} (essential)", entry.name, entry.version),
        }
    }

    /// What there is instead of each alternative that nothing satisfies.
    fn absent(&self, written: &str) -> String {
        let found =
            |text: &str| match Relation::parse(text).ok().and_then(|relation| self.universe.place(relation.name)) {
                Some(place) => {
                    let entry = self.universe.entry(place);
                    format!("there is only {} {}", entry.name, entry.version)
                }
                None => format!("nothing provides {:?}", text.trim()),
            };
        let there: Vec<String> = written.split('|').map(found).collect();
        format!("needs {written}, but {}", there.join("; "))
    }

    fn clash(&self, node: NodeIndex, other: usize) -> String {
        let name = self.universe.entry(other).name;
        let ConflictNode::Solvable(package) = self.graph.graph[node] else { return format!("excludes {name}") };
        let entry = self.universe.entry(package.to_index());
        for (field, text) in [("Conflicts", &entry.conflicts), ("Breaks", &entry.breaks)] {
            for relation in Relation::groups(text).unwrap_or_default().into_iter().flatten() {
                if self.universe.satisfying(&relation).contains(&other) {
                    return format!(
                        "cannot be installed with {name} {} ({field}: {relation})",
                        self.universe.entry(other).version
                    );
                }
            }
        }
        format!("cannot be installed with {name}")
    }

    fn written(&self, need: Requirement) -> String {
        match need {
            Requirement::Union(union) => (self.relation)(union),
            Requirement::Single(set) => self.universe.entry(about(set)).name.to_owned(),
        }
    }

    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = 2 * depth);
    }
}
