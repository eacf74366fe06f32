//! A burst of stops on real processes: harmless at every end, and right about what it saw.
//!
//! What proves harmlessness takes its numbers from [`rig::share`]: few by default, all of them with
//! `STALLSCOPE_BURST_PROOF=full`. Each prints its figures in lines that begin with `PROOF`.

mod hung;
mod killed;
mod lives;
#[path = "../programs/mod.rs"]
mod programs;
mod rig;
mod seen;
mod server;
mod supervised;
mod targets;
#[path = "../tool/mod.rs"]
mod tool;
