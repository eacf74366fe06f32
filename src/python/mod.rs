//! READ: bytes of a live interpreter → frames.
//!
//! Sees the target only through a [`MemoryReader`]; never stops it and never writes. [`locate`] finds the interpreter,
//! [`layout`] says where its fields are ([`layouts`] by version, [`own_table`] by its own word), [`walk`] reads a chain of frames out of [`pieces`] of memory,
//! [`sampler`] decides which chain to believe, [`reader`] who the threads are and who holds the interpreter lock, [`calls`] which frames belong to one call of the evaluation function, [`code`] turns code objects into names and lines. Everything read
//! is foreign: every length is capped, every walk bounded, and what changed while it was read is thrown away and read
//! again.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod attributes;
pub mod calls;
pub mod census;
pub mod census_model;
mod census_tasks;
pub mod code;
pub mod elf;
pub mod gc;
pub mod greenlets;
pub mod heap;
pub mod image;
pub mod innermost;
pub mod kinds;
pub mod layout;
pub mod layouts;
pub mod lines;
pub mod locals;
pub mod locate;
pub mod memory;
pub mod object;
pub mod objects;
pub mod own_table;
pub mod pieces;
pub mod reader;
pub mod sampler;
pub mod search;
pub mod settings;
pub mod spawn;
pub mod switched;
pub mod task_lists;
pub mod tasks;
pub mod threads;
pub mod types;
pub mod values;
pub mod walk;

pub use locate::{Interpreter, NoInterpreter};
pub use memory::{MemoryReader, ReadError};
pub use reader::{Sample, StackReader};
