//! What people write, and what it is frozen into.

use crate::with_text;
use profiles::fleet::Fleet;
use profiles::spec::Spec;
use std::collections::BTreeMap;

/// The files of a fleet, one after the other, each below a line `=== its/path`.
pub fn fleet(bytes: &[u8]) {
    with_text(bytes, |text| {
        let files: BTreeMap<String, String> = text
            .split("=== ")
            .filter_map(|file| file.split_once('\n'))
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .collect();
        let fleet = match Fleet::load(&files) {
            Ok(fleet) => fleet,
            Err(problems) => {
                assert!(!problems.to_string().trim().is_empty(), "refused without a word");
                return;
            }
        };
        for node in fleet.nodes() {
            let Ok(spec) = fleet.node(node) else { panic!("the fleet is fine, but its node {node} is not") };
            assert_eq!(Spec::read(&spec.json()).as_ref(), Ok(&spec));
        }
    });
}

/// A frozen Spec as it travels.
pub fn spec(bytes: &[u8]) {
    with_text(bytes, |text| {
        if let Ok(spec) = Spec::read(text) {
            assert_eq!(Spec::read(&spec.json()).as_ref(), Ok(&spec));
            let _ = (spec.check(), spec.packages(), spec.profiles(), spec.digest(), spec.uuid("disk"));
            let _: Vec<String> = spec.parts().iter().map(|part| part.name()).collect();
        }
    });
}
