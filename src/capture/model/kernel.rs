//! What the kernel tells a few times a second: counters, descriptors, sockets, control groups, the machine.

use serde::{Deserialize, Serialize};

/// Exact counters of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadCounters {
    /// Thread.
    pub tid: i32,
    /// Its `comm`.
    pub name: String,
    /// State letter.
    pub state: char,
    /// User time.
    pub utime_ticks: u64,
    /// System time.
    pub stime_ticks: u64,
    /// Time on a processor; `None` when the kernel keeps no `schedstat`.
    pub run_ns: Option<u64>,
    /// Time in a run queue.
    pub delay_ns: Option<u64>,
    /// Times put on a processor.
    pub slices: Option<u64>,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
    /// Time spent waiting for block devices, where the kernel accounts for it.
    pub blkio_ticks: u64,
}

/// An open descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// What the link in `/proc/PID/fd` says: `socket:[123]`, `pipe:[5]`, a path.
    pub link: String,
    /// Inode of a socket or pipe.
    pub inode: Option<u64>,
}

/// One thing that an epoll descriptor watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpollEntry {
    /// Descriptor number at the time of registration.
    pub fd: i32,
    /// Watched events (`EPOLL*` bits).
    pub events: u32,
    /// The word the application attached.
    pub data: u64,
    /// Inode of the watched file, where the kernel tells.
    pub inode: Option<u64>,
}

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its inode, by which descriptors find it. 0 for one that is not accepted yet.
    pub inode: u64,
    /// Protocol family.
    pub family: SocketFamily,
    /// State.
    pub state: SocketState,
    /// Local address or path.
    pub local: String,
    /// Remote address or path; empty when there is none.
    pub remote: String,
    /// Local port, 0 for unix sockets.
    pub local_port: u16,
    /// Remote port, 0 for unix sockets.
    pub remote_port: u16,
    /// Bytes received and not read; for a listener, connections not accepted.
    pub receive_queue: u64,
    /// Bytes sent and not acknowledged; for a listener, the backlog.
    pub send_queue: u64,
    /// Counters of a TCP connection, where the kernel's socket diagnosis may be asked.
    pub tcp: Option<TcpCounters>,
}

/// Protocol families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketFamily {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
    /// Unix domain.
    Unix,
}

/// Socket states that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketState {
    /// Accepts connections.
    Listen,
    /// Connected.
    Established,
    /// Connecting.
    Connecting,
    /// The peer has closed and we have not.
    CloseWait,
    /// Any other.
    Other,
}

/// Counters of a TCP connection (`tcp_info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounters {
    /// Payload received.
    pub bytes_received: u64,
    /// Payload sent and acknowledged.
    pub bytes_acked: u64,
    /// Since data last arrived.
    pub last_data_recv_ms: u32,
    /// Since data was last sent.
    pub last_data_sent_ms: u32,
}

/// Bandwidth control of one control group at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSample {
    /// When it was read.
    pub at_ns: u64,
    /// Path below the controller's mount point, as the target sees it.
    pub path: String,
    /// 1 or 2.
    pub version: u8,
    /// Processes of the server inside it.
    pub pids: Vec<i32>,
    /// Quota per period, `None` when unlimited.
    pub quota_us: Option<u64>,
    /// Period.
    pub period_us: u64,
    /// Periods so far.
    pub nr_periods: u64,
    /// Periods in which it ran out of quota.
    pub nr_throttled: u64,
    /// Time its processors were held back, summed over processors.
    pub throttled_ns: u64,
    /// Whether the group is frozen.
    pub frozen: bool,
}

/// The machine's processors and pressure at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSample {
    /// When it was read.
    pub at_ns: u64,
    /// Idle and I/O-wait time of all processors, ticks.
    pub idle_ticks: u64,
    /// All time of all processors, ticks.
    pub total_ticks: u64,
    /// Time stolen by the hypervisor, ticks.
    pub steal_ticks: u64,
    /// Pressure: time in which some task waited for a processor.
    pub psi_cpu_some_us: Option<u64>,
    /// Pressure: time in which some task waited for I/O.
    pub psi_io_some_us: Option<u64>,
    /// `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`: grows when the machine was suspended.
    pub suspended_ns: u64,
}
