//! Naming who is to blame: a function, a descriptor with its other end, a peer.
//!
//! Pure. A name is given only where the evidence points at one; otherwise nothing is said.

use super::activity::{Other, other_end};
use super::known;
use super::model::Culprit;
use super::view::{ProcessView, View};
use crate::capture::model::{Frame, Socket, SocketFamily, SocketState};

impl Culprit {
    /// A function at a line.
    #[must_use]
    pub fn function(frame: &Frame) -> Self {
        Self { kind: "function".into(), ..Self::default() }.at(frame)
    }

    /// Adds the function that is behind it.
    #[must_use]
    pub fn at(mut self, frame: &Frame) -> Self {
        self.function = Some(frame.function.clone());
        self.file = Some(frame.file.clone());
        self.line = (frame.line > 0).then_some(frame.line);
        self
    }

    /// The function's place in words: `name (file:line)`.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let (function, file) = (self.function.as_ref()?, self.file.as_ref()?);
        let file = short_path(file);
        Some(
            self.line
                .map_or_else(|| format!("{function} ({file})"), |line| format!("{function} ({file}:{line})")),
        )
    }
}

/// The last two parts of a path: enough to find it, short enough for a sentence.
#[must_use]
pub fn short_path(path: &str) -> &str {
    let cut = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    path.get(cut..).unwrap_or(path)
}

/// What a descriptor is and who is at its other end, in words.
#[must_use]
pub fn describe_fd(
    view: &View<'_>,
    process: &ProcessView<'_>,
    fd: i32,
    at_ns: u64,
) -> (String, Option<String>) {
    match other_end(view, process, fd, at_ns) {
        Other::Listener => ("listening socket".into(), None),
        Other::Client(socket) => (format!("{} from a client", transport(socket)), peer(socket)),
        Other::Backend(socket) if is_pair(socket) => ("unix socket without a name".into(), None),
        Other::Backend(socket) => (format!("{} to a backend", transport(socket)), peer(socket)),
        Other::Pipe => ("pipe".into(), None),
        Other::Epoll => ("epoll set".into(), None),
        Other::File | Other::Unknown => match process.link(fd) {
            Some(link) if link.starts_with("socket:") => ("socket".into(), None),
            Some(link) => (link.trim_start_matches("anon_inode:").trim_matches(['[', ']']).to_owned(), None),
            None => ("descriptor that is not open any more".into(), None),
        },
    }
}

fn is_pair(socket: &Socket) -> bool {
    socket.family == SocketFamily::Unix && socket.local.is_empty() && socket.remote.is_empty()
}

/// What kind of connection a socket is, and what became of it, in words.
#[must_use]
pub fn transport(socket: &Socket) -> String {
    let kind = match socket.family {
        SocketFamily::Tcp => "TCP connection",
        SocketFamily::Udp => "UDP socket",
        SocketFamily::Unix => "unix socket",
    };
    match socket.state {
        SocketState::CloseWait => format!("{kind} (closed by the other end)"),
        SocketState::Connecting => format!("{kind} (still connecting)"),
        _ => kind.to_owned(),
    }
}

/// The address at the other end, with the service that usually lives there.
#[must_use]
pub fn peer(socket: &Socket) -> Option<String> {
    let address = if socket.remote.is_empty() { &socket.local } else { &socket.remote };
    (!address.is_empty()).then(|| address.clone())
}

/// An address with the service that usually lives at its port.
#[must_use]
pub fn with_service(address: &str) -> String {
    let port = address.rsplit(':').next().and_then(|p| p.parse().ok());
    port.and_then(known::service).map_or_else(|| address.to_owned(), |name| format!("{address} ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_to_what_is_needed() {
        assert_eq!(short_path("/srv/app/views.py"), "app/views.py");
        assert_eq!(short_path("views.py"), "views.py");
    }

    #[test]
    fn a_service_is_named_by_its_port() {
        assert_eq!(with_service("10.0.0.5:5432"), "10.0.0.5:5432 (PostgreSQL)");
        assert_eq!(with_service("10.0.0.5:9999"), "10.0.0.5:9999");
    }
}
