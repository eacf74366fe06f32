//! Asks the kernel's socket diagnosis, which knows more than `/proc/net`: bytes moved and ages of a TCP connection,
//! the backlog of a listener, queues and peers of unix sockets.
//!
//! Takes the inodes and ports that matter, gives [`Socket`]s. It answers for the
//! network namespace of the tool, so it is only opened for a target that lives in the same one; for another,
//! [`super::sockets`] remains. It needs no right. Must never change a socket (the same protocol could close one).
//!
//! A list of TCP sockets costs a walk over the kernel's whole table of connections, milliseconds on a large machine
//! however few there are. Sockets that are known by name are found without it, by [`SockDiag::tcp_again`].

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::stat::stat;
use nix::sys::time::{TimeVal, TimeValLike};

use super::diag_wire::{self, Message, TcpName};
use super::kernel_file::{ProcDir, Unseen};
use super::sockets::{Kept, Wanted};
use crate::capture::model::Socket;

/// The kernel fills a datagram of a dump up to 32 KiB.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// The kernel answers at once; this only bounds the wait if it does not.
const ANSWER_LIMIT_MS: i64 = 1000;

/// Why the socket diagnosis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDiagnosis {
    /// The target lives in another network namespace.
    #[error("the target is in another network namespace ({theirs}, the tool in {ours})")]
    OtherNamespace {
        /// Inode of the tool's namespace.
        ours: u64,
        /// Inode of the target's namespace.
        theirs: u64,
    },
    /// Which namespace the target lives in cannot be read.
    #[error("the target's network namespace: {0}")]
    UnknownNamespace(Unseen),
    /// The kernel has no such module (`tcp_diag`, `unix_diag`) or refuses.
    #[error("the kernel does not answer: {0}")]
    Refused(Errno),
    /// The kernel's answer makes no sense.
    #[error("the kernel's answer is not understood")]
    Garbled,
}

impl From<Errno> for NoDiagnosis {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// A channel to the kernel's socket diagnosis.
#[derive(Debug)]
pub struct SockDiag {
    channel: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    names: HashMap<u64, TcpName>,
    one_by_one: bool,
}

impl SockDiag {
    /// Opens a channel, if the target lives in the network namespace of the tool.
    pub fn open(target: &ProcDir) -> Result<Self, NoDiagnosis> {
        let ours = stat("/proc/thread-self/ns/net")?;
        let theirs = target.stat("ns/net").map_err(NoDiagnosis::UnknownNamespace)?;
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
            return Err(NoDiagnosis::OtherNamespace { ours: ours.st_ino, theirs: theirs.st_ino });
        }
        let channel = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        setsockopt(&channel, sockopt::ReceiveTimeout, &TimeVal::milliseconds(ANSWER_LIMIT_MS))?;
        Ok(Self {
            channel,
            sequence: 0,
            buffer: vec![0; DATAGRAM_BYTES],
            names: HashMap::new(),
            one_by_one: false,
        })
    }

    /// TCP connections and listeners. The backlog of a listener is its `send_queue`.
    pub fn tcp(&mut self, wanted: &Wanted) -> Result<Kept, NoDiagnosis> {
        if !self.one_by_one {
            match self.tcp_list(diag_wire::tcp_request_of_both, wanted, Kept::default()) {
                // The older request may be left out of a kernel.
                Err(NoDiagnosis::Refused(_)) => self.one_by_one = true,
                other => return other,
            }
        }
        let mut kept = Kept::default();
        for family in [diag_wire::AF_INET, diag_wire::AF_INET6] {
            kept = self.tcp_list(|sequence| diag_wire::tcp_request(family, sequence), wanted, kept)?;
        }
        Ok(kept)
    }

    fn tcp_list(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        wanted: &Wanted,
        mut kept: Kept,
    ) -> Result<Kept, NoDiagnosis> {
        let mut names = std::mem::take(&mut self.names);
        names.retain(|inode, _| wanted.inodes.contains(inode));
        let answer = self.dump(request, |body| {
            let Some(socket) = diag_wire::tcp_socket(body) else { return };
            if socket.inode != 0 && wanted.keeps(&socket) {
                names.extend(diag_wire::tcp_name(body).map(|name| (socket.inode, name)));
            }
            kept.offer(socket, wanted);
        });
        self.names = names;
        answer.map(|()| kept)
    }

