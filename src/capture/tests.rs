//! Captures written and read again, whole, cut, foreign and hostile.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::mask::{MASK, Values};
use super::model::*;
use super::reader::{Limits, read, read_from};
use super::writer::CaptureFile;
use crate::error::{Error, ErrorKind};

fn header() -> Header {
    Header {
        capture_version: CAPTURE_VERSION.into(),
        tool_version: "0.1.0".into(),
        started_at: "2026-03-01T03:12:44Z".into(),
        started_realtime_ns: u64::MAX,
        started_monotonic_ns: 1,
        rate_hz: 100,
        duration_ms: 3_000,
        level: Level::Memory,
        host: HostFacts {
            hostname: "ho\nst".into(),
            kernel: "6.1".into(),
            arch: "x86_64".into(),
            cpus: 2,
            boot_id: "b".into(),
            ticks_per_s: 100,
        },
        target: TargetFacts {
            pid: 42,
            start_time_ticks: 7,
            cmdline: vec!["gunicorn".into(), "--password".into(), "hunter2".into()],
            exe: None,
            cgroup: None,
            container_id: None,
            selected_by: "pid".into(),
        },
        server: ServerFacts {
            kind: ServerKind::Gunicorn,
            version: None,
            worker_class: Some(WorkerClass::Gevent),
            listen: vec!["127.0.0.1:8000".into()],
            workers_configured: None,
            threads_configured: None,
            max_requests: None,
            packages: Vec::new(),
            timeout_s: Some(0),
        },
    }
}

fn tick(at_ns: u64) -> Record {
    let sample = |tid, doing| ThreadSample {
        run_ns: at_ns,
        delay_ns: 5,
        slices: 9,
        state: Some('S'),
        wchan: Some(0),
        stack: Some(0),
        ..ThreadSample::of(42, tid, doing)
    };
    let samples = vec![
        sample(42, Doing::Syscall(-1, [u64::MAX, 1, 2, 3, 4, 5])),
        sample(43, Doing::Running),
        sample(44, Doing::Elsewhere),
        sample(45, Doing::Unreadable),
    ];
    Record::Tick(Tick { at_ns, late_ns: 1, samples })
}

fn end() -> Record {
    Record::End(SelfCost {
        at_ns: 3_000_000_000,
        cpu_ns: 1,
        rss_kib: 2,
        sources: vec![SourceCount {
            name: "proc.syscall".into(),
            requested: 3,
            obtained: 2,
            denied: None,
            late_ms_max: 0,
        }],
        stacks_obtained: 4,
        stacks_torn: 5,
        stacks_discarded: 6,
        interrupted: false,
    })
}

fn process() -> Record {
    Record::Process(Box::new(ProcessFacts {
        at_ns: 0,
        pid: 42,
        ns_pid: 1,
        ppid: 1,
        start_time_ticks: 7,
        age_ms: 8,
        name: "gunicorn".into(),
        cmdline: vec!["worker".into(), "TOKEN=abc".into()],
        role: Role::Worker,
        worker_class: Some(WorkerClass::Gevent),
        recognised_by: "libev".into(),
        python: None,
        tracer_pid: 0,
        loop_tid: 42,
        loop_kind: LoopKind::Libev,
        listen: Vec::new(),
        cgroup: None,
        net_ns: None,
        fd_limit: None,
    }))
}

