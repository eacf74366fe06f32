//! Asks the kernel's socket diagnosis, which knows more than `/proc/net`: bytes moved and ages of a TCP connection,
//! the backlog of a listener, queues and peers of unix sockets.
//!
//! Takes the inodes and ports that matter, gives [`Socket`](crate::capture::model::Socket)s. It answers for the
//! network namespace of the tool, so it is only opened for a target that lives in the same one; for another,
//! [`super::sockets`] remains. It needs no right. Must never change a socket (the same protocol could close one).

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::stat::stat;
use nix::sys::time::{TimeVal, TimeValLike};

use super::diag_wire::{self, Message};
use super::kernel_file::{ProcDir, Unseen};
use super::sockets::{Kept, Wanted};

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
        Ok(Self { channel, sequence: 0, buffer: vec![0; DATAGRAM_BYTES] })
    }

    /// TCP connections and listeners. The backlog of a listener is its `send_queue`.
    pub fn tcp(&mut self, wanted: &Wanted) -> Result<Kept, NoDiagnosis> {
        let mut kept = Kept::default();
        for family in [diag_wire::AF_INET, diag_wire::AF_INET6] {
            self.dump(
                |sequence| diag_wire::tcp_request(family, sequence),
                |body| {
                    if let Some(socket) = diag_wire::tcp_socket(body) {
                        kept.offer(socket, wanted);
                    }
                },
            )?;
        }
        Ok(kept)
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

    /// Sends a request and hands out the sockets of the answer.
    fn dump(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        mut socket_seen: impl FnMut(&[u8]),
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
                    Message::Socket(body) => socket_seen(body),
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
