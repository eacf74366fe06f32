//! Tests of the socket diagnosis format: generated messages come back, damaged ones are refused without a panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const SEQUENCE: u32 = 3;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = request(kind, flags, SEQUENCE, body);
    bytes[NL_FLAGS..NL_FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

#[test]
fn a_datagram_is_taken_apart() {
    let mut datagram = message(SOCK_DIAG_BY_FAMILY, 2, b"abc");
    datagram.push(0); // padding
    datagram.extend(message(0x77, 0, b"unknown kinds are skipped..."));
    datagram.extend(message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]));
    let stale = datagram.clone();
    assert_eq!(next_message(&mut stale.as_slice(), SEQUENCE - 1), None, "an answer to another request");
    let mut rest = datagram.as_slice();
    assert_eq!(next_message(&mut rest, SEQUENCE), Some(Message::Socket(b"abc")));
    assert_eq!(next_message(&mut rest, SEQUENCE), Some(Message::Done { inconsistent: true }));
    assert_eq!(next_message(&mut rest, SEQUENCE), None);
    let refused = message(NLMSG_ERROR, 0, &(-2_i32).to_ne_bytes());
    assert_eq!(next_message(&mut refused.as_slice(), SEQUENCE), Some(Message::Error(2)));
    let refused = message(NLMSG_DONE, 0, &(-95_i32).to_ne_bytes());
    assert_eq!(next_message(&mut refused.as_slice(), SEQUENCE), Some(Message::Error(95)));
    assert_eq!(
        next_message(&mut [8, 0, 0, 0, 0, 0, 0, 0].as_slice(), SEQUENCE),
        None,
        "shorter than its header"
    );
}

#[test]
fn sizes_are_those_of_the_kernels_structures() {
    assert_eq!(tcp_request(AF_INET, 1).len(), NL_HEADER_BYTES + 56);
    assert_eq!(tcp_request_of_both(1).len(), NL_HEADER_BYTES + 60);
    let name = TcpName { family: AF_INET, id: [1; SOCKET_ID_BYTES] };
    assert_eq!(tcp_request_of_one(&name, 1).len(), NL_HEADER_BYTES + 56);
    assert_eq!(unix_request(1).len(), NL_HEADER_BYTES + 24);
}

#[test]
fn names_of_unix_sockets() {
    assert_eq!(unix_name(b"/run/x.sock\0"), "/run/x.sock");
    assert_eq!(unix_name(b"\0gunicorn\0x"), "@gunicorn@x");
    assert_eq!(unix_name(b""), "");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut rest = bytes.as_slice();
        while next_message(&mut rest, SEQUENCE).is_some() {}
        let _ = (tcp_socket(&bytes), unix_diag_socket(&bytes), tcp_counters(&bytes));
    }

    #[test]
    fn a_cut_off_tcp_message_never_panics(length in 0_usize..260, family in prop_oneof![Just(AF_INET), Just(AF_INET6)]) {
        let mut body = vec![family, 1, 0, 0];
        body.resize(INET_MESSAGE_BYTES, 7);
        body.extend(attribute(INET_DIAG_INFO, &[9; 180]));
        body.truncate(length);
        prop_assert_eq!(tcp_socket(&body).is_some(), length >= INET_MESSAGE_BYTES);
    }

    #[test]
    fn tcp_round_trip(
        ip: [u8; 16], six: bool, lp: u16, rp in 1_u16.., queues: (u32, u32), inode: u32,
        acked: u64, received: u64, ages: (u32, u32), established: bool,
    ) {
        let family = if six { AF_INET6 } else { AF_INET };
        let mut body = vec![family, if established { 1 } else { 10 }, 0, 0];
        body.extend(lp.to_be_bytes());
        body.extend(rp.to_be_bytes());
        body.extend(ip);
        body.extend(ip);
        body.extend([0; 12]); // interface and cookie
        for word in [0, queues.0, queues.1, 0, inode] {
            body.extend(word.to_ne_bytes());
        }
        prop_assert_eq!(body.len(), INET_MESSAGE_BYTES);
        let mut info = vec![0; TCP_LAST_DATA_SENT_MS];
        info.extend(ages.0.to_ne_bytes());
        info.extend([0; 4]);
        info.extend(ages.1.to_ne_bytes());
        info.resize(TCP_BYTES_ACKED, 0);
        info.extend(acked.to_ne_bytes());
        info.extend(received.to_ne_bytes());
        body.extend(attribute(99, b"something else"));
        body.extend(attribute(INET_DIAG_INFO, &info));
        let socket = tcp_socket(&body).unwrap();
        let address = if six {
            IpAddr::V6(Ipv6Addr::from(ip)).to_canonical()
        } else {
            IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]))
        };
        prop_assert_eq!(socket.local, SocketAddr::new(address, lp).to_string());
        prop_assert_eq!((socket.local_port, socket.remote_port, socket.inode), (lp, rp, u64::from(inode)));
        prop_assert_eq!((socket.receive_queue, socket.send_queue), (u64::from(queues.0), u64::from(queues.1)));
        let counters = TcpCounters {
            bytes_received: received, bytes_acked: acked, last_data_recv_ms: ages.1, last_data_sent_ms: ages.0,
        };
        prop_assert_eq!(socket.tcp, established.then_some(counters));
    }

    #[test]
    fn unix_round_trip(inode: u32, peer: u32, queues: (u32, u32), name in "/[a-z ]{1,40}") {
        let mut body = vec![AF_UNIX, 1, 1, 0];
        body.extend(inode.to_ne_bytes());
        body.extend([0; 8]);
        body.extend(attribute(UNIX_DIAG_NAME, name.as_bytes()));
        body.extend(attribute(UNIX_DIAG_PEER, &peer.to_ne_bytes()));
        body.extend(attribute(UNIX_DIAG_RQLEN, &[queues.0.to_ne_bytes(), queues.1.to_ne_bytes()].concat()));
        let seen = unix_diag_socket(&body).unwrap();
        prop_assert_eq!((seen.peer, seen.socket.inode), (Some(u64::from(peer)), u64::from(inode)));
        prop_assert_eq!((seen.socket.receive_queue, seen.socket.send_queue), (u64::from(queues.0), u64::from(queues.1)));
        prop_assert_eq!((seen.socket.local, seen.socket.state), (name, SocketState::Established));
    }
}