/// One record of each kind.
fn records() -> Vec<Record> {
    let socket = Socket {
        inode: 9,
        family: SocketFamily::Tcp,
        state: SocketState::Listen,
        local: "127.0.0.1:8000".into(),
        remote: String::new(),
        local_port: 8_000,
        remote_port: 0,
        receive_queue: 0,
        send_queue: 2_048,
        tcp: Some(TcpCounters {
            bytes_received: 1,
            bytes_acked: 2,
            last_data_recv_ms: 3,
            last_data_sent_ms: 4,
        }),
    };
    let counters = ThreadCounters {
        tid: 42,
        name: "gunicorn".into(),
        state: 'R',
        utime_ticks: 1,
        stime_ticks: 2,
        run_ns: Some(3),
        delay_ns: None,
        slices: None,
        voluntary_switches: 4,
        involuntary_switches: 5,
        blkio_ticks: 6,
    };
    vec![
        process(),
        Record::Gone { at_ns: 1, pid: 43, status: Some(9) },
        Record::Name { id: 0, text: "ep_poll".into() },
        Record::Frame { id: 0, frame: Frame { function: "\u{1b}f".into(), file: "a.py".into(), line: 3 } },
        Record::Stack { id: 0, frames: vec![0], complete: true },
        tick(0),
        Record::Threads { at_ns: 2, pid: 42, threads: vec![counters] },
        Record::Descriptors {
            at_ns: 3,
            pid: 42,
            fds: vec![Descriptor { fd: 16, link: "socket:[9]".into(), inode: Some(9) }],
        },
        Record::EpollSet {
            at_ns: 4,
            pid: 42,
            epfd: 9,
            entries: vec![EpollEntry { fd: 16, events: 1, data: u64::MAX, inode: None }],
        },
        Record::Sockets { at_ns: 5, sockets: vec![socket] },
        Record::Readiness { at_ns: 6, pid: 42, fd: 16, revents: -1, queued_bytes: Some(24) },
        Record::Heartbeat { at_ns: 7, pid: 42, now_realtime_ns: 8, ctime_ns: 9, mtime_ns: 10, mode: 1 },
        Record::Cgroup(CgroupSample {
            at_ns: 8,
            path: "/".into(),
            version: 2,
            pids: vec![42],
            quota_us: None,
            period_us: 100_000,
            nr_periods: 1,
            nr_throttled: 2,
            throttled_ns: 3,
            frozen: false,
        }),
        Record::Host(HostSample {
            at_ns: 9,
            idle_ticks: 1,
            total_ticks: 2,
            steal_ticks: 3,
            psi_cpu_some_us: None,
            psi_io_some_us: Some(4),
            suspended_ns: 5,
        }),
        Record::Blind(BlindSpot { what: "a".into(), why: "b".into(), remedy: "c".into() }),
        end(),
    ]
}

fn write(path: &Path, records: &[Record], values: Values) {
    let mut writer = CaptureFile::create(path).unwrap().begin(&header(), values).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    writer.finish().unwrap();
}

fn bytes_of(records: &[Record]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    write(&path, records, Values::Shown);
    std::fs::read(path).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Capture, Error> {
    read_from(bytes, "c", Limits::default())
}

fn pack(text: &str) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn first_line() -> String {
    let magic = format!("{{\"stallscope_capture\":\"{CAPTURE_VERSION}\",");
    serde_json::to_string(&header()).unwrap().replacen('{', &magic, 1) + "\n"
}

fn cause(bytes: &[u8]) -> String {
    let error = parse(bytes).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadCapture, "{error:?}");
    assert!(!error.remedies.is_empty(), "{error:?}");
    error.cause
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stall.cap");
    write(&path, &records(), Values::Shown);
    assert_eq!(read(&path).unwrap(), Capture { header: header(), records: records() });
}

#[test]
fn secrets_do_not_reach_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stall.cap");
    write(&path, &records(), Values::Masked);
    let capture = read(&path).unwrap();
    assert_eq!(capture.header.target.cmdline, ["gunicorn", "--password", MASK]);
    let Record::Process(process) = &capture.records[0] else { panic!("{:?}", capture.records[0]) };
    assert_eq!(process.cmdline, ["worker", "TOKEN=***"]);
    assert_eq!(capture.records[1..], records()[1..]);
}

#[test]
fn a_capture_is_for_its_owner_only_and_overwrites_nothing() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stall.cap");
    write(&path, &records(), Values::Masked);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(CaptureFile::create(&path).unwrap_err().kind, ErrorKind::Io);
    assert!(read(&path).is_ok());
}

