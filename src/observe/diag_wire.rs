//! The wire format of the kernel's socket diagnosis (`sock_diag(7)`), without any I/O.
//!
//! Gives the bytes of the requests, takes the bytes of the answers and gives [`Socket`]s. Offsets are those of the
//! structures in `linux/inet_diag.h`, `linux/unix_diag.h` and `linux/tcp.h`, which only ever grow at their end;
//! every access is checked, because an older kernel sends shorter ones.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bytes::{array_at, u16_at, u32_at, u64_at};
use super::sockets::{remote_text, state, unix_socket};
use crate::capture::model::{Socket, SocketFamily, SocketState, TcpCounters};

/// `struct nlmsghdr`: length u32, type u16, flags u16, sequence u32, port u32.
const NL_HEADER_BYTES: usize = 16;
const NL_TYPE: usize = 4;
const NL_FLAGS: usize = 6;
const NL_SEQUENCE: usize = 8;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The older request for TCP sockets: the only one that lists both families in one walk over the kernel's table.
const TCPDIAG_GETSOCK: u16 = 18;

const AF_UNIX: u8 = 1;
/// Address family of IPv4.
pub const AF_INET: u8 = 2;
/// Address family of IPv6.
pub const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, u32 states, then a socket id (all zero: any).
const INET_REQUEST_BYTES: usize = 56;
/// `struct inet_diag_req`: family, two lengths, extensions, a socket id, u32 states, u32 tables.
const BOTH_REQUEST_BYTES: usize = 60;
const BOTH_REQUEST_STATES: usize = 52;
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const SOCKET_ID_BYTES: usize = 48;
const INET_SOCKET_ID: usize = 4;
/// Attribute with a `struct tcp_info`; asked for by bit number - 1.
const INET_DIAG_INFO: u16 = 2;
/// All states but `SYN_RECV` (3), `TIME_WAIT` (6), `CLOSE` (7) and `NEW_SYN_RECV` (12): those belong to no descriptor
/// and can be many.
const STATES_WITH_A_DESCRIPTOR: u32 = 0xfff & !(1 << 3 | 1 << 6 | 1 << 7);

/// `struct inet_diag_msg`: family, state, timer, retransmissions; the socket id; u32 expires, receive queue, send queue,
/// user, inode.
const INET_MESSAGE_BYTES: usize = 72;
const INET_STATE: usize = 1;
const INET_LOCAL_PORT: usize = 4;
const INET_REMOTE_PORT: usize = 6;
const INET_LOCAL: usize = 8;
const INET_REMOTE: usize = 24;
const INET_RECEIVE_QUEUE: usize = 56;
const INET_SEND_QUEUE: usize = 60;
const INET_INODE: usize = 68;

/// `struct tcp_info`: the last two are there since Linux 4.1.
const TCP_LAST_DATA_SENT_MS: usize = 44;
const TCP_LAST_DATA_RECV_MS: usize = 52;
const TCP_BYTES_ACKED: usize = 120;
const TCP_BYTES_RECEIVED: usize = 128;

/// `struct unix_diag_req`: family, protocol, u16 padding, u32 states, inode, show, cookie[2].
const UNIX_REQUEST_BYTES: usize = 24;
const UDIAG_SHOW_NAME: u32 = 0x01;
const UDIAG_SHOW_PEER: u32 = 0x04;
const UDIAG_SHOW_RQLEN: u32 = 0x10;

