//! From signed Release to verified .deb, against a small archive made here and a server that misbehaves on request.

mod downloading;
mod opening;
mod repository;
mod server;
mod signatures;
mod signer;
