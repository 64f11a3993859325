//! Which machine this is. A bare profile image is nobody yet: it waits for its seed.

use super::Part;
use crate::ask::Ask;
use crate::facts::Facts;
use crate::plan::Verdict;
use crate::spec::Spec;

/// The label of the medium that carries a node's Spec.
pub const SEED_LABEL: &str = "MIMG-SEED";

pub(super) struct Node;

impl Part for Node {
    fn name(&self) -> String {
        "node".to_owned()
    }

    fn asks(&self, _: &Spec, _: &Facts) -> Vec<Ask> {
        Vec::new()
    }

    fn plan(&self, spec: &Spec, _: &Facts) -> Verdict {
        match &spec.node {
            Some(_) => Verdict::Done,
            None => Verdict::Wait(format!(
                "this image is profile {} and no node yet; plug in a medium labelled {SEED_LABEL} (made by \
                 `mimg seed NODE --out FILE`), it is looked for all the time",
                spec.profile
            )),
        }
    }
}
