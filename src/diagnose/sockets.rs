//! What went over a process's sockets in a span: progress, requests in flight, unanswered backends.
//!
//! Pure. A request is in flight when the last data came from the client: `tcp_info` gives the ages of the last data
//! in either direction, and a server that has answered has sent last. Unix sockets have no such counters: what can be said of
//! their connections is that they stood open all the time with everything read, as one does whose request is in flight.

use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;

use super::budget::part;
use super::known;
use super::view::{ProcessView, Span, View};
use crate::capture::model::{Socket, SocketFamily, SocketState};

/// A backend that spoke no longer ago than this is answering.
const RECENT_MS: u32 = 1_000;

/// Port of name servers.
const DNS: u16 = 53;

/// What went over a process's sockets.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Readings of the sockets in the span.
    pub readings: u64,
    /// Whether the kernel gave counters for TCP connections, or there was none to count.
    pub counted: bool,
    /// Signs of service: client connections accepted, answered or closed between readings.
    pub events: u64,
    /// Bytes received from and acknowledged by clients.
    pub bytes: u64,
    /// Client connections, at most.
    pub clients: u64,
    /// Readings in which a request was in flight.
    pub in_flight_readings: u64,
    /// Requests in flight, at most.
    pub in_flight: u64,
    /// Age of the oldest request in flight.
    pub oldest_ms: u64,
    /// Requests in flight that had no answer through the whole span.
    pub stuck: u64,
    /// Client connections without counters that stood open through the whole span, with everything read.
    pub lasting: u64,
    /// Connections with bytes that the worker has not read, at most.
    pub unread: u64,
    /// Client connections on which nothing was ever received, at most.
    pub silent: u64,
    /// Client connections that do not take what was sent, at most.
    pub slow_readers: u64,
    /// Client connections that took nothing of what was sent through the whole span, and one of them.
    pub stalled_readers: (u64, Option<String>),
    /// Backends that were asked and have not answered: address and how many connections, at most.
    pub asked: BTreeMap<String, u64>,
    /// Readings in which some backend was asked and had not answered.
    pub asked_readings: u64,
    /// Backends that a connection stands to: address and how many, at most.
    pub backends: BTreeMap<String, u64>,
    /// Readings in which a backend had spoken within the last second.
    pub spoken_readings: u64,
}

/// Requests in flight, by whatever tells of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flying {
    /// What tells of them.
    pub source: &'static str,
    /// How many, at most.
    pub requests: u64,
    /// Those that had no answer through the whole span.
    pub stuck: u64,
    /// Share of the readings in which there were any.
    pub share: f64,
    /// How long the oldest has waited, at least.
    pub oldest_ms: u64,
    /// How sure one can be that they are requests.
    pub most_confidence: f64,
}

impl Traffic {
    /// The requests in flight in the span that was measured.
    #[must_use]
    pub fn flying(&self, span: Span) -> Flying {
        if self.counted {
            return Flying {
                source: "tcp_info",
                requests: self.in_flight,
                stuck: self.stuck,
                share: part(self.in_flight_readings, self.readings),
                oldest_ms: self.oldest_ms,
                most_confidence: 0.8,
            };
        }
        Flying {
            source: "sockets",
            requests: self.lasting,
            stuck: self.lasting,
            share: if self.lasting > 0 { 1.0 } else { 0.0 },
            oldest_ms: if self.lasting > 0 { span.len_ns() / 1_000_000 } else { 0 },
            // A connection that is kept open between requests looks the same: what waits for it must tell.
            most_confidence: 0.7,
        }
    }
}

/// Whether the client of a connection waits for its answer.
fn in_flight(socket: &Socket) -> bool {
    socket.tcp.as_ref().is_some_and(|tcp| {
        tcp.bytes_received > 0
            && socket.receive_queue == 0
            && (tcp.bytes_acked == 0 && socket.send_queue == 0
                || tcp.last_data_recv_ms < tcp.last_data_sent_ms)
    })
}

/// Whether a backend was asked and has not answered.
fn unanswered(socket: &Socket) -> bool {
    match socket.state {
        SocketState::Connecting => true,
        SocketState::Established => socket.tcp.as_ref().is_some_and(|tcp| {
            tcp.bytes_acked + socket.send_queue > 0
                && socket.receive_queue == 0
                && (tcp.bytes_received == 0 || tcp.last_data_sent_ms < tcp.last_data_recv_ms)
        }),
        _ => false,
    }
}