    /// How many sockets [`SockDiag::tcp_again`] would ask for.
    #[must_use]
    pub fn tcp_known(&self) -> usize {
        self.names.len()
    }

    /// Whether the name of a TCP socket is known.
    #[must_use]
    pub fn knows_tcp(&self, inode: u64) -> bool {
        self.names.contains_key(&inode)
    }

    /// Those of the sockets of the last list that still exist and are wanted, each asked for by its name.
    pub fn tcp_again(&mut self, wanted: &Wanted) -> Result<Kept, NoDiagnosis> {
        let mut kept = Kept::default();
        let mut names = std::mem::take(&mut self.names);
        let mut failed = None;
        names.retain(|inode, name| {
            if failed.is_some() || !wanted.inodes.contains(inode) {
                return failed.is_some();
            }
            match self.one(name) {
                Ok(Some(socket)) if socket.inode == *inode => {
                    kept.offer(socket, wanted);
                    true
                }
                Ok(_) => false,
                Err(why) => {
                    failed = Some(why);
                    true
                }
            }
        });
        self.names = names;
        failed.map_or(Ok(kept), Err)
    }

    /// One socket; `None` when there is no such one any more.
    fn one(&mut self, name: &TcpName) -> Result<Option<Socket>, NoDiagnosis> {
        let mut found = None;
        let asked = self.ask(
            |sequence| diag_wire::tcp_request_of_one(name, sequence),
            |body| {
                found = diag_wire::tcp_socket(body);
                true
            },
        );
        match asked {
            // It is closed, or others took its addresses.
            Err(NoDiagnosis::Refused(Errno::ENOENT | Errno::ESTALE)) => Ok(None),
            other => other.map(|()| found),
        }
    }

    /// Unix sockets, each with the name of its peer if that has one.
    pub fn unix(&mut self, wanted: &Wanted) -> Result<Kept, NoDiagnosis> {
        let mut kept = Kept::default();
        let (mut names, mut peers) = (HashMap::new(), HashMap::new());
        self.dump(diag_wire::unix_request, |body| {
            let Some(seen) = diag_wire::unix_diag_socket(body) else { return };
            if !seen.socket.local.is_empty() {
                names.insert(seen.socket.inode, seen.socket.local.clone());
            }
            if let Some(peer) = seen.peer.filter(|_| wanted.keeps(&seen.socket)) {
                peers.insert(seen.socket.inode, peer);
            }
            kept.offer(seen.socket, wanted);
        })?;
        for socket in &mut kept.sockets {
            if let Some(name) = peers.get(&socket.inode).and_then(|peer| names.get(peer)) {
                socket.remote.clone_from(name);
            }
        }
        Ok(kept)
    }

    /// Sends a request for a list and hands out its sockets.
    fn dump(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        mut socket_seen: impl FnMut(&[u8]),
    ) -> Result<(), NoDiagnosis> {
        self.ask(request, |body| {
            socket_seen(body);
            false
        })
    }

