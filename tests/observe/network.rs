//! Sockets of a child, by both sources, in its own and in another network namespace.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use stallscope::capture::model::{Socket, SocketState};
use stallscope::observe::descriptors::list;
use stallscope::observe::kernel_file::ProcDir;
use stallscope::observe::sock_diag::{NoDiagnosis, SockDiag};
use stallscope::observe::sockets::{SocketFiles, Table, Wanted};

use crate::support::{Target, eventually, root_or_skip, skipped};

/// Everything that the child holds, and its port.
fn wanted_of(process: &ProcDir, port: u16) -> Wanted {
    let inodes = list(process).unwrap().fds.iter().filter_map(|seen| seen.inode).collect();
    Wanted { inodes, ports: [port].into() }
}

fn by_state(sockets: &[Socket], state: SocketState) -> Vec<&Socket> {
    sockets.iter().filter(|socket| socket.state == state).collect()
}

#[test]
fn a_listener_that_nobody_accepts_from_and_a_connection_that_works() {
    let mut target = Target::python(
        "l = socket.create_server(('127.0.0.1', 0), backlog=7); say(l.getsockname()[1])\n\
         sys.stdin.readline(); c, _ = l.accept(); say(c.fileno())\n\
         while True: c.sendall(c.recv(100))",
    );
    let port = target.numbers()[0] as u16;
    let process = target.proc_dir();
    let wanted = wanted_of(&process, port);
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let mut diagnosis = SockDiag::open(&process).unwrap();
    let listed = SocketFiles::new().read(&process, Table::ALL, &wanted).unwrap().sockets;
    let asked = diagnosis.tcp(&wanted).unwrap().sockets;
    for (source, sockets) in [("/proc", &listed), ("sock_diag", &asked)] {
        let doors = by_state(sockets, SocketState::Listen);
        assert_eq!(doors.len(), 1, "{source}");
        assert_eq!((doors[0].receive_queue, doors[0].local_port), (3, port), "{source}");
        let waiting: Vec<_> = sockets.iter().filter(|socket| socket.inode == 0).collect();
        assert_eq!(waiting.len(), 3, "{source}");
    }
    assert_eq!(by_state(&asked, SocketState::Listen)[0].send_queue, 7, "the backlog");

    target.tell("accept one");
    let fd = target.numbers()[0] as i32;
    let inode = list(&process).unwrap().fds.iter().find(|seen| seen.fd == fd).unwrap().inode.unwrap();
    let wanted = Wanted { inodes: [inode].into(), ..Wanted::default() };
    // The queue is first in, first out, so the first client is the one that was accepted.
    for round in 1..=2_u64 {
        clients[0].write_all(b"ten bytes.").unwrap();
        clients[0].read_exact(&mut [0; 10]).unwrap();
        let counters = eventually("the acknowledgement", || {
            let socket = diagnosis.tcp(&wanted).unwrap().sockets.pop().unwrap();
            assert_eq!(socket.remote, clients[0].local_addr().unwrap().to_string());
            socket.tcp.filter(|tcp| tcp.bytes_acked >= 10 * round)
        });
        assert_eq!((counters.bytes_received, counters.bytes_acked), (10 * round, 10 * round));
        assert!(counters.last_data_recv_ms < 20_000 && counters.last_data_sent_ms < 20_000);
    }
}

#[test]
fn a_connection_to_a_backend_is_found_by_its_inode() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = backend.local_addr().unwrap();
    let mut target = Target::python(&format!(
        "c = socket.create_connection(('127.0.0.1', {})); say(c.fileno()); c.recv(1); sys.stdin.readline()",
        address.port()
    ));
    target.numbers();
    let process = target.proc_dir();
    let wanted = wanted_of(&process, 0);
    let sockets = SocketFiles::new().read(&process, Table::ALL, &wanted).unwrap().sockets;
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].remote, address.to_string());
    assert_eq!((sockets[0].state, sockets[0].remote_port), (SocketState::Established, address.port()));
    // The peer closes, the child does not.
    drop(backend.accept().unwrap());
    let mut files = SocketFiles::new();
    eventually("half-closed", || {
        let sockets = files.read(&process, Table::ALL, &wanted).unwrap().sockets;
        (sockets[0].state == SocketState::CloseWait).then_some(())
    });
}

#[test]
fn a_target_in_another_network_namespace() {
    if !root_or_skip("another network namespace") {
        return;
    }
    if !Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success()) {
        return skipped("another network namespace", "unshare -n is not permitted");
    }
    let mut target = Target::start(
        Command::new("unshare").args(["-n", "python3"]),
        "l = socket.create_server(('0.0.0.0', 8000)); say(l.fileno()); sys.stdin.readline()",
    );
    target.numbers();
    let process = target.proc_dir();
    assert!(matches!(SockDiag::open(&process), Err(NoDiagnosis::OtherNamespace { .. })));
    let sockets = SocketFiles::new().read(&process, Table::ALL, &wanted_of(&process, 8000)).unwrap().sockets;
    assert_eq!(sockets.len(), 1);
    assert_eq!((sockets[0].local.as_str(), sockets[0].state), ("0.0.0.0:8000", SocketState::Listen));
}
