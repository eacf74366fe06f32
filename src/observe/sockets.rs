//! Sockets as `/proc/PID/net/*` lists them: those of the network namespace of that process.
//!
//! Takes the inodes and ports that matter, gives [`Socket`]s without counters. The files list every socket of the
//! namespace and can be long, so they stream through a fixed buffer and only what matters is kept.
//! A socket that is born or dies while a table is read may be missing.
//! Two things are not to be had here, and are 0: the backlog of a listener, and every queue of a unix socket;
//! [`super::sock_diag`] has both. A unix path may hold a newline, by which a process could forge a line: an inode
//! that is not in the wanted set is never kept, and the first line of an inode wins.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::kernel_file::{KeptFile, ProcDir, Seen, Unseen};
use super::parse::{decimal, hexadecimal, lines, words};
use crate::capture::model::{Socket, SocketFamily, SocketState};

/// Most sockets that are kept of one reading.
pub const MAX_SOCKETS: usize = 65_536;

const CHUNK_BYTES: usize = 64 * 1024;

/// The kernel hands out these files in pieces of about a page and cuts only between lines, so that a piece of less than
/// this can only be the last. Asking once more to be sure would walk its whole hash table of connections again, which
/// is half of the cost.
const SHORT_PIECE_BYTES: usize = 2048;

/// Which sockets are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those with one of these inodes.
    pub inodes: HashSet<u64>,
    /// Listeners of these TCP ports, and connections to them that nobody has accepted yet.
    pub ports: HashSet<u16>,
}

impl Wanted {
    /// Whether a socket is to be kept.
    #[must_use]
    pub fn keeps(&self, socket: &Socket) -> bool {
        if self.inodes.contains(&socket.inode) {
            return true;
        }
        let waiting =
            socket.inode == 0 && matches!(socket.state, SocketState::Established | SocketState::CloseWait);
        socket.family == SocketFamily::Tcp
            && (socket.state == SocketState::Listen || waiting)
            && self.ports.contains(&socket.local_port)
    }
}

/// What was kept of one reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// Whether there were more than [`MAX_SOCKETS`].
    pub truncated: bool,
    known: HashSet<(u64, String)>,
}

impl Kept {
    /// Keeps a socket if it is wanted, new and there is room. The kernel repeats some when others come into being
    /// while it lists them.
    pub(crate) fn offer(&mut self, socket: Socket, wanted: &Wanted) {
        if !wanted.keeps(&socket) {
            return;
        }
        if self.sockets.len() >= MAX_SOCKETS {
            self.truncated = true;
            return;
        }
        // Those without an inode are told apart by their peer.
        let peer =
            if socket.inode == 0 { format!("{} {}", socket.local, socket.remote) } else { String::new() };
        if self.known.insert((socket.inode, peer)) {
            self.sockets.push(socket);
        }
    }
}

/// The socket files of a process's network namespace, kept open.
#[derive(Debug)]
pub struct SocketFiles {
    tables: [(Table, KeptFile); 5],
    chunk: Vec<u8>,
}

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `tcp` and `tcp6`.
    Tcp,
    /// `udp` and `udp6`.
    Udp,
    /// `unix`.
    Unix,
}

impl Table {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Tcp, Self::Udp, Self::Unix];
}

impl Default for SocketFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl SocketFiles {
    /// Names the files; none is opened yet.
    #[must_use]
    pub fn new() -> Self {
        let tables = [
            (Table::Tcp, "net/tcp"),
            (Table::Tcp, "net/tcp6"),
            (Table::Udp, "net/udp"),
            (Table::Udp, "net/udp6"),
            (Table::Unix, "net/unix"),
        ]
        .map(|(table, path)| (table, KeptFile::new(path)));
        Self { tables, chunk: vec![0; CHUNK_BYTES] }
    }

    /// Reads these tables. One that this kernel does not have (IPv6 switched off) counts as empty.
    pub fn read(&mut self, process: &ProcDir, tables: &[Table], wanted: &Wanted) -> Seen<Kept> {
        let mut kept = Kept::default();
        for (table, file) in self.tables.iter_mut().filter(|(table, _)| tables.contains(table)) {
            match stream(file, process, &mut self.chunk, |line| {
                if let Some(socket) = parse_line(*table, line) {
                    kept.offer(socket, wanted);
                }
            }) {
                Ok(()) | Err(Unseen::Absent) => {}
                Err(unseen) => return Err(unseen),
            }
        }
        Ok(kept)
    }
}

