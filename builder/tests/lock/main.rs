//! Locks: made from small signed archives, used, merged by git, damaged, and compared.

#[path = "../made/mod.rs"]
#[expect(dead_code, reason = "these packages hold no files")]
mod made;
#[path = "../archive/server.rs"]
#[expect(dead_code, reason = "these servers are well-behaved")]
mod server;
#[path = "../archive/signer.rs"]
#[expect(dead_code, reason = "these keys are sound")]
mod signer;

mod damaged;
mod desk;
mod differing;
mod fetching;
mod locking;
mod merging;
mod upgrading;
mod why;
