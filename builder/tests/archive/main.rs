//! From signed Release to verified .deb, against a small archive made here and a server that misbehaves on request.

mod downloading;
mod faults;
mod freshness;
mod opening;
mod opinion;
#[path = "../person/mod.rs"]
mod person;
mod repository;
mod server;
mod signatures;
mod signer;
mod suffering;
