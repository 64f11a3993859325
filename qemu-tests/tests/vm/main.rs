//! Emulated machines: one test binary, a file for each case.

mod harness;
