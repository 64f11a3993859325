//! The Lock: the exact packages of a Spec.

pub mod locked;

pub use locked::Locked;
