//! What to change, for each verdict: a table, each row with its condition.
//!
//! An advice is given only with the evidence that it applies here; its identifiers are stable. Pure.

use super::bugs;
use super::model::{Advice, Code, Evidence};
use super::rules::Assessment;
use crate::capture::model::{ServerFacts, WorkerClass};

/// What an advice may depend on.
#[derive(Debug)]
pub struct Situation<'s> {
    /// The verdict's assessment.
    pub winner: &'s Assessment,
    /// How the worker works.
    pub class: Option<WorkerClass>,
    /// Evidence of the verdict, by which advice is justified.
    pub evidence: &'s [Evidence],
    /// The server, with what it has loaded.
    pub server: &'s ServerFacts,
}

struct Row {
    id: &'static str,
    when: fn(&Situation<'_>) -> bool,
    change: &'static str,
    risk: &'static str,
    effect: &'static str,
}

fn code(s: &Situation<'_>, codes: &[Code]) -> bool {
    codes.contains(&s.winner.code)
}

fn sub(s: &Situation<'_>, subs: &[&str]) -> bool {
    s.winner.subcause.as_deref().is_some_and(|sub| subs.contains(&sub))
}

fn cooperative(s: &Situation<'_>) -> bool {
    matches!(s.class, Some(WorkerClass::Gevent | WorkerClass::Eventlet))
}

fn asynchronous(s: &Situation<'_>) -> bool {
    matches!(
        s.class,
        Some(WorkerClass::Uvicorn | WorkerClass::Asgi | WorkerClass::Asyncio | WorkerClass::Tornado)
    )
}

const TABLE: &[Row] = &[
    Row {
        id: "A16",
        when: |s| code(s, &[Code::HotSpin]) && s.winner.culprit.as_ref().is_some_and(|c| c.fd.is_some()),
        change: "find who registered the named descriptor with the loop and make its callback read, accept or unregister it; \
                 check that library's version for a fix",
        risk: "none in looking; restarting the worker ends the spin only until the same event comes again",
        effect: "the worker's processor share falls to what its requests need",
    },
    Row {
        id: "A20",
        when: |s| code(s, &[Code::HotSpin]) && sub(s, &["busy_wait"]),
        change: "replace the sleep(0)-style loop in the named function by waiting for the event it polls for",
        risk: "low",
        effect: "the worker's processor share falls to what its requests need",
    },
    Row {
        id: "A29",
        when: |s| code(s, &[Code::HotSpin]) && sub(s, &["housekeeping_no_poll"]),
        change: "raise --worker-connections above the number of connections that clients keep open, and shorten --keep-alive, \
                 until the loop is mended",
        risk: "more connections to each worker",
        effect: "the worker accepts and polls again",
    },
    Row {
        id: "A13",
        when: |s| code(s, &[Code::LoopBlockedOnCpu]) && !sub(s, &["gc"]),
        change: "move the named computation out of the loop: a process pool or task queue; or cut it into pieces that yield",
        risk: "results arrive asynchronously; a thread pool does not help pure Python",
        effect: "the loop turns within 0.1 s again and the other requests of this worker are served",
    },
    Row {
        id: "A14",
        when: |s| code(s, &[Code::LoopBlockedOnCpu]) && sub(s, &["gc"]),
        change: "collect less: gc.freeze() after the application is loaded and before the fork, higher thresholds \
                 (gc.set_threshold), fewer objects that live long; call gc.collect() outside of requests only",
        risk: "garbage in cycles stays longer: watch the memory",
        effect: "the collector's pauses become rare and short",
    },
    Row {
        id: "A28",
        when: |s| code(s, &[Code::LoopBlockedOnCpu]) && sub(s, &["native_gil_released"]),
        change: "run the named native call in a thread: it does not hold the interpreter lock",
        risk: "bound the threads",
        effect: "the loop turns while the call computes",
    },
    Row {
        id: "A2",
        when: |s| code(s, &[Code::LoopBlockedOffCpu]) && sub(s, &["upstream", "dns"]) && cooperative(s),
        change: "use a cooperative driver for the named peer (pure Python, or the driver's gevent support), or run the call in \
                 gevent's thread pool",
        risk: "greenlets multiply connections: size the connection pool",
        effect: "the call suspends its own greenlet instead of the whole worker",
    },
    Row {
        id: "A3",
        when: |s| {
            code(s, &[Code::LoopBlockedOffCpu])
                && sub(s, &["upstream", "dns", "sleep", "subprocess", "lock"])
                && cooperative(s)
        },
        change: "make sure that gevent's monkey patching runs before the module in question is imported (also under preload)",
        risk: "patching late changes half of the modules; C extensions are never patched",
        effect: "Python-level waits become cooperative",
    },
    Row {
        id: "A21",
        when: |s| code(s, &[Code::LoopBlockedOffCpu]) && asynchronous(s),
        change: "await an asynchronous version of the named call, or run it with asyncio.to_thread",
        risk: "a thread pool has few threads: bound the calls",
        effect: "the loop turns while the call waits",
    },
    Row {
        id: "A22",
        when: |s| sub(s, &["database_file"]),
        change: "shorten the transactions that write to the named database file, or move to a database server; lower the busy \
                 timeout so that a locked file fails fast",
        risk: "a short busy timeout turns waits into errors",
        effect: "no request holds the worker while another writes",
    },
    Row {
        id: "A1",
        when: |s| code(s, &[Code::LoopBlockedOffCpu, Code::LoopBlockedOnCpu]) && cooperative(s),
        change: "run this application with --worker-class gthread --threads N until all its drivers are cooperative",
        risk: "threads x workers must fit the database pool and memory; long computations still share one interpreter lock",
        effect: "one blocked request holds one thread instead of all requests of the worker",
    },
    Row {
        id: "A4",
        when: |s| {
            code(s, &[Code::WaitingUpstream])
                || code(s, &[Code::LoopBlockedOffCpu]) && sub(s, &["upstream", "dns"])
        },
        change: "set connect and read timeouts on calls to the named peer, and look at that peer first",
        risk: "requests that would have succeeded late now fail early",
        effect: "one slow backend no longer holds every request",
    },
    Row {
        id: "A9",
        when: |s| {
            code(s, &[Code::WaitingUpstream, Code::WaitingClient])
                && matches!(s.class, Some(WorkerClass::Sync | WorkerClass::Gthread))
        },
        change: "add threads (--threads) as long as the wait cannot be shortened",
        risk: "more connections to the backend; more memory",
        effect: "other requests find a free slot",
    },
    Row {
        id: "A15",
        when: |s| code(s, &[Code::WaitingClient]) && s.class == Some(WorkerClass::Sync),
        change: "put a buffering proxy in front of the workers, or use gthread instead of sync",
        risk: "low",
        effect: "silent and slow clients wait at the proxy",
    },
    Row {
        id: "A30",
        when: |s| code(s, &[Code::WaitingClient]) && s.class != Some(WorkerClass::Sync),
        change: "put a buffering proxy in front of the workers, and limit how long a client may take",
        risk: "clients that are slow for good reasons are cut off",
        effect: "silent and slow clients wait at the proxy",
    },
    Row {
        id: "A31",
        when: |s| sub(s, &["log_pipe"]),
        change: "look at whoever should read the named pipe (a log collector, a supervisor); log through a queue that drops \
                 lines rather than waits",
        risk: "lines are lost while nobody reads",
        effect: "a log that nobody reads holds no request",
    },
    Row {
        id: "A7",
        when: |s| code(s, &[Code::StalledInProcess]),
        change: "look at what the parked requests wait for: a connection pool smaller than the concurrency, a lock, an event \
                 nobody sets; size the pool to the concurrency",
        risk: "more connections to the database",
        effect: "requests in flight finish",
    },
    Row {
        id: "A10",
        when: |s| code(s, &[Code::CgroupThrottled]),
        change: "raise or remove the processor limit of the named control group, or fit workers and threads to it",
        risk: "neighbours get less",
        effect: "throttled time falls to zero and latency with it",
    },
    Row {
        id: "A8",
        when: |s| code(s, &[Code::SaturatedProductive]),
        change: "add workers up to the number of processors of the quota, then machines; or make the hottest request cheaper",
        risk: "useless where a backend or a quota is the limit",
        effect: "processor time to spare, queues empty",
    },
    Row {
        id: "A23",
        when: |s| code(s, &[Code::CpuStarved]) && sub(s, &["siblings"]),
        change: "start no more workers than there are processors; add machines",
        risk: "fewer workers means fewer requests at once for sync workers",
        effect: "each worker runs when it wants to",
    },
    Row {
        id: "A24",
        when: |s| code(s, &[Code::CpuStarved]) && !sub(s, &["siblings"]),
        change: "move the other work off this machine, or give this server a processor share of its own (cpu.weight, cpuset)",
        risk: "the other work slows down",
        effect: "run-queue time falls",
    },
    Row {
        id: "A25",
        when: |s| code(s, &[Code::GilContention]),
        change: "serve with more processes and fewer threads, or move the named computation to another process",
        risk: "more memory per worker; preload shares what can be shared",
        effect: "threads stop waiting for each other",
    },
    Row {
        id: "A26",
        when: |s| code(s, &[Code::LockContention, Code::Deadlock]),
        change: "hold the lock at the named line for less, take locks in one order, and create locks after the fork",
        risk: "low",
        effect: "slots are released",
    },
    Row {
        id: "A11",
        when: |s| code(s, &[Code::WaitingDisk]) || sub(s, &["disk"]),
        change: "take slow storage out of the request path; keep gunicorn's heartbeat file in memory (--worker-tmp-dir /dev/shm)",
        risk: "low",
        effect: "requests stop waiting for storage",
    },
    Row {
        id: "A6",
        when: |s| code(s, &[Code::Booting]),
        change: "make the import cheaper, or load the application once before forking (--preload)",
        risk: "connections and threads made at import do not survive the fork",
        effect: "workers serve soon after they start",
    },
    Row {
        id: "A27",
        when: |s| code(s, &[Code::NotRunning]) && sub(s, &["stopped", "frozen", "traced"]),
        change: "let it go on: send SIGCONT, thaw its control group, or end the tracer that holds it",
        risk: "whoever stopped it may have had a reason",
        effect: "it serves again",
    },
    Row {
        id: "A19",
        when: |s| code(s, &[Code::Idle, Code::HealthyBusy, Code::ArbiterNormal]),
        change: "nothing",
        risk: "none",
        effect: "none",
    },
];

/// The advice for a situation, best first.
#[must_use]
pub fn advise(situation: &Situation<'_>) -> Vec<Advice> {
    let why: Vec<String> = situation.evidence.iter().map(|e| e.id.clone()).collect();
    if why.is_empty() {
        return Vec::new();
    }
    let bugs = bugs::of(situation.server, situation.class);
    let upgrades =
        bugs.filter(|(bug, _)| bug.leads_to.contains(&situation.winner.code)).map(|(bug, package)| Advice {
            id: "A17".into(),
            change: format!(
                "upgrade {} from {} to {} or later ({}): {}",
                package.name,
                package.version,
                bug.fixed_in(),
                bug.issue,
                bug.what
            ),
            why: why.clone(),
            risk: "a newer version may change more than this".into(),
            expected_effect: "the verdict goes away where that fault is its cause".into(),
        });
    let rows = TABLE.iter().filter(|row| (row.when)(situation));
    let rows = rows.map(|row| Advice {
        id: row.id.to_owned(),
        change: row.change.to_owned(),
        why: why.clone(),
        risk: row.risk.to_owned(),
        expected_effect: row.effect.to_owned(),
    });
    rows.chain(upgrades).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::model::Package;
    use crate::capture::samples;

    fn evidence() -> Vec<Evidence> {
        vec![Evidence {
            id: "E1".into(),
            source: "proc.syscall".into(),
            observed: "asleep".into(),
            value: None,
            op: None,
            threshold: None,
            supports: Code::LoopBlockedOffCpu,
        }]
    }

    fn ids(code: Code, subcause: &str, class: WorkerClass) -> Vec<String> {
        let mut winner = Assessment::new(code);
        winner.subcause = Some(subcause.into());
        let evidence = evidence();
        let server = samples::capture(1).header.server;
        advise(&Situation { winner: &winner, class: Some(class), evidence: &evidence, server: &server })
            .into_iter()
            .map(|a| a.id)
            .collect()
    }

    #[test]
    fn a_blocked_gevent_loop_gets_the_driver_first_and_gthread_later() {
        assert_eq!(ids(Code::LoopBlockedOffCpu, "upstream", WorkerClass::Gevent), ["A2", "A3", "A1", "A4"]);
    }

    #[test]
    fn gthread_is_never_advised_to_those_who_have_it() {
        assert!(!ids(Code::LoopBlockedOffCpu, "sleep", WorkerClass::Gthread).contains(&"A1".to_owned()));
    }

    #[test]
    fn no_advice_without_evidence() {
        let winner = Assessment::new(Code::Idle);
        let server = samples::capture(1).header.server;
        let nothing = Situation { winner: &winner, class: None, evidence: &[], server: &server };
        assert!(advise(&nothing).is_empty());
    }

    #[test]
    fn an_upgrade_is_advised_where_its_fault_leads_to_the_verdict() {
        let mut server = samples::capture(1).header.server;
        server.packages = vec![Package { name: "gevent".into(), version: "21.12.0".into() }];
        let evidence = evidence();
        let upgrades = |code| {
            let winner = Assessment::new(code);
            let class = Some(WorkerClass::Gevent);
            advise(&Situation { winner: &winner, class, evidence: &evidence, server: &server })
                .into_iter()
                .filter(|advice| advice.id == "A17")
                .map(|advice| advice.change)
                .collect::<Vec<_>>()
        };
        assert!(upgrades(Code::StalledInProcess)[0].contains("to 26.8 or later"));
        assert!(upgrades(Code::HotSpin).is_empty());
    }

    #[test]
    fn every_advice_has_an_id_of_its_own() {
        let mut ids: Vec<_> = TABLE.iter().map(|r| r.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), TABLE.len());
    }
}
