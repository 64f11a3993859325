//! Emulated machines: one test binary, a file for each case.

mod boots;
mod disks;
mod harness;
mod install;
mod machine;
mod power_cut;
mod refused;
mod secure_boot;
mod seed;
mod several;
mod volumes;
mod volumes_cut;
mod waiting_unit;
