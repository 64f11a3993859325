//! An array that does not run: it is assembled of what is there of it, or made.

use super::{Level, Md, OFFSET};
use crate::act::{Act, Step};
use crate::facts::Facts;
use crate::ground::{Ground, Place};
use crate::plan::Verdict;
use crate::spec::Spec;

/// What an array's name on its members begins with, and the name of the machine that udev takes an array for its own by.
const HOMEHOST: &str = "mimg";
/// Arrays that run, or were begun to be assembled.
pub(super) const SCAN: [&str; 3] = ["mdadm", "--detail", "--scan"];

impl Md {
    pub(super) fn stopped(&self, spec: &Spec, members: &[Place], facts: &Facts) -> Verdict {
        if let Some(wait) = members.iter().find_map(Place::wait) {
            return wait;
        }
        let (count, _) = self.counts(spec);
        let ours: Vec<&str> =
            members.iter().filter(|place| self.is_member(spec, place)).map(|place| place.path.as_str()).collect();
        if ours.is_empty() {
            return Verdict::Do(vec![self.create(spec, members, "it is not there yet")]);
        }
        let empty = members.iter().filter(|place| Self::is_empty(place)).count();
        // An array that counts events has counted one before anything is written to it; level 0 counts none.
        if empty > 0 && self.level != Level::Stripe && ours.iter().all(|path| events(path, facts) == Some(0)) {
            return Verdict::Do(vec![self.create(spec, members, "making it was cut off")]);
        }
        if ours.len() + self.level.spare(count) < count {
            return self.lost(spec, ours.len(), empty);
        }
        let path = self.path();
        if let Some(begun) = self.begun(spec, facts) {
            let why = "its other members have not come: it runs without them";
            return Verdict::Do(vec![Step::new(Act::run(&["mdadm", "--run", begun]), why)]);
        }
        let uuid = format!("--uuid={}", self.uuid(spec));
        let homehost = format!("--homehost={HOMEHOST}");
        let mut argv = vec!["mdadm", "--assemble", &path, &uuid, &homehost, "--run"];
        argv.extend(&ours);
        Verdict::Do(vec![Step::new(Act::run(&argv), format!("{} of its {count} members are here", ours.len()))])
    }

    /// The kernel's device of our array where some members came and too few to run by themselves.
    fn begun<'a>(&self, spec: &Spec, facts: &'a Facts) -> Option<&'a str> {
        let uuid = format!("UUID={}", self.uuid(spec).replace('-', ""));
        let mine = |line: &&str| line.starts_with("INACTIVE-ARRAY ") && line.replace(':', "").contains(&uuid);
        facts.said(&SCAN)?.lines().find(mine)?.split(' ').nth(1)
    }

    fn lost(&self, spec: &Spec, ours: usize, empty: usize) -> Verdict {
        let (count, _) = self.counts(spec);
        let least = count - self.level.spare(count);
        if ours + empty < count {
            return Verdict::Wait(format!("{ours} of {count} members are here, {least} are needed"));
        }
        Verdict::refuse(
            format!("{ours} of the {count} members of md {}, and {empty} empty devices", self.name),
            format!("at least {least} members"),
            "plug the missing ones in; or, to give up what was on it, `mdadm --zero-superblock` the members that are here",
        )
    }

    fn create(&self, spec: &Spec, members: &[Place], why: &str) -> Step {
        let (count, absent) = self.counts(spec);
        let to_come = members.iter().filter(|place| place.ground == Ground::ToCome).count();
        // Of those that are not there the last are the ones that are said to be absent.
        let mut expected = to_come.saturating_sub(absent);
        let mut paths = Vec::new();
        for place in members {
            let missing = place.ground == Ground::ToCome && expected == 0;
            if place.ground == Ground::ToCome {
                expected = expected.saturating_sub(1);
            }
            paths.push(if missing { "missing" } else { place.path.as_str() });
        }
        let options = [
            format!("--level={}", self.level.digits()),
            format!("--raid-devices={count}"),
            format!("--data-offset={}K", OFFSET >> 10),
            format!("--homehost={HOMEHOST}"),
            format!("--name={}", self.name),
            format!("--uuid={}", self.uuid(spec)),
        ];
        let path = self.path();
        let mut argv = vec!["mdadm", "--create", &path, "--run", "--metadata=1.2"];
        argv.extend(options.iter().map(String::as_str));
        // After a power cut only what was being written is compared.
        argv.extend((self.level != Level::Stripe).then_some("--bitmap=internal"));
        argv.extend(paths);
        Step::new(Act::run(&argv), why)
    }
}

pub(super) fn examine(path: &str) -> [&str; 4] {
    ["mdadm", "--examine", "--export", path]
}

/// How often the array of a member was changed.
fn events(path: &str, facts: &Facts) -> Option<u64> {
    facts.said(&examine(path))?.lines().find_map(|line| line.strip_prefix("MD_EVENTS=")?.parse().ok())
}
