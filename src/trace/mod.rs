//! A burst made readable: calls with their descriptors and results, patterns that repeat, times and counts.
//!
//! Takes what [`crate::capture::traced`] holds, gives plain data for [`crate::report::trace`]. Pure: no clock, no file, no
//! process, and the architecture is the one that was traced.

pub mod calls;
pub mod descriptors;
pub mod fold;
pub mod memory;
pub mod summary;
pub mod switches;

#[cfg(test)]
mod story;
