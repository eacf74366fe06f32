//! Prints what one reading of each kernel source costs, in microseconds, against a child that sleeps in `read`.

use std::error::Error;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use stallscope::observe::cgroup::CpuGroup;
use stallscope::observe::descriptors::{info, list};
use stallscope::observe::host::HostFiles;
use stallscope::observe::kernel_file::{FileBudget, ProcDir, READ_BUFFER_BYTES};
use stallscope::observe::process::snapshot;
use stallscope::observe::readiness::Readiness;
use stallscope::observe::sock_diag::SockDiag;
use stallscope::observe::sockets::{SocketFiles, Table, Wanted};
use stallscope::observe::thread_files::ThreadFiles;

const ROUNDS: usize = 2000;

/// Prints median, 90th percentile and minimum.
fn measure<T>(what: &str, mut read: impl FnMut() -> T) {
    let mut times_ns: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(read());
            start.elapsed().as_nanos()
        })
        .collect();
    times_ns.sort_unstable();
    let us = |index: usize| times_ns[index] as f64 / 1000.0;
    println!("{what:<44} p50 {:8.2}  p90 {:8.2}  min {:8.2} us", us(ROUNDS / 2), us(ROUNDS * 9 / 10), us(0));
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let result = measure_all(child.id() as i32);
    drop(child.stdin.take()); // at the end of its input, `cat` ends
    child.wait()?;
    result
}

fn measure_all(pid: i32) -> Result<(), Box<dyn Error>> {
    for (kind, budget) in [("kept", FileBudget::from_limit()), ("reopened", FileBudget::new(0))] {
        let process = Arc::new(ProcDir::open(pid, &budget)?);
        let mut thread = ThreadFiles::new(Arc::clone(&process), pid);
        let mut buffer = [0; READ_BUFFER_BYTES];
        measure(&format!("schedstat, {kind}"), || thread.schedstat(&mut buffer).is_ok());
        measure(&format!("syscall, {kind}"), || thread.syscall(&mut buffer).is_ok());
        measure(&format!("stat, {kind}"), || thread.stat(&mut buffer).is_ok());
        measure(&format!("status, {kind}"), || thread.status(&mut buffer).is_ok());
        measure(&format!("wchan, {kind}"), || thread.wchan(&mut buffer).is_ok());
        measure(&format!("all counters of a thread, {kind}"), || thread.counters(&mut buffer).is_ok());
    }
    let process = Arc::new(ProcDir::open(pid, &FileBudget::from_limit())?);
    let listing = list(&process)?;
    measure(&format!("list {} descriptors", listing.fds.len()), || list(&process).is_ok());
    measure("fdinfo of one descriptor", || info(&process, 0).is_ok());
    measure("process snapshot", || snapshot(&process).is_ok());

    let readiness = Readiness::open(Arc::clone(&process))?;
    let input = listing.fds.first().ok_or("the child has no descriptor")?;
    measure("readiness of a pipe", || readiness.ask(input, 1).is_ok());
    let (near, _far) = UnixStream::pair()?;
    let ourselves = Arc::new(ProcDir::open(std::process::id() as i32, &FileBudget::from_limit())?);
    let own = list(&ourselves)?.fds.into_iter().find(|seen| seen.fd == near.as_raw_fd());
    let (own, readiness) = (own.ok_or("our socket is not listed")?, Readiness::open(Arc::clone(&ourselves))?);
    measure("readiness of a socket", || readiness.ask(&own, 1).is_ok());

    let all = Wanted { inodes: (0..u64::from(u16::MAX)).collect(), ports: (1..=u16::MAX).collect() };
    let mut files = SocketFiles::new();
    for (name, table) in [("tcp", Table::Tcp), ("udp", Table::Udp), ("unix", Table::Unix)] {
        let count = files.read(&process, &[table], &all)?.sockets.len();
        measure(&format!("/proc/net {name}, {count} sockets"), || {
            files.read(&process, &[table], &all).is_ok()
        });
    }
    let mut diagnosis = SockDiag::open(&process)?;
    let count = diagnosis.tcp(&all)?.sockets.len();
    measure(&format!("sock_diag tcp, {count} sockets"), || diagnosis.tcp(&all).is_ok());
    let count = diagnosis.unix(&all)?.sockets.len();
    measure(&format!("sock_diag unix, {count} sockets"), || diagnosis.unix(&all).is_ok());

    let group = CpuGroup::open(&process)?;
    measure("control group and its ancestors", || group.sample(0, &[pid]).is_ok());
    let host = HostFiles::open()?;
    measure("host", || host.sample(0).is_ok());
    Ok(())
}