/// `struct unix_diag_msg`: family, type, state, padding, u32 inode, cookie[2].
const UNIX_MESSAGE_BYTES: usize = 16;
const UNIX_STATE: usize = 2;
const UNIX_INODE: usize = 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
/// `struct unix_diag_rqlen`: u32 receive queue, u32 send queue; for a listener, connections waiting and backlog.
const UNIX_DIAG_RQLEN: u16 = 4;

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(NL_HEADER_BYTES + body.len());
    message.extend(((NL_HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

const WITH_COUNTERS: u8 = 1 << (INET_DIAG_INFO - 1);

/// Asks for all TCP sockets of a family, with their counters.
#[must_use]
pub fn tcp_request(family: u8, sequence: u32) -> Vec<u8> {
    let mut body = vec![family, IPPROTO_TCP, WITH_COUNTERS, 0];
    body.extend(STATES_WITH_A_DESCRIPTOR.to_ne_bytes());
    body.resize(INET_REQUEST_BYTES, 0);
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, &body)
}

/// Asks for all TCP sockets of both families, with their counters.
#[must_use]
pub fn tcp_request_of_both(sequence: u32) -> Vec<u8> {
    let mut body = vec![AF_INET, 0, 0, WITH_COUNTERS];
    body.resize(BOTH_REQUEST_STATES, 0);
    body.extend(STATES_WITH_A_DESCRIPTOR.to_ne_bytes());
    body.resize(BOTH_REQUEST_BYTES, 0);
    request(TCPDIAG_GETSOCK, NLM_F_DUMP, sequence, &body)
}

/// What names one TCP socket to the kernel, so that it is found without a walk: family and socket id with its cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpName {
    family: u8,
    id: [u8; SOCKET_ID_BYTES],
}

/// The name in a message about a TCP socket.
#[must_use]
pub fn tcp_name(body: &[u8]) -> Option<TcpName> {
    Some(TcpName { family: *body.first()?, id: array_at(body, INET_SOCKET_ID)? })
}

/// Asks for one TCP socket, with its counters.
#[must_use]
pub fn tcp_request_of_one(name: &TcpName, sequence: u32) -> Vec<u8> {
    let mut body = vec![name.family, IPPROTO_TCP, WITH_COUNTERS, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(name.id);
    request(SOCK_DIAG_BY_FAMILY, 0, sequence, &body)
}

/// Asks for all unix sockets, with names, peers and queues.
#[must_use]
pub fn unix_request(sequence: u32) -> Vec<u8> {
    let mut body = vec![AF_UNIX, 0, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(0_u32.to_ne_bytes());
    body.extend((UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN).to_ne_bytes());
    body.resize(UNIX_REQUEST_BYTES, 0);
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, &body)
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A socket.
    Socket(&'a [u8]),
    /// The answer is complete.
    Done {
        /// Whether the kernel says that sockets came and went meanwhile.
        inconsistent: bool,
    },
    /// The kernel refuses with this error number.
    Error(i32),
}

/// Takes the first message off a datagram. `None` at its end or where it makes no sense.
/// Answers to another request than that with this sequence number are passed over.
pub fn next_message<'a>(datagram: &mut &'a [u8], sequence: u32) -> Option<Message<'a>> {
    loop {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let (kind, flags) = (u16_at(datagram, NL_TYPE)?, u16_at(datagram, NL_FLAGS)?);
        let ours = u32_at(datagram, NL_SEQUENCE)? == sequence;
        let body = datagram.get(NL_HEADER_BYTES..length)?;
        *datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        match kind {
            _ if !ours => {}
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => return Some(Message::Socket(body)),
            // A dump may end with an error number instead of zero (an unloadable handler, for one).
            NLMSG_DONE => match u32_at(body, 0).map_or(0, |code| (code as i32).saturating_neg()) {
                0 => return Some(Message::Done { inconsistent: flags & NLM_F_DUMP_INTR != 0 }),
                errno => return Some(Message::Error(errno)),
            },
            NLMSG_ERROR => return Some(Message::Error((u32_at(body, 0)? as i32).saturating_neg())),
            _ => {}
        }
    }
}

/// Decodes a TCP socket.
#[must_use]
pub fn tcp_socket(body: &[u8]) -> Option<Socket> {
    let family = *body.first()?;
    let local = SocketAddr::new(ip_at(body, INET_LOCAL, family)?, port_at(body, INET_LOCAL_PORT)?);
    let remote = SocketAddr::new(ip_at(body, INET_REMOTE, family)?, port_at(body, INET_REMOTE_PORT)?);
    let state = state(*body.get(INET_STATE)?);
    let info = attributes(body.get(INET_MESSAGE_BYTES..)?).find(|(kind, _)| *kind == INET_DIAG_INFO);
    Some(Socket {
        inode: u32_at(body, INET_INODE)?.into(),
        family: SocketFamily::Tcp,
        state,
        local: local.to_string(),
        remote: remote_text(remote),
        local_port: local.port(),
        remote_port: remote.port(),
        receive_queue: u32_at(body, INET_RECEIVE_QUEUE)?.into(),
        send_queue: u32_at(body, INET_SEND_QUEUE)?.into(),
        tcp: if state == SocketState::Listen { None } else { info.and_then(|(_, info)| tcp_counters(info)) },
    })
}

fn tcp_counters(info: &[u8]) -> Option<TcpCounters> {
    Some(TcpCounters {
        bytes_received: u64_at(info, TCP_BYTES_RECEIVED)?,
        bytes_acked: u64_at(info, TCP_BYTES_ACKED)?,
        last_data_recv_ms: u32_at(info, TCP_LAST_DATA_RECV_MS)?,
        last_data_sent_ms: u32_at(info, TCP_LAST_DATA_SENT_MS)?,
    })
}

/// A unix socket and the inode of its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// The socket. Its remote name is that of the peer, which only the whole dump tells.
    pub socket: Socket,
    /// Inode of the peer, where there is one.
    pub peer: Option<u64>,
}

/// Decodes a unix socket.
#[must_use]
pub fn unix_diag_socket(body: &[u8]) -> Option<UnixSocket> {
    let inode = u32_at(body, UNIX_INODE)?.into();
    let mut socket = unix_socket(inode, state(*body.get(UNIX_STATE)?), String::new());
    let mut peer = None;
    for (kind, value) in attributes(body.get(UNIX_MESSAGE_BYTES..)?) {
        match kind {
            UNIX_DIAG_NAME => socket.local = unix_name(value),
            UNIX_DIAG_PEER => peer = u32_at(value, 0).map(u64::from),
            UNIX_DIAG_RQLEN => {
                socket.receive_queue = u32_at(value, 0)?.into();
                socket.send_queue = u32_at(value, 4)?.into();
            }
            _ => {}
        }
    }
    Some(UnixSocket { socket, peer })
}

/// A path; or `@name` for an abstract name, which starts with a zero byte and may hold more.
fn unix_name(name: &[u8]) -> String {
    match name.split_first() {
        Some((0, rest)) => format!("@{}", String::from_utf8_lossy(rest).replace('\0', "@")),
        _ => String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned(),
    }
}

/// The attributes behind a message: length u16 (with its own 4 bytes), type u16, value, padded to 4 bytes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

fn ip_at(bytes: &[u8], at: usize, family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => array_at(bytes, at).map(|four: [u8; 4]| Ipv4Addr::from(four).into()),
        AF_INET6 => array_at(bytes, at).map(|all: [u8; 16]| IpAddr::V6(Ipv6Addr::from(all)).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "diag_wire_tests.rs"]
mod tests;
