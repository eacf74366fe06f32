//! KEEP: everything observed, as one serialisable stream.
//!
//! [`model`] is the vocabulary that all other rooms share.

pub mod model;
pub mod recorder;
pub mod syscalls;
