//! What leaves the house, made of small images: read back by the tools of others, changed in every place, and verified.

mod differing;
mod disk;
mod forms;
mod papers;
mod tools;
mod verifying;
