//! READ: the machine's stack of a thread → native frames, merged with those of the interpreter.
//!
//! Sees the target through a [`MemoryReader`](crate::python::MemoryReader) and through files that
//! [`crate::observe::target_file`] has opened and proven to be what is mapped; never stops it and never writes.
//! [`modules`] says what is mapped where, [`cfi`] reads a program's own tables of how callers are found, [`file_tables`] those that only its file has, [`depth`] what a function's own code tells of its frame, [`unwind`] follows
//! them through a copy of the stack, [`symbols`] names the addresses of a file, [`names`] finds that file and what debugging information it has, [`perf_map`] names what was compiled at run time, [`stacks`] does all of that for one process, [`switch`] says where a suspended greenlet goes on, [`parts`] knows pieces of a function that no symbol names, [`merge`] joins both kinds of frames. A stack that
//! cannot be followed to its root is marked; nothing is guessed, not even a frame pointer. Everything read is foreign: every
//! length is capped and every walk bounded.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod cfi;
pub mod depth;
pub mod file_tables;
pub mod merge;
pub mod modules;
pub mod names;
pub mod parts;
pub mod perf_map;
pub mod registers;
pub mod stacks;
pub mod switch;
pub mod symbols;
pub mod unwind;
