//! Bad input, bad luck and strange targets: the tool says what it cannot do and why, and never breaks.

mod captures;
mod interrupted;
mod places;
mod strangers;
mod targets;
#[path = "../tool/mod.rs"]
mod tool;
