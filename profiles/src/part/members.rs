//! The packages that a Spec counts on. firstboot installs none: what is not in the image is refused.

use super::Part;
use crate::ask::Ask;
use crate::facts::Facts;
use crate::plan::Verdict;
use crate::spec::Spec;
use std::collections::BTreeSet;

const QUERY: [&str; 3] = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status} ${Provides}\\n"];

pub(super) struct Members;

impl Part for Members {
    fn name(&self) -> String {
        "packages".to_owned()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        vec![Ask::run(&QUERY)]
    }

    fn plan(&self, spec: &Spec, facts: &Facts) -> Verdict {
        let Some(said) = facts.said(&QUERY) else {
            return Verdict::Wait("dpkg-query does not answer; see `firstboot facts`".to_owned());
        };
        let installed = installed(said);
        let missing: Vec<String> = spec
            .packages()
            .into_iter()
            .filter(|(name, _)| !installed.contains(name.as_str()))
            .map(|(name, by)| format!("{name} (for {})", by.join(", ")))
            .collect();
        if missing.is_empty() {
            return Verdict::Done;
        }
        Verdict::refuse(
            format!("an image without {}", missing.join(", ")),
            "an image that was built with every package of the Spec",
            format!("build one with `mimg build --{}`, and boot that", spec.owner()),
        )
    }
}

/// Names of installed packages, and what they provide.
fn installed(said: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        if let (Some(name), Some("installed"), provides) = (words.next(), words.next(), words.next()) {
            names.insert(name);
            names.extend(provides.unwrap_or("").split(',').filter_map(|item| item.split_whitespace().next()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_and_what_they_provide_count() {
        let names = installed("mawk installed awk\nnginx config-files \nvim-tiny installed editor, vi (= 2)\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["awk", "editor", "mawk", "vi", "vim-tiny"]);
    }
}
