//! JUDGE: a capture in, a diagnosis out. No clock, no file, no process.

pub mod model;

/// Version of the rules. Same capture and same rules give the same diagnosis.
pub const RULES_VERSION: &str = "1";
