//! firstboot on machines that are a folder and a private bus: real files, real commands, real D-Bus.

mod apply;
mod bench;
mod decoys;
mod disks;
mod golden;
mod install;
mod loops;
mod parts;
mod power_cut;
mod rehearsal;
mod resident;
mod speed;
mod systemd;
mod table;
mod unit;
