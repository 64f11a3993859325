//! WHAT a machine should be, and what follows from what it is. Pure: no process, file, network, clock or environment.
//!
//! ```text
//! catalog + fleet --load/merge--> Profile --check--> Spec          (here)
//! Spec + Facts --plan--> Plan --apply--> Report                    (planned here, done by firstboot)
//! ```

pub mod act;
pub mod ask;
pub mod catalog;
pub mod device;
pub mod facts;
pub mod file;
pub mod fleet;
pub mod fstab;
pub mod ground;
pub mod grub;
pub mod inventory;
pub mod lvm;
pub mod merge;
pub mod part;
pub mod plan;
pub mod problem;
pub mod profile;
pub mod report;
pub mod schema;
pub mod size;
pub mod spec;
