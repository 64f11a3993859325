//! MAKING it so on this machine: observes what the machine is, plans (in `profiles`), does the steps, reports. It
//! decides nothing.
//!
//! ```text
//! find --> Spec --observe--> Facts --plan--> Plan --apply--> Record       again until every Verdict is Done; then Report
//! ```

pub mod apply;
mod aside;
mod blank;
mod block;
pub mod cli;
pub mod command;
pub mod console;
mod copy;
mod esp;
mod event;
pub mod fat;
pub mod file;
pub mod find;
mod install;
mod link;
mod log;
pub mod machine;
pub mod medium;
mod new_table;
pub mod observe;
mod owner;
pub mod partition;
pub mod pass;
pub mod place;
mod probe;
pub mod record;
pub mod resident;
mod rules;
pub mod table;
mod tree;
pub mod unit;
pub mod window;

pub use cli::main;
