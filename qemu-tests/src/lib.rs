//! Proving images on emulated machines. A machine is a `builder::vm::Vm`; here is what only tests need: places for a few
//! machines at a time, the images that cases share, guests of one boot sector, and what a disk holds after a power cut.

pub mod case;
pub mod fleet;
pub mod images;
pub mod sector;
pub mod writelog;
