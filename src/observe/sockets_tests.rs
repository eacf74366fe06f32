//! Tests of the socket tables: addresses, selection, and streaming of long files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;
use crate::observe::kernel_file::FileBudget;

fn me() -> ProcDir {
    ProcDir::open(std::process::id() as i32, &FileBudget::new(64)).unwrap()
}

#[test]
fn addresses_as_people_write_them() {
    let text = |digits: &[u8]| inet_address(digits).unwrap().to_string();
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    assert_eq!(text(format!("{}:1F40", word([127, 0, 0, 1])).as_bytes()), "127.0.0.1:8000");
    let zeros = word([0; 4]).repeat(3);
    assert_eq!(text(format!("{zeros}{}:1F40", word([0, 0, 0, 1])).as_bytes()), "[::1]:8000");
    let mapped = format!("{}{}{}:0050", word([0; 4]).repeat(2), word([0, 0, 255, 255]), word([10, 0, 0, 7]));
    assert_eq!(text(mapped.as_bytes()), "10.0.0.7:80");
    assert_eq!(inet_address(b"0100007F"), None);
    assert_eq!(inet_address(b"0100007F:12345"), None);
}

#[test]
fn a_unix_path_may_hold_spaces() {
    let socket = parse_line(Table::Unix, b"0000: 2 0 00010000 0001 01 77 /run/a b.sock").unwrap();
    assert_eq!((socket.inode, socket.state), (77, SocketState::Listen));
    assert_eq!(socket.local, "/run/a b.sock");
    assert_eq!(parse_line(Table::Unix, b"0000: 2 0 00000000 0001 03  1158").unwrap().local, "");
}

#[test]
fn listeners_and_what_nobody_accepted_are_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let mut files = SocketFiles::new();
    files.chunk.truncate(300); // two lines and a bit: forces many rounds
    let wanted = Wanted { ports: [port].into(), ..Wanted::default() };
    let kept = files.read(&me(), Table::ALL, &wanted).unwrap();
    let listening: Vec<_> = kept.sockets.iter().filter(|s| s.state == SocketState::Listen).collect();
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0].receive_queue, 3, "connections waiting in the accept queue");
    assert_eq!(listening[0].local, format!("127.0.0.1:{port}"));
    assert_eq!(listening[0].remote, "");
    let waiting: Vec<_> = kept.sockets.iter().filter(|s| s.inode == 0).collect();
    assert_eq!(waiting.len(), 3);
    assert!(clients.iter().all(|c| waiting.iter().any(|w| w.remote == c.local_addr().unwrap().to_string())));
    // Second reading through the kept files gives the same.
    assert_eq!(files.read(&me(), Table::ALL, &wanted).unwrap().sockets, kept.sockets);
}

#[test]
fn long_tables_are_read_to_their_end() {
    let listeners: Vec<_> = (0..100).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    let wanted = Wanted { ports, ..Wanted::default() };
    for chunk_bytes in [200, 301, 4096, 5000, CHUNK_BYTES] {
        let mut files = SocketFiles::new();
        files.chunk.truncate(chunk_bytes);
        let kept = files.read(&me(), &[Table::Tcp], &wanted).unwrap().sockets;
        assert_eq!(kept.len(), listeners.len(), "through {chunk_bytes} bytes");
    }
}

#[test]
fn udp_and_unix_by_inode() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("with space");
    let unix = UnixListener::bind(&path).unwrap();
    let inode = |fd: &dyn std::os::fd::AsFd| nix::sys::stat::fstat(fd.as_fd()).unwrap().st_ino;
    let wanted = Wanted { inodes: [inode(&udp), inode(&unix)].into(), ..Wanted::default() };
    let kept = SocketFiles::new().read(&me(), Table::ALL, &wanted).unwrap().sockets;
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].local_port, udp.local_addr().unwrap().port());
    assert_eq!((kept[1].state, kept[1].local.as_str()), (SocketState::Listen, path.to_str().unwrap()));
}

#[test]
fn what_is_listed_twice_is_kept_once() {
    let line = |inode, remote| {
        format!("1: 0100007F:1F40 0100007F:{remote} 01 00000000:00000000 00:00000000 00000000 0 0 {inode} 1")
    };
    let wanted = Wanted { inodes: [7].into(), ports: [8000].into() };
    let mut kept = Kept::default();
    for line in [line(7, "1111"), line(0, "2222"), line(0, "3333"), line(7, "1111"), line(0, "2222")] {
        kept.offer(parse_line(Table::Tcp, line.as_bytes()).unwrap(), &wanted);
    }
    assert_eq!(kept.sockets.len(), 3);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..250)) {
        for table in [Table::Tcp, Table::Udp, Table::Unix] {
            let _ = parse_line(table, &line);
        }
    }

    #[test]
    fn tcp_round_trip(local: [u8; 4], remote in any::<[u8; 4]>(), lp: u16, rp in 1_u16.., tx: u32, rx: u32, inode: u64) {
        let hex = |bytes| u32::from_ne_bytes(bytes);
        let line = format!(
            "   7: {:08X}:{lp:04X} {:08X}:{rp:04X} 01 {tx:08X}:{rx:08X} 00:00000000 00000000  1000        0 {inode} 1 0 100",
            hex(local), hex(remote)
        );
        let socket = parse_line(Table::Tcp, line.as_bytes()).unwrap();
        prop_assert_eq!(socket.local, SocketAddr::from((local, lp)).to_string());
        prop_assert_eq!(socket.remote, SocketAddr::from((remote, rp)).to_string());
        prop_assert_eq!((socket.send_queue, socket.receive_queue), (u64::from(tx), u64::from(rx)));
        prop_assert_eq!((socket.inode, socket.state), (inode, SocketState::Established));
    }
}
