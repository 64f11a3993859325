//! What leaves the house, made of small images: read back by the tools of others, changed in every place, and verified.

mod differing;
mod disk;
mod forms;
mod papers;
#[path = "../person/mod.rs"]
#[expect(dead_code, reason = "no fleet is needed to verify")]
mod person;
mod tools;
mod verifying;