/// Whether a socket that is no client's is one by which answers come: a log or a pair of the process's own is none.
fn asks(socket: &Socket) -> bool {
    match socket.family {
        SocketFamily::Tcp => true,
        SocketFamily::Unix => {
            !socket.remote.is_empty() && !known::TOLD_ONLY.iter().any(|part| socket.remote.contains(part))
        }
        SocketFamily::Udp => false,
    }
}

/// A descriptor by which a process has asked a backend that is silent, as last seen.
#[must_use]
pub fn asked(view: &View<'_>, process: &ProcessView<'_>) -> Option<i32> {
    let silent = |s: &Socket| {
        let name_server = s.family == SocketFamily::Udp && s.remote_port == DNS;
        name_server || asks(s) && !view.is_client(s) && unanswered(s)
    };
    let open = process.inode_of.iter();
    open.filter(|(_, inode)| view.socket_of.get(*inode).is_some_and(|s| silent(s))).map(|(fd, _)| *fd).min()
}

/// Whether the other end has spoken just now.
fn spoke(socket: &Socket) -> bool {
    socket.tcp.as_ref().is_some_and(|t| t.bytes_received > 0 && t.last_data_recv_ms < RECENT_MS)
}

/// Counts sockets by their other end, and keeps the most that any reading had.
fn most_by_peer<'a>(most: &mut BTreeMap<String, u64>, sockets: impl Iterator<Item = &'a Socket>) {
    let mut now: BTreeMap<&str, u64> = BTreeMap::new();
    for socket in sockets {
        *now.entry(&socket.remote).or_default() += 1;
    }
    for (peer, n) in now {
        let so_far = most.entry(peer.to_owned()).or_default();
        *so_far = n.max(*so_far);
    }
}

/// Measures the sockets of a process in a span.
#[must_use]
pub fn traffic(view: &View<'_>, process: &ProcessView<'_>, span: Span) -> Traffic {
    let mut traffic = Traffic { counted: true, ..Traffic::default() };
    let mut before: Option<HashMap<u64, &Socket>> = None;
    let mut stuck: Option<HashSet<u64>> = None;
    let mut lasting: Option<HashSet<u64>> = None;
    let mut full: Option<HashMap<u64, &Socket>> = None;
    for reading in view.sockets.iter().filter(|r| span.holds(r.at_ns)) {
        let owned: HashSet<u64> = process
            .descriptors
            .iter()
            .rev()
            .find(|d| d.at_ns <= reading.at_ns)
            .or(process.descriptors.first())
            .map(|d| d.value.iter().filter_map(|d| d.inode).collect())
            .unwrap_or_default();
        let mine = || reading.value.iter().filter(|s| s.inode != 0 && owned.contains(&s.inode));
        let clients: HashMap<u64, &Socket> =
            mine().filter(|s| view.is_client(s)).map(|s| (s.inode, s)).collect();
        traffic.readings += 1;
        traffic.counted &= clients.values().all(|s| s.tcp.is_some());
        traffic.clients = traffic.clients.max(clients.len() as u64);
        if let Some(before) = &before {
            let (events, bytes) = progress(before, &clients);
            traffic.events += events;
            traffic.bytes += bytes;
        }
        let flying: HashSet<u64> = clients.values().filter(|s| in_flight(s)).map(|s| s.inode).collect();
        let age = |s: &&Socket| s.tcp.as_ref().map_or(0, |t| u64::from(t.last_data_recv_ms));
        traffic.in_flight = traffic.in_flight.max(flying.len() as u64);
        traffic.in_flight_readings += u64::from(!flying.is_empty());
        let oldest = clients.values().filter(|s| flying.contains(&s.inode)).map(age).max();
        traffic.oldest_ms = traffic.oldest_ms.max(oldest.unwrap_or(0));
        stuck = Some(stuck.map_or_else(|| flying.clone(), |s| s.intersection(&flying).copied().collect()));
        let quiet = clients.values().filter(|s| s.tcp.is_none() && s.receive_queue == 0).map(|s| s.inode);
        let quiet: HashSet<u64> = quiet.collect();
        lasting = Some(lasting.map_or_else(|| quiet.clone(), |l| l.intersection(&quiet).copied().collect()));
        let count = |test: &dyn Fn(&Socket) -> bool| clients.values().filter(|s| test(s)).count() as u64;
        traffic.unread = traffic.unread.max(count(&|s| s.receive_queue > 0));
        traffic.silent = traffic.silent.max(count(&|s| {
            s.state == SocketState::Established
                && s.receive_queue == 0
                && s.tcp.as_ref().is_some_and(|t| t.bytes_received == 0)
        }));
        traffic.slow_readers = traffic.slow_readers.max(count(&|s| s.send_queue > 0));
        let took_nothing = |before: &Socket, now: &Socket| {
            now.send_queue > 0
                && before.tcp.as_ref().map(|t| t.bytes_acked) == now.tcp.as_ref().map(|t| t.bytes_acked)
        };
        full = Some(match full {
            None => clients.iter().filter(|(_, s)| s.send_queue > 0).map(|(inode, s)| (*inode, *s)).collect(),
            Some(full) => full
                .into_iter()
                .filter(|(inode, was)| clients.get(inode).is_some_and(|now| took_nothing(was, now)))
                .collect(),
        });
        let upstream = || mine().filter(|s| asks(s) && !view.is_client(s));
        traffic.asked_readings += u64::from(upstream().any(unanswered));
        most_by_peer(&mut traffic.asked, upstream().filter(|s| unanswered(s)));
        let connected = || upstream().filter(|s| s.state == SocketState::Established);
        traffic.spoken_readings += u64::from(connected().any(spoke));
        most_by_peer(&mut traffic.backends, connected());
        before = Some(clients);
    }
    traffic.stuck = stuck.map_or(0, |s| s.len() as u64);
    traffic.lasting = lasting.map_or(0, |l| l.len() as u64);
    let full = full.unwrap_or_default();
    traffic.stalled_readers = (full.len() as u64, full.values().map(|s| s.remote.clone()).min());
    traffic
}

