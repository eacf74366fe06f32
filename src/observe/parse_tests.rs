//! Tests of the decoders: what the kernel writes comes back, anything else is refused without a panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

#[test]
fn stat_survives_a_hostile_name() {
    let text = b"42 (a) R 1 (b\n) c) S 7 42 42 0 -1 4194560 1 0 0 0 11 12 0 0 20 0 3 0 998877 1 2 \
        18446744073709551615 1 1 1 1 1 0 0 1 1 0 0 0 17 0 0 0 55 0 0\n";
    let seen = stat(text).unwrap();
    assert_eq!(seen.comm, b"a) R 1 (b\n) c");
    assert_eq!((seen.id, seen.state, seen.ppid, seen.threads), (42, 'S', 7, 3));
    assert_eq!((seen.utime_ticks, seen.stime_ticks, seen.start_time_ticks), (11, 12, 998_877));
    assert_eq!(seen.blkio_ticks, 55);
    assert!(!seen.kernel_thread);
}

#[test]
fn our_own_files_are_understood() {
    let me = std::process::id() as i32;
    let text = std::fs::read("/proc/self/stat").unwrap();
    let seen = stat(&text).unwrap();
    assert_eq!(seen.id, me);
    assert!(seen.start_time_ticks > 0 && seen.threads >= 1);
    let text = std::fs::read("/proc/self/status").unwrap();
    let seen_status = status(&text).unwrap();
    assert_eq!((seen_status.tgid, seen_status.ppid), (me, seen.ppid));
    assert_eq!(seen_status.effective_uid, nix::unistd::geteuid().as_raw());
    assert!(stat(&std::fs::read("/proc/2/stat").unwrap()).is_some());
}

#[test]
fn all_forms_of_syscall() {
    assert_eq!(syscall(b"running\n"), Some(Doing::Running));
    assert_eq!(syscall(b"-1 0x7ffd0 0x7f11\n"), Some(Doing::Elsewhere));
    assert_eq!(
        syscall(b"232 0x5 0x7f 0x40 0xffffffffffffffff 0x0 0x8 0x7ffd 0x7f11\n"),
        Some(Doing::Syscall(232, [5, 0x7f, 0x40, u64::MAX, 0, 8]))
    );
    assert_eq!(syscall(b""), None);
    assert_eq!(syscall(b"232 0x5"), None);
    assert_eq!(syscall(b"-1"), None);
}

#[test]
fn wchan_zero_is_nothing() {
    assert_eq!(wchan(b"0"), None);
    assert_eq!(wchan(b""), None);
    assert_eq!(wchan(b"do_epoll_wait"), Some("do_epoll_wait"));
}

#[test]
fn last_namespace_wins_and_missing_lines_are_refused() {
    let text = b"Name:\tx\nState:\tS (sleeping)\nTgid:\t9\nPid:\t9\nPPid:\t1\nTracerPid:\t0\n\
        Uid:\t1000\t0\t1000\t1000\nNSpid:\t9\t31\t7\nThreads:\t4\n\
        voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
    let seen = status(text).unwrap();
    assert_eq!((seen.ns_pid, seen.real_uid, seen.effective_uid, seen.threads), (7, 1000, 0, 4));
    assert_eq!((seen.voluntary_switches, seen.involuntary_switches), (5, 6));
    assert_eq!(status(&text[..text.len() - 40]), None, "a cut-off file");
}

