//! MAKING an image anywhere: from a frozen Spec to a disk file that boots. `build::build` is the page to start at.

pub mod archive;
pub mod batch;
pub mod build;
pub mod check;
pub mod claim;
pub mod clean;
pub mod cli;
pub mod folder;
pub mod image;
pub mod progress;
pub mod room;
pub mod tree;
mod turn;
pub mod vm;
pub mod work;
