//! The server that somebody pointed at on the command line.

use crate::error::{Error, ErrorKind, Result};
use crate::observe::kernel_file::FileBudget;
use crate::target::{Selector, Server};

/// A server that was found.
pub(super) struct Found {
    /// The process that was pointed at.
    pub pid: i32,
    /// How, in words.
    pub by: String,
    /// The server that it belongs to.
    pub server: Server,
}

/// Finds it; with `only`, just that process of it.
pub(super) fn find(
    pid: Option<i32>,
    port: Option<u16>,
    name: Option<&str>,
    only: Option<i32>,
) -> Result<Found> {
    let selector = pid
        .map(Selector::Pid)
        .or_else(|| port.map(Selector::Port))
        .or_else(|| name.map(|name| Selector::Name(name.to_owned())))
        .ok_or_else(|| Error::new(ErrorKind::Usage, "no target", "name a PID, --port or --name"))?;
    let pid = selector.resolve()?;
    let server = Server::find(pid, only, &FileBudget::from_limit())?;
    Ok(Found { pid, by: selector.words(), server })
}
