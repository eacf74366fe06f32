//! What is behind a descriptor, and who at its other end, in words.
//!
//! Pure: takes the lists that were read around a burst.

use crate::capture::model::{Descriptor, Role, Socket, SocketState};
use crate::capture::traced::Traced;
use crate::diagnose::culprit::{peer, transport, with_service};

/// What is behind a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// What it is.
    pub what: String,
    /// Who is at the other end.
    pub peer: Option<String>,
}

/// What is behind a descriptor of the traced process.
#[must_use]
pub fn behind(traced: &Traced, fd: i32) -> Behind {
    let plain = |what: String| Behind { what, peer: None };
    let Some(open) = traced.descriptors.iter().find(|d| d.fd == fd) else {
        return plain("not open before the burst or after it".into());
    };
    if open.link.starts_with("socket:") {
        let socket = traced.sockets.iter().find(|s| Some(s.inode) == open.inode);
        return socket.map_or_else(|| plain("socket".into()), of_socket);
    }
    if open.link.starts_with("pipe:") {
        return Behind { what: "pipe".into(), peer: other_end(traced, open) };
    }
    match open.link.strip_prefix("anon_inode:").map(|kind| kind.trim_matches(['[', ']'])) {
        Some("eventpoll") => match traced.epoll.get(&fd).map(Vec::len) {
            Some(1) => plain("epoll set that watches 1 descriptor".into()),
            Some(count) => plain(format!("epoll set that watches {count} descriptors")),
            None => plain("epoll set".into()),
        },
        Some(kind) => plain(kind.to_owned()),
        None => plain(open.link.clone()),
    }
}

fn of_socket(socket: &Socket) -> Behind {
    if socket.state == SocketState::Listen {
        return Behind { what: format!("socket that listens on {}", socket.local), peer: None };
    }
    Behind { what: transport(socket), peer: peer(socket).map(|address| with_service(&address)) }
}

/// Who of the server has the same pipe; within one process the other number of it.
fn other_end(traced: &Traced, open: &Descriptor) -> Option<String> {
    let me = (traced.burst.pid, open.fd);
    let ends: Vec<&(u64, i32, i32)> = traced.pipes.iter().filter(|end| Some(end.0) == open.inode).collect();
    let end = ends
        .iter()
        .find(|end| end.1 == me.0 && end.2 != me.1)
        .or_else(|| ends.iter().find(|end| end.1 != me.0))?;
    let whose = match (end.1 == me.0, traced.role) {
        (true, _) => "this process".to_owned(),
        (false, Role::Arbiter) => format!("worker {}", end.1),
        (false, _) => format!("process {}", end.1),
    };
    Some(format!("fd {} of {whose}", end.2))
}