/// Connections that were born, moved bytes or ended between two readings, and the bytes.
fn progress(before: &HashMap<u64, &Socket>, now: &HashMap<u64, &Socket>) -> (u64, u64) {
    let mut events = 0;
    let mut bytes = 0;
    for (inode, socket) in now {
        let Some(old) = before.get(inode) else {
            events += 1;
            continue;
        };
        if let (Some(new), Some(old)) = (&socket.tcp, &old.tcp) {
            // What the kernel received is no merit of the worker until it was read; what was sent is.
            let sent = new.bytes_acked.saturating_sub(old.bytes_acked);
            bytes += sent + new.bytes_received.saturating_sub(old.bytes_received);
            events += u64::from(sent > 0);
        }
    }
    events += before.keys().filter(|inode| !now.contains_key(inode)).count() as u64;
    (events, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::model::TcpCounters;

    fn socket(received: u64, acked: u64, recv_ms: u32, sent_ms: u32, queue: u64) -> Socket {
        Socket {
            inode: 1,
            family: SocketFamily::Tcp,
            state: SocketState::Established,
            local: "127.0.0.1:8000".into(),
            remote: "127.0.0.1:4000".into(),
            local_port: 8000,
            remote_port: 4000,
            receive_queue: queue,
            send_queue: 0,
            tcp: Some(TcpCounters {
                bytes_received: received,
                bytes_acked: acked,
                last_data_recv_ms: recv_ms,
                last_data_sent_ms: sent_ms,
            }),
        }
    }

    #[test]
    fn a_request_is_in_flight_when_the_client_spoke_last() {
        assert!(in_flight(&socket(80, 500, 450, 9_000, 0)), "keep-alive, second request");
        assert!(in_flight(&socket(80, 0, 404, 404, 0)), "first request on a fresh connection");
        assert!(!in_flight(&socket(80, 500, 704, 252, 0)), "answered");
        assert!(!in_flight(&socket(0, 0, 900, 900, 0)), "silent client");
        assert!(!in_flight(&socket(80, 0, 10, 10, 80)), "not read yet");
    }

    #[test]
    fn a_backend_is_unanswered_when_we_spoke_last() {
        assert!(unanswered(&socket(0, 40, 900, 900, 0)));
        assert!(unanswered(&socket(10, 40, 900, 100, 0)));
        assert!(!unanswered(&socket(10, 40, 100, 900, 0)));
        assert!(!unanswered(&socket(0, 0, 900, 900, 0)), "never asked");
    }
}
