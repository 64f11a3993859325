pub mod progress;
pub mod vm;
