//! Everything that reads what comes from outside, as functions of bytes: whatever the bytes, each returns, without a
//! panic, in little time and memory. `tests/short.rs` calls them with what is in `corpus/` and with mutations of it;
//! `run` has libFuzzer look for bytes that reach further.

mod archive;
mod disk;
mod fleet;
mod image;
mod lock;
mod package;

/// One reader. The folder of its name in `corpus/` has what it begins with, and what it once failed at.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Of what costs more than a millisecond fewer are tried.
    pub is_slow: bool,
}

/// All readers; a new one is a line here and a folder in `corpus/`.
pub const TARGETS: &[Target] = &[
    quick("certificate", archive::certificate),
    quick("index", archive::index),
    quick("relation", archive::relation),
    quick("release", archive::release),
    quick("signature", archive::signature),
    quick("sources", archive::sources),
    quick("control", package::control),
    quick("data", package::data),
    quick("deb", package::deb),
    quick("rules", package::rules),
    slow("unpack", package::unpack),
    slow("fleet", fleet::fleet),
    quick("spec", fleet::spec),
    quick("table", disk::table),
    quick("lock", lock::lock),
    quick("map", image::map),
    quick("volume", image::volume),
];

const fn quick(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, is_slow: false }
}

const fn slow(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, is_slow: true }
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs `read` on bytes that are text; the readers of text see no others.
fn with_text(bytes: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
}
