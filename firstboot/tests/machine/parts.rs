//! Parts over real files below a temporary root, and a machine whose root that is.

use firstboot::apply::{Agreed, Outcome, Pass, Witness};
use firstboot::machine::Machine;
use firstboot::unit::Systemd;
use profiles::act::{Act, Step};
use profiles::ask::Ask;
use profiles::facts::Facts;
use profiles::file::File;
use profiles::part::Part;
use profiles::plan::Verdict;
use profiles::spec::Spec;
use std::path::Path;

/// A file of the user who runs the tests.
pub fn file(path: &str, content: &str) -> File {
    let owner = |id: u32| if id == 0 { "root".to_owned() } else { id.to_string() };
    let owner = format!("{}:{}", owner(nix::unistd::geteuid().as_raw()), owner(nix::unistd::getegid().as_raw()));
    File { owner, ..File::new(path, content) }
}

/// A Part that is what its two functions say.
pub struct Made<A, P> {
    pub name: &'static str,
    pub after: Vec<String>,
    pub asks: A,
    pub plan: P,
}

impl<A: Fn() -> Vec<Ask>, P: Fn(&Facts) -> Verdict> Part for Made<A, P> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn after(&self) -> Vec<String> {
        self.after.clone()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        (self.asks)()
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        (self.plan)(facts)
    }
}

/// A Part that looks at one file and concludes what `plan` says.
pub fn looks<'a>(
    name: &'static str,
    path: &'static str,
    plan: impl Fn(Option<&File>) -> Verdict + 'a,
) -> Box<dyn Part + 'a> {
    let asks = move || vec![Ask::File(path.to_owned())];
    Box::new(Made { name, after: Vec::new(), asks, plan: move |facts: &Facts| plan(facts.file(path)) })
}

/// A Part that wants files in place.
pub fn puts<'a>(name: &'static str, after: &[&str], wanted: Vec<File>) -> Box<dyn Part + 'a> {
    let paths: Vec<Ask> = wanted.iter().map(|file| Ask::File(file.path.clone())).collect();
    let plan = move |facts: &Facts| {
        let missing = wanted.iter().filter(|file| facts.file(&file.path) != Some(file));
        Verdict::from_steps(missing.map(|file| Step::new(Act::Put(file.clone()), "not as wanted")).collect())
    };
    let after = after.iter().map(|name| name.to_string()).collect();
    Box::new(Made { name, after, asks: move || paths.clone(), plan })
}

/// One step that runs a command.
pub fn run(argv: &[&str]) -> Verdict {
    Verdict::Do(vec![Step::new(Act::run(argv), "for the test")])
}

/// Writes down each step.
#[derive(Default)]
pub struct Heard(pub Vec<String>);

impl Witness for Heard {
    fn before(&mut self, part: &str, step: &Step) {
        self.0.push(format!("{part}: {}", step.act));
    }

    fn after(&mut self, part: &str, _: &Step, result: &anyhow::Result<()>) {
        if let Err(error) = result {
            self.0.push(format!("{part}: {error:#}"));
        }
    }
}

pub fn spec() -> Spec {
    let (node, profile) = (Some("ana".to_owned()), "test".to_owned());
    Spec { format: Spec::FORMAT, fleet: None, node, profile, settings: Default::default() }
}

/// One pass over `parts` on the machine whose root is `root`, and the steps that were heard.
pub async fn apply(root: &Path, parts: &[Box<dyn Part + '_>]) -> (Outcome, Vec<String>) {
    apply_agreed(root, parts, Agreed::Spec).await
}

/// The same, where a person agreed to this alone.
pub async fn apply_agreed(root: &Path, parts: &[Box<dyn Part + '_>], agreed: Agreed) -> (Outcome, Vec<String>) {
    let machine = Machine::new(root, Systemd::at("unix:path=/nonexistent/bus"));
    let (spec, mut heard) = (spec(), Heard::default());
    let outcome = Pass { machine: &machine, spec: &spec, parts, witness: &mut heard, agreed }.apply().await;
    (outcome, heard.0)
}
