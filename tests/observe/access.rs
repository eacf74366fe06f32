//! What a user without rights sees of another user's process: some things, and typed refusals for the rest.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use stallscope::observe::cgroup::CpuGroup;
use stallscope::observe::descriptors::{info, list};
use stallscope::observe::kernel_file::{READ_BUFFER_BYTES, Unseen};
use stallscope::observe::process::snapshot;
use stallscope::observe::readiness::{NotAsked, Readiness};
use stallscope::observe::sock_diag::{NoDiagnosis, SockDiag};
use stallscope::observe::sockets::{SocketFiles, Table, Wanted};
use stallscope::observe::thread_files::ThreadFiles;

use crate::support::{Target, as_nobody, root_or_skip};

const SOMEBODY: u32 = 65_533;

#[test]
fn another_users_process() {
    if !root_or_skip("another user's process") {
        return;
    }
    let mut command = Command::new("/usr/bin/python3");
    let mut target = Target::start(
        command.uid(SOMEBODY),
        "l = socket.create_server(('127.0.0.1', 0)); say(l.fileno(), l.getsockname()[1]); sys.stdin.readline()",
    );
    let numbers = target.numbers();
    let (process, pid) = (target.proc_dir(), target.pid());
    // What root may list, to ask for it without being root.
    let socket =
        list(&process).unwrap().fds.into_iter().find(|seen| i64::from(seen.fd) == numbers[0]).unwrap();
    assert_eq!(snapshot(&process).unwrap().dumpable, Some(true));
    as_nobody(|| {
        let mut thread = ThreadFiles::new(Arc::clone(&process), pid);
        let mut buffer = [0; READ_BUFFER_BYTES];
        assert_eq!(thread.counters(&mut buffer).unwrap().tid, pid);
        assert_eq!(thread.syscall(&mut buffer), Err(Unseen::Denied));
        assert_eq!(thread.wchan(&mut buffer), Ok(None), "hidden without an error");
        assert_eq!(list(&process), Err(Unseen::Denied));
        assert_eq!(info(&process, 0), Err(Unseen::Denied));
        let seen = snapshot(&process).unwrap();
        assert_eq!((seen.effective_uid, seen.exe, seen.net_ns), (SOMEBODY, None, None));
        assert!(!seen.cmdline.is_empty());
        let wanted = Wanted { ports: [numbers[1] as u16].into(), ..Wanted::default() };
        assert_eq!(SocketFiles::new().read(&process, Table::ALL, &wanted).unwrap().sockets.len(), 1);
        assert!(matches!(SockDiag::open(&process), Err(NoDiagnosis::UnknownNamespace(Unseen::Denied))));
        let readiness = Readiness::open(Arc::clone(&process)).unwrap();
        assert_eq!(readiness.ask(&socket, 1), Err(NotAsked::Unseen(Unseen::Denied)));
        assert!(CpuGroup::open(&process).is_ok());
    });
}

#[test]
fn a_file_opened_as_root_is_still_refused_to_others() {
    if !root_or_skip("rights that are lost after opening") {
        return;
    }
    let mut target = Target::python("say(0); sys.stdin.readline()");
    target.numbers();
    let mut thread = target.main_thread();
    let mut buffer = [0; READ_BUFFER_BYTES];
    thread.syscall(&mut buffer).unwrap();
    as_nobody(|| assert_eq!(thread.syscall(&mut buffer), Err(Unseen::Denied)));
}

#[test]
fn a_process_that_dropped_its_privileges_shows_it() {
    if !root_or_skip("a process that dropped its privileges") {
        return;
    }
    let mut target = Target::python(&format!("os.setuid({SOMEBODY}); say(0); sys.stdin.readline()"));
    target.numbers();
    let seen = snapshot(&target.proc_dir()).unwrap();
    assert_eq!((seen.effective_uid, seen.dumpable), (SOMEBODY, Some(false)));
}
