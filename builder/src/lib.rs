//! MAKING an image anywhere: from a frozen Spec to a disk file that boots. `build::build` is the page to start at.

pub mod archive;
pub mod batch;
pub mod build;
pub mod check;
pub mod claim;
pub mod clean;
pub mod cli;
pub mod completion;
pub mod diff;
pub mod editor;
pub mod folder;
pub mod image;
pub mod lock;
pub mod man;
pub mod picture;
pub mod progress;
pub mod publish;
pub mod receipt;
pub mod room;
pub mod secrets;
pub mod tree;
mod turn;
pub mod verify;
pub mod vm;
pub mod work;
