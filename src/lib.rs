//! stallscope looks at the workers of a running server from outside and says what is wrong with each of them.
//!
//! Data flows one way, and the modules stand in that order:
//! [`target`] → [`observe`] → [`python`], [`native`] → [`capture`] → [`diagnose`] → [`report`] → [`tui`].
//! [`trace`] makes a burst of stops readable. `commands` are short scripts that connect these rooms. [`portal`] is a server
//! with faults to choose from, [`validate`] scores what was said of it.

pub mod capture;
pub mod cli;
pub mod commands;
pub mod diagnose;
pub mod duration;
pub mod error;
pub mod native;
pub mod observe;
pub mod portal;
pub mod python;
pub mod report;
pub mod target;
pub mod trace;
pub mod tui;
pub mod validate;
