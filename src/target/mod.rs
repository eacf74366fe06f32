//! WHO: from a pid, a port or a name to a whole server: arbiter, workers, births and deaths.
//!
//! [`select`] turns what was typed into a pid; [`tree`] finds the server around it; [`recognise`] and [`gunicorn`]
//! are the pure knowledge of what a server looks like; [`hearts`] are the sign that only gunicorn has; [`access`] says in one cause why something may not be seen.

pub mod access;
pub mod candidates;
pub mod gunicorn;
pub mod hearts;
pub mod maps;
pub mod recognise;
pub mod select;
pub mod tree;

pub use select::Selector;
pub use tree::{Member, Server};
