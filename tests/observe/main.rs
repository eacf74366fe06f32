//! Looks at real child processes through every kernel source.

mod access;
mod cgroup;
mod network;
mod support;
mod threads;
