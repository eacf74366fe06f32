//! The sockets of the server, round by round, at a bounded price.
//!
//! Takes the inodes that the processes hold, gives the sockets behind them with queues and counters. The kernel's socket
//! diagnosis is asked where it answers, the text files where it does not (and for UDP, once per socket). A list of all TCP
//! sockets walks the kernel's whole table, which costs milliseconds on a large machine however idle the server: it is
//! asked for when a socket is met that nobody knows yet, and never more often than its price allows; between two lists the
//! known ones are asked for by name.

use std::collections::{HashMap, HashSet};

use super::sources::{Source, Sources};
use crate::capture::model::{BlindSpot, Socket, SocketFamily, SocketState};
use crate::observe::clock::{monotonic_ns, own_cpu_ns};
use crate::observe::kernel_file::{ProcDir, Unseen};
use crate::observe::sock_diag::{NoDiagnosis, SockDiag};
use crate::observe::sockets::{SocketFiles, Table, Wanted};

/// Most sockets written per round.
const MAX_SOCKETS: usize = 4_096;
/// After a list, so many times its price passes before the next: an eighth of a percent of a processor.
const LIST_SHARE: u64 = 800;
/// More sockets than this are cheaper listed than asked for one by one.
const MOST_BY_NAME: usize = 512;

/// The sockets of a server.
pub struct SocketWatch {
    diag: Option<SockDiag>,
    files: SocketFiles,
    ports: HashSet<u16>,
    others: HashMap<u64, Socket>,
    nowhere: HashSet<u64>,
    next_list_ns: u64,
}

impl SocketWatch {
    /// Opens the sources for a server whose head is `head`.
    #[must_use]
    pub fn open(head: &ProcDir, blind: &mut Vec<BlindSpot>) -> Self {
        let diag = match SockDiag::open(head) {
            Ok(diag) => Some(diag),
            // Told with the gate that is closed.
            Err(NoDiagnosis::UnknownNamespace(Unseen::Denied)) => None,
            Err(why) => {
                blind.push(BlindSpot {
                    what: "requests in flight and their ages".into(),
                    why: format!("the kernel's socket diagnosis does not answer for this target: {why}"),
                    remedy:
                        "run stallscope inside the target's network namespace: nsenter -n -t PID stallscope …"
                            .into(),
                });
                None
            }
        };
        Self {
            diag,
            files: SocketFiles::new(),
            ports: HashSet::new(),
            others: HashMap::new(),
            nowhere: HashSet::new(),
            next_list_ns: 0,
        }
    }

    /// The sockets behind these inodes, listeners first; `None` when nobody answered. `any` is a process of the server.
    pub fn round(
        &mut self,
        inodes: HashSet<u64>,
        any: &ProcDir,
        sources: &mut Sources,
        blind: &mut Vec<BlindSpot>,
    ) -> Option<Vec<Socket>> {
        let wanted = Wanted { inodes, ports: self.ports.clone() };
        self.others.retain(|inode, _| wanted.inodes.contains(inode));
        self.nowhere.retain(|inode| wanted.inodes.contains(inode));
        let answer = self.by_diagnosis(&wanted, blind);
        let answered = answer.is_some();
        let (mut sockets, listed) = answer.unwrap_or((Vec::new(), true));
        let known: HashSet<u64> = sockets.iter().map(|s| s.inode).collect();
        let new = |i: &u64| !known.contains(i) && !self.others.contains_key(i) && !self.nowhere.contains(i);
        let tables: &[Table] = match answered {
            false => Table::ALL,
            // Only a whole list tells that a socket is none of TCP's.
            true if listed && wanted.inodes.iter().any(new) => &[Table::Udp],
            true => &[],
        };
        let mut read = false;
        if !tables.is_empty()
            && let Ok(kept) = self.files.read(any, tables, &wanted)
        {
            read = true;
            for socket in kept.sockets.into_iter().filter(|s| !known.contains(&s.inode)) {
                if socket.family == SocketFamily::Udp {
                    self.others.insert(socket.inode, socket);
                } else {
                    sockets.push(socket);
                }
            }
            let found: HashSet<u64> = sockets.iter().map(|s| s.inode).collect();
            let lost = wanted.inodes.iter().filter(|i| !found.contains(i) && !self.others.contains_key(i));
            self.nowhere = lost.copied().collect();
        }
        sources.counted(Source::Sockets, answered || read);
        if !answered && !read {
            return None;
        }
        sockets.extend(self.others.values().cloned());
        Some(self.finish(sockets, blind))
    }

