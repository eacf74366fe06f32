//! KEEP: everything observed, as one serialisable stream.
//!
//! [`model`] is the vocabulary that all other rooms share; [`writer`] and [`reader`] put it on disk and take it
//! back, [`mask`] keeps secrets out of it, [`redact`] names. [`rolling`] keeps the last seconds of a look without end, and
//! [`live`] its cheap numbers; [`profile`] adds up where the time went; [`dump`] is everything at one instant.
//! [`live`] its cheap numbers; [`dump`] is everything at one instant, [`mod@burst`] what a burst of stops saw. What the numbers of
//! system calls mean stands in [`syscalls`] and [`calls`].

pub mod burst;
pub mod calls;
pub mod dump;
mod dump_native;
mod dump_parked;
mod dump_threads;
pub mod live;
pub mod lowered;
pub mod mask;
pub mod model;
pub mod private_file;
pub mod profile;
pub mod reader;
pub mod recorder;
pub mod redact;
pub mod rolling;
pub mod syscalls;
pub mod traced;
pub mod writer;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
