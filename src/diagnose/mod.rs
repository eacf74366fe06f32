//! JUDGE: a capture in, a diagnosis out. No clock, no file, no process.

pub mod model;
