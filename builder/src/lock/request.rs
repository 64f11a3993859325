//! What a Spec asks of the archive, and nothing else of it: a changed user or time zone leaves a lock as it is.

use crate::lock::words::word;
use profiles::spec::Spec;
use std::collections::BTreeSet;

/// Specs with the same Request have the same packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub components: BTreeSet<String>,
    pub repositories: BTreeSet<Repository>,
    /// Names of packages.
    pub asks: BTreeSet<String>,
}

/// An archive beside Debian's own, without its address: that may change, and what was locked from it stays the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    pub name: String,
    pub suite: String,
    pub priority: i32,
    /// In upper-case hexadecimal digits.
    pub fingerprint: String,
    pub components: BTreeSet<String>,
}

impl Request {
    pub fn of(spec: &Spec) -> Request {
        let repositories = spec.settings.repository.iter().map(|repository| Repository {
            name: repository.name.clone(),
            suite: repository.suite.clone(),
            priority: repository.priority,
            fingerprint: repository.fingerprint.split_whitespace().collect::<String>().to_uppercase(),
            components: repository.components.iter().cloned().collect(),
        });
        Request {
            components: spec.settings.components.iter().cloned().collect(),
            repositories: repositories.collect(),
            asks: spec.packages().into_keys().collect(),
        }
    }

    /// How this differs from what was asked for when the lock was made, such as `htop is new, jq is gone`.
    pub fn since(&self, locked: &Request) -> String {
        let mut said = Vec::new();
        let names = |request: &Request| -> BTreeSet<String> {
            let components = request.components.iter().map(|component| format!("component {component}"));
            let repositories = request.repositories.iter().map(|repository| format!("repository {}", repository.name));
            request.asks.iter().cloned().chain(components).chain(repositories).collect()
        };
        let (now, then) = (names(self), names(locked));
        said.extend(now.difference(&then).map(|name| format!("{name} is new")));
        said.extend(then.difference(&now).map(|name| format!("{name} is gone")));
        let changed = self.repositories.difference(&locked.repositories);
        said.extend(
            changed
                .filter(|repository| then.contains(&format!("repository {}", repository.name)))
                .map(|repository| format!("repository {} is another", repository.name)),
        );
        said.join(", ")
    }
}

impl Repository {
    pub(crate) fn words(&self) -> String {
        let Repository { name, suite, priority, fingerprint, components } = self;
        let components: Vec<String> = components.iter().map(|component| word(component)).collect();
        format!("{} {} {priority} {fingerprint} {}", word(name), word(suite), components.join(","))
    }
}
