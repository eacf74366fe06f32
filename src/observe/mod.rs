//! LOOK: one kernel source per file, plain data out, no judgement.
//!
//! Every reading is either a value or an [`Unseen`](kernel_file::Unseen) that says why there is none; what that
//! means is for others to say. Nothing here signals or writes into a process, and nothing but [`burst`] stops one, when asked to.

pub mod burst;
mod bytes;
pub mod candidates;
pub mod cgroup;
pub mod cgroup_paths;
pub mod clock;
pub mod descriptors;
pub mod diag_wire;
pub mod exit;
pub mod gates;
pub mod heartbeat;
pub mod host;
pub mod kernel_file;
pub mod listeners;
pub mod memory;
pub mod own;
pub mod parse;
pub mod perf;
mod pidfd;
pub mod probe;
pub mod process;
pub mod readiness;
pub mod registers;
pub mod signals;
pub mod sock_diag;
pub mod sockets;
pub mod target_file;
pub mod thread_files;
