//! The host's name: the node's own.

use super::Part;
use crate::act::{Act, Step};
use crate::ask::Ask;
use crate::facts::Facts;
use crate::file::File;
use crate::plan::Verdict;
use crate::spec::Spec;

const KERNEL: &str = "/proc/sys/kernel/hostname";

pub(super) struct Hostname<'a>(pub &'a String);

impl Hostname<'_> {
    /// 127.0.1.1 is Debian's own convention (Debian Reference, 5.1.1).
    fn wanted(&self) -> [File; 2] {
        let name = self.0;
        let hosts = format!(
            "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n\
             ff02::2 ip6-allrouters\n"
        );
        [File::new("/etc/hostname", format!("{name}\n")), File::new("/etc/hosts", hosts)]
    }
}

impl Part for Hostname<'_> {
    fn name(&self) -> String {
        "hostname".to_owned()
    }

    fn after(&self) -> Vec<String> {
        vec!["system".to_owned()]
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        let mut asks: Vec<Ask> = self.wanted().map(|file| Ask::File(file.path)).into();
        asks.push(Ask::File(KERNEL.to_owned()));
        asks
    }

    fn plan(&self, _: &Spec, facts: &Facts) -> Verdict {
        let mut steps: Vec<Step> = super::differing(&self.wanted(), facts)
            .into_iter()
            .map(|file| Step::new(Act::Put(file), format!("the node's name is {}", self.0)))
            .collect();
        let now = facts.file(KERNEL).map_or("", |file| file.content.trim());
        if now != self.0 {
            steps.push(Step::new(Act::run(&["hostname", self.0]), format!("the kernel says {now:?}")));
        }
        Verdict::from_steps(steps)
    }
}