proptest! {
    #[test]
    fn status_round_trip(
        ids in any::<[u16; 4]>(), uids: (u32, u32), tracer: u16, threads: u32, switches: (u64, u64),
        name in "[a-zA-Z:() ]{0,15}", groups in "( [0-9]{1,5}){0,20}", state in "[RSDTtZXI]",
    ) {
        let [tgid, ppid, outer, inner] = ids.map(i32::from);
        let text = format!(
            "Name:\t{name}\nUmask:\t0022\nState:\t{state} (some)\nTgid:\t{tgid}\nNgid:\t0\nPid:\t{outer}\nPPid:\t{ppid}\n\
             TracerPid:\t{tracer}\nUid:\t{}\t{}\t0\t0\nGroups:\t{groups}\nNSpid:\t{outer}\t{inner}\nThreads:\t{threads}\n\
             SigQ:\t0/1\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
            uids.0, uids.1, switches.0, switches.1,
        );
        let expected = Status {
            state: state.chars().next().unwrap(), tgid, ppid, tracer_pid: tracer.into(), real_uid: uids.0,
            effective_uid: uids.1, ns_pid: inner, threads: threads.into(), voluntary_switches: switches.0,
            involuntary_switches: switches.1,
        };
        prop_assert_eq!(status(text.as_bytes()), Some(expected));
    }

    #[test]
    fn wchan_round_trip(name in "[a-z_][a-z0-9_.]{0,40}") {
        prop_assert_eq!(wchan(name.as_bytes()), Some(name.as_str()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = (schedstat(&bytes), stat(&bytes), status(&bytes), syscall(&bytes), wchan(&bytes));
    }

    #[test]
    fn nearly_valid_bytes_never_panic(text in "[0-9a-fx() :\n\t-]{0,200}|-?[0-9]{1,25}( 0x[0-9a-f]{0,18}){0,9}") {
        let bytes = text.as_bytes();
        let _ = (schedstat(bytes), stat(bytes), status(bytes), syscall(bytes), wchan(bytes));
    }

    #[test]
    fn schedstat_round_trip(run_ns: u64, delay_ns: u64, slices: u64) {
        let text = format!("{run_ns} {delay_ns} {slices}\n");
        prop_assert_eq!(schedstat(text.as_bytes()), Some(SchedStat { run_ns, delay_ns, slices }));
    }

    #[test]
    fn syscall_round_trip(number in 0..i64::MAX, arguments: [u64; 6], sp: u64, pc: u64) {
        let listed: Vec<String> = arguments.iter().map(|a| format!("{a:#x}")).collect();
        let text = format!("{number} {} {sp:#x} {pc:#x}\n", listed.join(" "));
        prop_assert_eq!(syscall(text.as_bytes()), Some(Doing::Syscall(number, arguments)));
        prop_assert_eq!(syscall(format!("-1 {sp:#x} {pc:#x}\n").as_bytes()), Some(Doing::Elsewhere));
    }

    #[test]
    fn stat_round_trip(
        id in 0..i32::MAX, ppid in 0..i32::MAX, comm in proptest::collection::vec(any::<u8>(), 0..16),
        kernel: bool, utime: u64, stime: u64, threads: u64, start: u64, blkio: u64,
    ) {
        let flags = if kernel { PF_KTHREAD } else { 0 };
        let mut text = format!("{id} (").into_bytes();
        text.extend(&comm);
        text.extend(format!(") D {ppid} 1 1 0 -1 {flags} 1 2 3 4 {utime} {stime} 5 6 20 -5 {threads} 0 {start}").bytes());
        text.extend(" 1".repeat(19).bytes());
        text.extend(format!(" {blkio} 0 0\n").bytes());
        let expected = Stat {
            id, comm: &comm, state: 'D', ppid, kernel_thread: kernel, utime_ticks: utime, stime_ticks: stime,
            threads, start_time_ticks: start, blkio_ticks: blkio,
        };
        prop_assert_eq!(stat(&text), Some(expected));
    }
}

#[test]
fn functions_that_may_sleep_otherwise_are_not_taken_for_interruptible() {
    for name in ["ep_poll", "do_epoll_wait.isra.0", "futex_do_wait", "hrtimer_nanosleep"] {
        assert!(is_interruptible(name), "{name}");
    }
    for name in [
        "do_signal_stop",
        "ptrace_stop",
        "folio_wait_bit_common",
        "io_schedule",
        "wait_woken",
        "",
        "ep_poll_x",
    ] {
        assert!(!is_interruptible(name), "{name}");
    }
}

#[test]
fn the_site_of_a_call_stands_behind_its_arguments() {
    let text = b"232 0x5 0x7f10 0x40 0x1f4 0x0 0x0 0x7ffd10 0x7f22\n";
    assert_eq!(site(text), Some(Site { stack_pointer: 0x7f_fd10, program_counter: 0x7f22 }));
    assert_eq!(site(b"running\n"), None);
    assert_eq!(site(b"-1 0x7ffd10 0x7f22\n"), None);
}

#[test]
fn stacks_of_the_kernel() {
    let text =
        b"[<0>] hrtimer_nanosleep+0xc5/0x170\n[<0>] do_syscall_64+0x5b/0xc0 [module]\nnonsense\n[<0>] \n";
    assert_eq!(kernel_stack(text), ["hrtimer_nanosleep", "do_syscall_64"]);
}