    /// What the socket diagnosis says, and whether that is a whole list.
    fn by_diagnosis(&mut self, wanted: &Wanted, blind: &mut Vec<BlindSpot>) -> Option<(Vec<Socket>, bool)> {
        let mut diag = self.diag.take()?;
        match self.ask(&mut diag, wanted) {
            Ok(answer) => {
                self.diag = Some(diag);
                Some(answer)
            }
            Err(why) => {
                blind.push(BlindSpot {
                    what: "requests in flight and their ages".into(),
                    why: format!("the kernel's socket diagnosis failed: {why}"),
                    remedy: "none needed for the other evidence".into(),
                });
                None
            }
        }
    }

    fn ask(&mut self, diag: &mut SockDiag, wanted: &Wanted) -> Result<(Vec<Socket>, bool), NoDiagnosis> {
        let mut sockets = diag.unix(wanted)?.sockets;
        let unix: HashSet<u64> = sockets.iter().map(|s| s.inode).collect();
        // One that was nowhere may since have connected: a list passes over those that are in no state yet.
        let met = |i: &u64| unix.contains(i) || diag.knows_tcp(*i) || self.others.contains_key(i);
        let list = !wanted.inodes.iter().all(met) || diag.tcp_known() > MOST_BY_NAME;
        if list && monotonic_ns() >= self.next_list_ns {
            let before = own_cpu_ns();
            sockets.extend(diag.tcp(wanted)?.sockets);
            let price = own_cpu_ns().saturating_sub(before);
            self.next_list_ns = monotonic_ns().saturating_add(price.saturating_mul(LIST_SHARE));
            return Ok((sockets, true));
        }
        sockets.extend(diag.tcp_again(wanted)?.sockets);
        Ok((sockets, false))
    }

    /// Orders and bounds them, and remembers the ports that are listened on.
    fn finish(&mut self, mut sockets: Vec<Socket>, blind: &mut Vec<BlindSpot>) -> Vec<Socket> {
        sockets.sort_by_key(|s| (s.state != SocketState::Listen, s.inode));
        if sockets.len() > MAX_SOCKETS {
            sockets.truncate(MAX_SOCKETS);
            blind.push(BlindSpot {
                what: "some of the sockets".into(),
                why: format!("there are more than {MAX_SOCKETS}"),
                remedy: "look at one worker: --only PID".into(),
            });
        }
        let listening =
            sockets.iter().filter(|s| s.state == SocketState::Listen && s.family == SocketFamily::Tcp);
        self.ports.extend(listening.map(|s| s.local_port));
        sockets
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
    use nix::sys::stat::fstat;

    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn a_socket_that_connects_after_it_was_first_met_is_found() {
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(64)).unwrap();
        let (mut blind, mut sources) = (Vec::new(), Sources::default());
        let mut watch = SocketWatch::open(&me, &mut blind);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let early = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let inode = fstat(&early).unwrap().st_ino;
        let mut states = |watch: &mut SocketWatch| -> Vec<SocketState> {
            // The price of the last list is no matter here.
            watch.next_list_ns = 0;
            let seen = watch.round([inode].into(), &me, &mut sources, &mut blind).unwrap();
            seen.iter().filter(|s| s.inode == inode).map(|s| s.state).collect()
        };
        assert_eq!(states(&mut watch), [], "in no state yet, so on no list");
        let port = listener.local_addr().unwrap().port();
        connect(early.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
        assert_eq!(states(&mut watch), [SocketState::Established]);
        assert_eq!(states(&mut watch), [SocketState::Established], "asked for by name");
    }
}
