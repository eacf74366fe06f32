//! What each verdict and finding means and what helps, in general: the texts that formats with a list of rules need.
//!
//! Data, and nothing of the case at hand: that stands in the report. The pages in `diagnose/rules/` are the long form.

/// A verdict or finding in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its code.
    pub code: &'static str,
    /// What it is, in one line.
    pub title: &'static str,
    /// What follows from it and what helps.
    pub help: &'static str,
}

const fn entry(code: &'static str, title: &'static str, help: &'static str) -> Entry {
    Entry { code, title, help }
}

/// All entries: processes, findings, the server.
pub const CATALOGUE: &[Entry] = &[
    entry(
        "not_running",
        "The process is stopped, frozen, a zombie or gone",
        "It serves nobody. Continue or thaw it, or find who stopped or killed it.",
    ),
    entry(
        "booting",
        "The worker loads its application and does not serve yet",
        "Imports and start-up work take the time. Preload the application, or move slow work out of the import.",
    ),
    entry(
        "cgroup_throttled",
        "The control group's quota holds the process back",
        "It wants a processor and may not have it. Raise the quota, or run fewer busy threads under it.",
    ),
    entry(
        "cpu_starved",
        "Other work has the processors",
        "It is runnable and waits. Move the other work, give this one more weight, or add processors.",
    ),
    entry(
        "hot_spin",
        "The event loop turns for nothing",
        "A descriptor that nobody drains, or a wait by sleep(0), burns a processor. Find who registered the named \
         descriptor, or the function that polls, and make it read, unregister or wait for the event.",
    ),
    entry(
        "loop_blocked_on_cpu",
        "One computation keeps the loop from turning",
        "Every other request of the worker waits. Move the named computation to a process or thread pool, or bound it.",
    ),
    entry(
        "loop_blocked_off_cpu",
        "One wait keeps the loop from turning",
        "Every other request of the worker waits. Make the named call cooperative, give it a timeout, or move it to a \
         thread.",
    ),
    entry(
        "gil_contention",
        "Threads wait for the interpreter lock",
        "One thread computes and the others wait. Use processes for the computation, or fewer threads for each.",
    ),
    entry(
        "lock_contention",
        "Threads wait for a lock that changes hands",
        "The lock is held too long or too often. Hold it for less, or split what it guards.",
    ),
    entry(
        "deadlock",
        "Threads wait for a lock that nobody will release",
        "No request will end. Restart the worker, and take the locks in one order everywhere.",
    ),
    entry(
        "waiting_disk",
        "Requests wait for storage",
        "Look at the device and at what reads or writes it; cache, or move the work out of the request.",
    ),
    entry(
        "waiting_upstream",
        "Requests wait for a backend",
        "The named peer is slow or silent. Look there; set a timeout, and bound how many requests may wait for it.",
    ),
    entry(
        "waiting_client",
        "Requests wait for silent or slow clients",
        "Put a buffering proxy in front, shorten keep-alive and read timeouts, or use a worker with a loop.",
    ),
    entry(
        "stalled_in_process",
        "Requests are in flight, and nobody outside was asked",
        "A lost wake-up, an exhausted pool or a future that nobody sets. Look at what the suspended requests wait for.",
    ),
    entry(
        "saturated_productive",
        "The worker works with all it has",
        "Nothing is wrong with it; demand is higher than what it can do. Add workers or processors, or do less.",
    ),
    entry("healthy_busy", "The worker works and has head-room", "Nothing is wrong with it."),
    entry("idle", "Nothing is asked of it", "Nothing is wrong with it."),
    entry(
        "arbiter_normal",
        "The arbiter does what an arbiter does",
        "It wakes once a second, looks at its workers' heartbeats and sleeps again.",
    ),
    entry(
        "arbiter_fault",
        "The arbiter itself is hot, blocked or stopped",
        "Nobody looks after the workers: the dead stay dead. Restart it, and look at its hooks.",
    ),
    entry(
        "unknown",
        "The evidence is insufficient or conflicting",
        "Look longer, or with the rights that the list of what was not seen names.",
    ),
    entry(
        "traced",
        "Another tool traces the process",
        "What it does to the process shows in every measurement. Detach it and look again.",
    ),
    entry(
        "fd_limit_near",
        "Most of the permitted descriptors are open",
        "At the limit no connection can be accepted. Close what is not needed, or raise the limit.",
    ),
    entry(
        "close_wait",
        "Connections were closed by the other end and not here",
        "They leak. Close them when the other end does; look for a client library that keeps them.",
    ),
    entry(
        "busy_side_thread",
        "A thread beside the loop uses a processor",
        "It competes with the loop for the interpreter lock. Move its work to a process of its own.",
    ),
    entry(
        "pool_exhausted",
        "Requests wait for a free connection of a pool",
        "All connections are taken. Make the requests give them back sooner, or size the pool to the concurrency.",
    ),
    entry(
        "gc_heavy",
        "The garbage collector takes much of the processor time",
        "Freeze what lives for ever (gc.freeze), raise the thresholds, or make fewer objects.",
    ),
    entry(
        "thread_oversubscription",
        "More threads compute at once than there are processors",
        "Bound the threads of native libraries: OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MKL_NUM_THREADS.",
    ),
    entry(
        "fast_timer",
        "An idle loop wakes very often",
        "Somebody has set a short timer. It costs processor time on every worker; wait for the event instead.",
    ),
    entry("normal_wakeups", "An idle loop wakes by design", "Nothing is wrong with it."),
    entry(
        "reload_on",
        "The server watches its sources for changes",
        "That is for development: it costs processor time and restarts workers. Leave --reload out.",
    ),
    entry(
        "apm_agent",
        "An agent that watches the application is loaded",
        "Its threads and wrappers are part of what is measured. Compare with it switched off.",
    ),
    entry(
        "known_bug",
        "A loaded version has a known fault",
        "Upgrade the named package, where the fault fits what is seen.",
    ),
    entry("healthy", "The server serves and has head-room", "Nothing is wrong with it."),
    entry(
        "one_bad_worker",
        "A minority of the workers is bad",
        "Look at the verdict of those workers. Restarting them helps until it comes again.",
    ),
    entry(
        "imbalance",
        "One worker does a multiple of the others' work",
        "Look at keep-alive connections that stick to it; try one listener for each worker.",
    ),
    entry(
        "all_blocked",
        "Nearly all workers are blocked",
        "The server answers nobody. Look at what the workers have in common.",
    ),
    entry(
        "capacity_saturated",
        "All workers work, and demand waits",
        "Add workers or machines, or make requests cheaper.",
    ),
    entry(
        "under_provisioned",
        "All slots wait while processors are free",
        "Add threads or workers: there are too few slots for what waits.",
    ),
    entry("upstream_bound", "Most of what is blocked waits for one backend", "Look at the named backend."),
    entry("client_bound", "Most of what is blocked waits for clients", "Put a buffering proxy in front."),
    entry(
        "host_starved",
        "The machine has no processor time to give",
        "Move other work away, or add processors.",
    ),
    entry(
        "throttled",
        "The control group's quota holds the server back",
        "Raise the quota, or run fewer workers under it.",
    ),
    entry(
        "crash_loop",
        "Workers die and are born again",
        "Look at the server's log and the kernel's: exceptions at start, timeouts, memory.",
    ),
];

/// The entry of a code, if it is known.
#[must_use]
pub fn of(code: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.code == code)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use schemars::generate::SchemaGenerator;

    use super::*;
    use crate::diagnose::model::{Code, ServerCode};

    /// The codes of an enumeration, from its own schema.
    fn codes<T: JsonSchema>() -> Vec<String> {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        let variants = schema.get("oneOf").and_then(serde_json::Value::as_array).unwrap().clone();
        variants.iter().map(|variant| variant["const"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_verdict_is_explained_once() {
        let verdicts = [codes::<Code>(), codes::<ServerCode>()].concat();
        assert!(verdicts.len() > 30, "{verdicts:?}");
        for code in verdicts {
            assert_eq!(CATALOGUE.iter().filter(|entry| entry.code == code).count(), 1, "{code}");
        }
    }
}
