//! What `mdadm --detail` says of an array. It has no JSON; its words are the same for decades.

use std::collections::BTreeMap;

/// An array that runs, as `mdadm --detail` tells of it.
pub(super) struct Array {
    pub uuid: String,
    pub level: String,
    pub members: usize,
    /// Members that work, those that are still being filled included.
    pub working: usize,
    pub state: String,
}

impl Array {
    /// `None` where it was only begun to be assembled.
    pub fn read(said: &str) -> Option<Array> {
        let fields: BTreeMap<&str, &str> = said
            .lines()
            .filter_map(|line| line.split_once(" : "))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let text = |key: &str| fields.get(key).copied().unwrap_or("").to_owned();
        let number = |key: &str| fields.get(key).and_then(|value| value.parse().ok()).unwrap_or(0);
        let state = text("State");
        (state != "inactive").then(|| Array {
            uuid: text("UUID").replace(':', ""),
            level: text("Raid Level"),
            members: number("Raid Devices"),
            working: number("Working Devices"),
            state,
        })
    }
}