#[test]
fn a_capture_that_never_began_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stall.cap");
    drop(CaptureFile::create(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_capture_can_be_read_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stall.cap");
    let writer = CaptureFile::create(&path).unwrap().begin(&header(), Values::Shown).unwrap();
    let capture = read(&path).unwrap();
    assert_eq!(capture.header, header());
    assert!(matches!(&capture.records[..], [Record::Blind(spot)] if spot.why.contains("cut short")));
    drop(writer);
}

#[test]
fn a_capture_cut_anywhere_gives_what_is_there() {
    let whole = records();
    let bytes = bytes_of(&whole);
    let mut most = 0;
    for length in 1..bytes.len() {
        let Ok(capture) = parse(&bytes[..length]) else { continue };
        assert_eq!(capture.header, header());
        let (note, read) = capture.records.split_last().unwrap();
        assert!(matches!(note, Record::Blind(spot) if spot.why.contains("cut short")), "{length}: {note:?}");
        assert_eq!(read, &whole[..read.len()]);
        most = most.max(read.len());
    }
    assert_eq!(most, whole.len(), "the checksum alone may be missing");
}

#[test]
fn a_cut_plain_capture_gives_what_is_there() {
    let text = first_line() + &serde_json::to_string(&tick(1)).unwrap() + "\n{\"r\":\"go";
    let capture = parse(text.as_bytes()).unwrap();
    assert_eq!(capture.records[0], tick(1));
    assert!(matches!(&capture.records[1..], [Record::Blind(_)]));
}

#[test]
fn what_is_no_capture_is_refused_with_its_cause() {
    assert!(cause(b"").contains("empty"));
    assert!(cause(b"\x7fELF\x02\x01\x01\n").contains("not that of a capture"));
    assert!(cause(b"{\"schema_version\": \"1.0\"}\n").contains("not that of a capture"));
    assert!(cause(&pack("hello\n")).contains("not that of a capture"));
    assert!(cause(&pack("")).contains("ends before"));
    assert!(cause(b"\x1f\x8b\x08").contains("ends before"));
    assert!(cause(b"\x1f\x8bnonsense nonsense").contains("damaged"));
    assert!(cause((first_line() + "{\"r\":\"tick\"}\n").as_bytes()).contains("line 2"));
    assert!(cause((first_line() + "{\"r\":\"from_the_future\"}\n").as_bytes()).contains("line 2"));
    assert!(cause(b"{\"stallscope_capture\":\"1.0\"}\n").contains("header"));
}

#[test]
fn a_flipped_bit_is_noticed() {
    let mut bytes = bytes_of(&records());
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert!(cause(&bytes).contains("damaged"));
}

#[test]
fn a_newer_major_version_is_refused_and_a_newer_minor_is_read() {
    let newer = |version: &str| {
        let old = format!("\"{CAPTURE_VERSION}\"");
        let record = serde_json::to_string(&end()).unwrap();
        first_line().replace(&old, &format!("\"{version}\""))
            + "{\"r\":\"from_the_future\",\"x\":1}\n"
            + &record
            + "\n"
    };
    assert!(cause(newer("2.0").as_bytes()).contains("another capture format"));
    assert!(cause(newer("soon").as_bytes()).contains("another capture format"));
    let capture = parse(newer("1.9").as_bytes()).unwrap();
    assert_eq!(capture.records[0], end());
    assert!(matches!(&capture.records[1..], [Record::Blind(spot)] if spot.what.starts_with("1 records")));
}

#[test]
fn bombs_do_not_go_off() {
    let limits = Limits { bytes: 1 << 20, line_bytes: 1 << 16, records: 10 };
    let cause = |text: &str| read_from(&pack(text)[..], "c", limits).unwrap_err().cause;
    assert!(cause(&"x".repeat(1 << 17)).contains("longer than"));
    assert!(cause(&(first_line() + &"{".repeat(1 << 17))).contains("longer than"));
    let gone = "{\"r\":\"gone\",\"at_ns\":1,\"pid\":1}\n";
    assert!(cause(&(first_line() + &gone.repeat(11))).contains("more than 10 records"));
    let limits = Limits { records: usize::MAX, ..limits };
    let error = read_from(&pack(&(first_line() + &gone.repeat(1 << 16)))[..], "c", limits).unwrap_err();
    assert!(error.cause.contains("unpacks to more"), "{error:?}");
    let nested = first_line() + &"[".repeat(60_000) + "\n";
    assert!(parse(nested.as_bytes()).is_err());
}

#[test]
fn a_missing_file_is_no_bad_capture() {
    assert_eq!(read(Path::new("/nonexistent/c")).unwrap_err().kind, ErrorKind::Io);
}

proptest! {
    #[test]
    fn any_texts_survive(texts in proptest::collection::vec(any::<String>(), 0..20)) {
        let mut records: Vec<Record> =
            texts.into_iter().zip(0..).map(|(text, id)| Record::Name { id, text }).collect();
        records.push(end());
        prop_assert_eq!(parse(&bytes_of(&records)).unwrap().records, records);
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), packed: bool) {
        let mut file = first_line().into_bytes();
        file.extend(&bytes);
        let mut whole = if packed { let mut out = GzEncoder::new(Vec::new(), Compression::default()); out.write_all(&file).unwrap(); out.finish().unwrap() } else { file };
        let _ = parse(&whole);
        whole.truncate(bytes.len());
        let _ = parse(&whole);
        let _ = parse(&bytes);
    }
}
