//! All images of a fleet, one after the other: each is built whatever became of those before it.

use anyhow::{Result, anyhow};
use profiles::fleet::Fleet;
use profiles::problem::{Problem, Problems};
use profiles::spec::Spec;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is built: every node of a fleet, and every profile of its own that can be a machine by itself. Without a fleet,
/// the catalog's profiles.
pub struct Batch {
    specs: Vec<Spec>,
    /// Profiles that are only parts of others.
    parts: Vec<Spec>,
}

/// What became of one image: a line of the closing table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// "node eccles" or "profile nuc".
    pub name: String,
    /// The image's file, where there is to be one.
    pub file: Option<PathBuf>,
    pub seconds: f64,
    pub result: Verdict,
    /// Why there is no image.
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Built,
    Failed,
    /// A profile without `[system]`: a part of other profiles, no machine.
    LeftOut,
}

impl Batch {
    /// Gathers the Specs. Two that would be one file are refused.
    pub fn of(fleet: &Fleet) -> Result<Batch, Problems> {
        let profiles: Vec<&str> =
            if fleet.root().is_some() { fleet.own_profiles().collect() } else { fleet.profiles() };
        let mut all = fleet.nodes().map(|name| fleet.node(name)).collect::<Result<Vec<Spec>, _>>()?;
        for name in profiles {
            all.push(fleet.profile(name)?);
        }
        let (specs, parts) = all.into_iter().partition(|spec| spec.node.is_some() || spec.settings.system.is_some());
        let batch = Batch { specs, parts };
        Problems(batch.clashes()).or(batch)
    }

    fn clashes(&self) -> Vec<Problem> {
        let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        self.specs.iter().for_each(|spec| owners.entry(name(spec)).or_default().push(spec.owner()));
        let clash = |(name, owners): (&str, Vec<String>)| {
            let saw = format!("{} would both be {name}.img", owners.join(" and "));
            Problem::of_none(saw, "a name for each", "rename one of the two files in nodes/ and profiles/")
        };
        owners.into_iter().filter(|(_, owners)| owners.len() > 1).map(clash).collect()
    }

    /// Those that are to be built.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Builds each by `build`, which gets the Spec and its file in `folder`. `told` hears of each failure as it comes.
    pub fn run(
        &self,
        folder: &Path,
        mut build: impl FnMut(&Spec, &Path) -> Result<()>,
        mut told: impl FnMut(&str),
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for spec in &self.specs {
            let file = folder.join(format!("{}.img", name(spec)));
            told(&format!("{}:", spec.owner()));
            let started = Instant::now();
            let why = build(spec, &file).err().map(|error| shown(&error));
            if let Some(why) = &why {
                told(why);
            }
            let result = if why.is_none() { Verdict::Built } else { Verdict::Failed };
            let seconds = started.elapsed().as_secs_f64();
            outcomes.push(Outcome { name: spec.owner(), file: Some(file), seconds, result, why });
        }
        let why = "it has no [system], directly or through a profile such as base: a part of other profiles";
        outcomes.extend(self.parts.iter().map(|spec| Outcome {
            name: spec.owner(),
            file: None,
            seconds: 0.0,
            result: Verdict::LeftOut,
            why: Some(why.to_owned()),
        }));
        outcomes
    }
}

/// As `mimg build` says it for one image.
fn shown(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.to_string(),
        None => format!("error: {}", error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")),
    }
}

fn name(spec: &Spec) -> &str {
    spec.node.as_deref().unwrap_or(&spec.profile)
}

/// The closing table: name, file, seconds, result.
pub fn table(outcomes: &[Outcome]) -> String {
    let rows: Vec<[String; 4]> = outcomes
        .iter()
        .map(|outcome| {
            let file = match (&outcome.file, outcome.result) {
                (Some(file), Verdict::Built) => file.display().to_string(),
                _ => "-".to_owned(),
            };
            let result = match outcome.result {
                Verdict::Built => "built",
                Verdict::Failed => "FAILED",
                Verdict::LeftOut => "left out: no [system]",
            };
            [outcome.name.clone(), file, format!("{:.1} s", outcome.seconds), result.to_owned()]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |[name, file, seconds, result]: &[String; 4]| {
        format!("{name:<0$}  {file:<1$}  {seconds:>2$}  {result}\n", widths[0], widths[1], widths[2])
    };
    rows.iter().map(line).collect()
}

/// Refuses a folder for images that is not there.
pub fn check_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    Err(anyhow!("there is no folder {}: make it, or name another one with --out-dir", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[fleet]\nid = \"6f2cbe5e-9a5e-4a43-8a53-3f1d6a2e4f10\"\nname = \"home\"\n";

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        let root = [("fleet.toml", ROOT)];
        files.iter().chain(&root).map(|(path, text)| (path.to_string(), text.to_string())).collect()
    }

    #[test]
    fn a_failure_stops_no_other_and_parts_are_left_out() {
        let files = files(&[
            ("nodes/a.toml", "profiles = [\"nuc\"]\n"),
            ("nodes/b.toml", "profiles = [\"web\", \"nuc\"]\n"),
            ("profiles/web.toml", "packages = [\"nginx-light\"]\n"),
            ("profiles/edge.toml", "profiles = [\"droplet\", \"web\"]\n"),
        ]);
        let batch = Batch::of(&Fleet::load(&files).unwrap()).unwrap();
        let mut said = Vec::new();
        let build =
            |spec: &Spec, _: &Path| if name(spec) == "a" { Err(anyhow!("cause").context("doing")) } else { Ok(()) };
        let outcomes = batch.run(Path::new("out"), build, |line| said.push(line.to_owned()));
        let seen: Vec<(&str, Verdict)> = outcomes.iter().map(|one| (one.name.as_str(), one.result)).collect();
        let wanted = [
            ("node a", Verdict::Failed),
            ("node b", Verdict::Built),
            ("profile edge", Verdict::Built),
            ("profile web", Verdict::LeftOut),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(outcomes[1].file.as_deref(), Some(Path::new("out/b.img")));
        assert!(said.contains(&"error: doing: cause".to_owned()), "{said:?}");
        assert!(table(&outcomes).contains("node b        out/b.img"), "{}", table(&outcomes));
    }

    #[test]
    fn without_a_fleet_it_is_the_catalog() {
        let batch = Batch::of(&Fleet::catalog().unwrap()).unwrap();
        let names: Vec<&str> = batch.specs().iter().map(name).collect();
        assert_eq!(names, ["base", "droplet", "nuc", "r720"]);
    }

    #[test]
    fn two_that_would_be_one_file_are_refused() {
        let files =
            files(&[("nodes/web.toml", "profiles = [\"nuc\"]\n"), ("profiles/web.toml", "profiles = [\"nuc\"]\n")]);
        let problems = Batch::of(&Fleet::load(&files).unwrap()).err().unwrap();
        assert_eq!(problems.0[0].saw, "node web and profile web would both be web.img");
    }
}
