//! Choosing packages in apt's own order, so that where there is a choice, it is the one that apt makes.
//!
//! apt goes depth first from what was asked for, in the order in which its cache came to know the names. What is asked
//! for, and what that needs without a choice, is protected: it keeps out what it conflicts with. Among alternatives the
//! first one that can be had is taken. This is that walk on an empty system. It knows when it is out of its depth (apt
//! would begin to remove what it chose before); then, and whenever the result does not hold, the solver decides alone.

use crate::archive::relation::Relation;
use crate::archive::universe::Universe;
use anyhow::Result;
use std::collections::HashSet;

/// The packages that apt would choose for the roots, or nothing where the walk gets stuck.
pub fn walk(universe: &Universe, roots: &[usize]) -> Result<Option<HashSet<usize>>> {
    let protected: HashSet<usize> = roots.iter().copied().collect();
    let mut walk = Walk { universe, chosen: protected.clone(), protected, barred: HashSet::new() };
    let mut ordered = roots.to_vec();
    ordered.sort_by_key(|&place| universe.entry(place).order);
    for root in ordered {
        if walk.take(root)? != Outcome::Taken {
            return Ok(None);
        }
    }
    Ok(Some(walk.chosen))
}

struct Walk<'u, 'a> {
    universe: &'u Universe<'a>,
    chosen: HashSet<usize>,
    /// Chosen for good: asked for, or needed by such a one without a choice.
    protected: HashSet<usize>,
    /// In conflict with a protected package.
    barred: HashSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// Cannot be had: the next alternative may do.
    Impossible,
    /// apt would take back an earlier choice.
    Stuck,
}

impl Walk<'_, '_> {
    fn take(&mut self, place: usize) -> Result<Outcome> {
        let for_good = self.protected.contains(&place);
        if self.barred.contains(&place) {
            return Ok(Outcome::Impossible);
        }
        match self.exclude(place, for_good)? {
            Outcome::Taken => {}
            other => return Ok(other),
        }
        self.chosen.insert(place);
        let entry = self.universe.entry(place);
        for field in [&entry.pre_depends, &entry.depends] {
            for group in Relation::groups(field)? {
                match self.meet(&group, for_good)? {
                    Outcome::Taken => {}
                    Outcome::Impossible if !for_good => {
                        self.chosen.remove(&place);
                        return Ok(Outcome::Impossible);
                    }
                    _ => return Ok(Outcome::Stuck),
                }
            }
        }
        Ok(Outcome::Taken)
    }

    /// Bars what the package conflicts with. A chosen one in the way makes it impossible, or the walk stuck.
    fn exclude(&mut self, place: usize, for_good: bool) -> Result<Outcome> {
        let rivals = self.universe.rivals(place)?;
        if rivals.iter().any(|rival| self.protected.contains(rival)) && !for_good {
            return Ok(Outcome::Impossible);
        }
        if rivals.iter().any(|rival| self.chosen.contains(rival)) {
            return Ok(Outcome::Stuck);
        }
        if for_good {
            self.barred.extend(rivals);
        }
        Ok(Outcome::Taken)
    }

    /// Meets one need of a package that is itself chosen for good, or not.
    fn meet(&mut self, group: &[Relation], for_good: bool) -> Result<Outcome> {
        let all = self.universe.alternatives(group);
        let open: Vec<usize> = all.into_iter().filter(|place| !self.barred.contains(place)).collect();
        let met = open.iter().any(|place| self.chosen.contains(place));
        if let ([only], true) = (&open[..], for_good) {
            if !self.protected.insert(*only) {
                return Ok(Outcome::Taken);
            }
            return self.take(*only);
        }
        if met {
            return Ok(Outcome::Taken);
        }
        for place in open {
            match self.take(place)? {
                Outcome::Impossible => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::Impossible)
    }
}