/// Hands out the lines of a file after its title, through a fixed buffer. A line longer than the buffer is cut.
fn stream(
    file: &mut KeptFile,
    process: &ProcDir,
    chunk: &mut [u8],
    mut line_seen: impl FnMut(&[u8]),
) -> Seen<()> {
    let (mut offset, mut held, mut title) = (0, 0, true);
    let mut emit = |line: &[u8]| {
        if !std::mem::take(&mut title) {
            line_seen(line);
        }
    };
    loop {
        let room = chunk.get_mut(held..).unwrap_or_default();
        let asked = room.len();
        let length = file.read_at(process, room, offset)?;
        let last = length == 0 || (length < asked && length < SHORT_PIECE_BYTES);
        offset += length as u64;
        let filled = held + length;
        let text = chunk.get(..filled).unwrap_or_default();
        let newline = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let complete = if last || (newline == 0 && filled == chunk.len()) { filled } else { newline };
        lines(text.get(..complete).unwrap_or_default()).for_each(&mut emit);
        if last {
            return Ok(());
        }
        chunk.copy_within(complete..filled, 0);
        held = filled - complete;
    }
}

/// Decodes one line of a table.
#[must_use]
pub fn parse_line(table: Table, line: &[u8]) -> Option<Socket> {
    match table {
        Table::Tcp => inet_line(line, SocketFamily::Tcp),
        Table::Udp => inet_line(line, SocketFamily::Udp),
        Table::Unix => unix_line(line),
    }
}

/// `0: LOCAL REMOTE ST TX:RX TIMER RETR UID TIMEOUT INODE …`
fn inet_line(line: &[u8], family: SocketFamily) -> Option<Socket> {
    let mut words = words(line).skip(1);
    let local = inet_address(words.next()?)?;
    let remote = inet_address(words.next()?)?;
    let state = state(hexadecimal(words.next()?)?.try_into().ok()?);
    let (send_queue, receive_queue) = pair(words.next()?)?;
    let inode = decimal(words.nth(4)?)?;
    Some(Socket {
        inode,
        family,
        state,
        local: local.to_string(),
        remote: remote_text(remote),
        local_port: local.port(),
        remote_port: remote.port(),
        receive_queue,
        send_queue,
        tcp: None,
    })
}

fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    Some((hexadecimal(text.get(..colon)?)?, hexadecimal(text.get(colon + 1..)?)?))
}

/// `0100007F:1F40`: the address as words in the machine's byte order, the port as a plain number.
fn inet_address(text: &[u8]) -> Option<SocketAddr> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    let digits = text.get(..colon)?;
    let port = hexadecimal(text.get(colon + 1..)?)?.try_into().ok()?;
    let word = |digits: &[u8]| Some(u32::try_from(hexadecimal(digits)?).ok()?.to_ne_bytes());
    let ip = match digits.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(digits)?)),
        32 => {
            let mut bytes = [0; 16];
            for (target, digits) in bytes.chunks_exact_mut(4).zip(digits.chunks_exact(8)) {
                target.copy_from_slice(&word(digits)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// A remote address as text; empty when there is none.
pub(crate) fn remote_text(remote: SocketAddr) -> String {
    if remote.port() == 0 && remote.ip().is_unspecified() { String::new() } else { remote.to_string() }
}

/// A TCP state of the kernel's numbering, which UDP and unix sockets borrow.
pub(crate) const fn state(number: u8) -> SocketState {
    match number {
        1 => SocketState::Established,
        2 => SocketState::Connecting,
        8 => SocketState::CloseWait,
        10 => SocketState::Listen,
        _ => SocketState::Other,
    }
}

/// `NUM: REF PROTOCOL FLAGS TYPE ST INODE [PATH]`
fn unix_line(line: &[u8]) -> Option<Socket> {
    const ACCEPTS: u64 = 0x1_0000;
    let mut words = words(line).skip(3);
    let flags = hexadecimal(words.next()?)?;
    words.next()?;
    let state = match hexadecimal(words.next()?)? {
        _ if flags & ACCEPTS != 0 => SocketState::Listen,
        2 => SocketState::Connecting,
        3 => SocketState::Established,
        _ => SocketState::Other,
    };
    let inode_word = words.next()?;
    let inode = decimal(inode_word)?;
    // The path is the rest of the line behind one space, whatever it holds.
    let inode_end = inode_word.as_ptr() as usize - line.as_ptr() as usize + inode_word.len();
    let path = line.get(inode_end..)?.strip_prefix(b" ").unwrap_or_default();
    Some(unix_socket(inode, state, String::from_utf8_lossy(path).into_owned()))
}

/// A unix socket of which no more is known.
pub(crate) const fn unix_socket(inode: u64, state: SocketState, local: String) -> Socket {
    Socket {
        inode,
        family: SocketFamily::Unix,
        state,
        local,
        remote: String::new(),
        local_port: 0,
        remote_port: 0,
        receive_queue: 0,
        send_queue: 0,
        tcp: None,
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
