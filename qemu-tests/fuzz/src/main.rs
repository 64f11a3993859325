//! The driver for libFuzzer: MIMG_FUZZ names the target. See `run`.

#![no_main]

use fuzz::{TARGETS, Target, target};
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.get_or_init(named).run)(bytes));

fn named() -> &'static Target {
    let name = std::env::var("MIMG_FUZZ").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("there is no target {name:?}: set MIMG_FUZZ to one of {}", names.join(", "));
        std::process::exit(2)
    })
}