    /// Sends a request and hands out the sockets of the answer until the list ends or one is said to be the last.
    fn ask(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        mut is_last: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), NoDiagnosis> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.channel.as_raw_fd(), &request(self.sequence), MsgFlags::empty())?;
        loop {
            let length = match recv(self.channel.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                answer => answer?,
            };
            let mut datagram = self.buffer.get(..length).unwrap_or_default();
            if datagram.is_empty() {
                return Err(NoDiagnosis::Garbled);
            }
            while let Some(message) = diag_wire::next_message(&mut datagram, self.sequence) {
                match message {
                    Message::Socket(body) if is_last(body) => return Ok(()),
                    Message::Socket(_) => {}
                    // Sockets that come and go during the dump are normal and make no other entry wrong.
                    Message::Done { .. } => return Ok(()),
                    Message::Error(errno) => return Err(NoDiagnosis::Refused(Errno::from_raw(errno))),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::capture::model::SocketState;
    use crate::observe::kernel_file::FileBudget;

    fn diagnosis() -> SockDiag {
        SockDiag::open(&ProcDir::open(std::process::id() as i32, &FileBudget::new(8)).unwrap()).unwrap()
    }

    fn inode(fd: impl AsFd) -> u64 {
        nix::sys::stat::fstat(fd).unwrap().st_ino
    }

    #[test]
    fn tcp_counters_move_and_queues_show() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let wanted = Wanted { ports: [port].into(), ..Wanted::default() };
        let mut diagnosis = diagnosis();
        let waiting = diagnosis.tcp(&wanted).unwrap().sockets;
        let door = waiting.iter().find(|s| s.state == SocketState::Listen).unwrap();
        assert_eq!((door.receive_queue, door.send_queue), (1, 128), "std listens with a backlog of 128");
        assert!(waiting.iter().any(|s| s.inode == 0 && s.remote == client.local_addr().unwrap().to_string()));

        let (mut server, _) = listener.accept().unwrap();
        let wanted = Wanted { inodes: [inode(&server)].into(), ..Wanted::default() };
        client.write_all(b"hello").unwrap();
        let unread = diagnosis.tcp(&wanted).unwrap().sockets;
        assert_eq!((unread.len(), unread[0].receive_queue), (1, 5));
        assert_eq!(unread[0].tcp.as_ref().unwrap().bytes_received, 5);
        let mut five = [0; 5];
        server.read_exact(&mut five).unwrap();
        server.write_all(b"hello yourself").unwrap();
        client.read_exact(&mut [0; 14]).unwrap();
        let answered = diagnosis.tcp(&wanted).unwrap().sockets.remove(0);
        let counters = answered.tcp.unwrap();
        assert_eq!((answered.receive_queue, counters.bytes_received), (0, 5));
        // The acknowledgement may be delayed; the bytes are then still in the queue.
        assert_eq!(counters.bytes_acked + answered.send_queue, 14);
    }

    #[test]
    fn known_sockets_are_found_again_without_a_list() {
        let mut diagnosis = diagnosis();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("SKIPPED: {address} cannot be bound here");
                continue;
            };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let inodes = [inode(&listener), inode(&server)];
            let wanted = Wanted { inodes: inodes.into(), ..Wanted::default() };
            assert_eq!(diagnosis.tcp(&wanted).unwrap().sockets.len(), 2, "{address}");
            assert_eq!(diagnosis.tcp_known(), 2);

            client.write_all(b"unread").unwrap();
            let _waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let again = diagnosis.tcp_again(&wanted).unwrap().sockets;
            let queue = |i: u64| again.iter().find(|s| s.inode == i).unwrap().receive_queue;
            assert_eq!((queue(inodes[0]), queue(inodes[1])), (1, 6), "{address}");

            drop(server);
            let again = diagnosis.tcp_again(&wanted).unwrap().sockets;
            assert_eq!(
                again.iter().map(|s| s.inode).collect::<Vec<_>>(),
                [inodes[0]],
                "{address}: the other is closed"
            );
            assert_eq!(diagnosis.tcp_known(), 1);
        }
    }

    #[test]
    fn unix_queues_and_peers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("door");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let mut diagnosis = diagnosis();
        let door = Wanted { inodes: [inode(&listener)].into(), ..Wanted::default() };
        let seen = diagnosis.unix(&door).unwrap().sockets.remove(0);
        assert_eq!((seen.state, seen.receive_queue), (SocketState::Listen, 1));
        assert_eq!(seen.local, path.to_str().unwrap());
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"unread").unwrap();
        let both = Wanted { inodes: [inode(&client), inode(&server)].into(), ..Wanted::default() };
        let seen = diagnosis.unix(&both).unwrap().sockets;
        let of = |fd: &UnixStream| seen.iter().find(|s| s.inode == inode(fd)).unwrap();
        assert_eq!(of(&client).remote, path.to_str().unwrap(), "the peer's name is what it was reached by");
        assert_eq!(of(&server).receive_queue, 6);
    }
}
