//! The portal is ended whole: also what is left when somebody killed its heads, and never anybody else.

mod tool;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stallscope::portal::http;
use stallscope::portal::process::Identity;

use tool::{Target, finish, run, skipped, start, tool, until};

/// Brings a portal up in a folder; `None`, and said so, where its software cannot be had.
fn up(folder: &Path, more: &[&str]) -> Option<Value> {
    let dir = folder.to_str().unwrap();
    let ran = run(&[&["portal", "up", "--dir", dir, "--format", "json"], more].concat());
    if ran.code != 0 {
        let missing = ran.stdout.contains("was found") || ran.stdout.contains("cannot be installed");
        assert!(missing, "{more:?}: {ran:?}");
        skipped(&format!("{more:?}: {}", ran.stdout));
        return None;
    }
    Some(ran.json())
}

fn down(folder: &Path) -> tool::Ran {
    run(&["portal", "down", "--dir", folder.to_str().unwrap()])
}

fn arbiter(answer: &Value) -> Identity {
    Identity::of(answer["arbiter_pid"].as_i64().unwrap() as i32).unwrap()
}

/// Ends a process so that it cannot look after its children.
fn murder(process: Identity) {
    kill(Pid::from_raw(process.pid), Signal::SIGKILL).unwrap();
    until("it is dead", || !process.lives());
}

/// Asks for a fault without waiting for its end, and waits until it has taken hold of a worker.
fn block(answer: &Value, worker: Identity) {
    let address =
        answer["direct"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut client = http::Client::connect(address.parse().unwrap(), Duration::from_secs(5)).unwrap();
    client.ask("/fault/block_sleep?seconds=60", false).unwrap();
    std::mem::forget(client); // the connection stays open until the test program ends
    let sleeps = || {
        let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", worker.pid)).unwrap_or_default();
        wchan.contains("nanosleep") || wchan.contains("select")
    };
    until("the fault sleeps", sleeps);
}

#[test]
fn workers_of_a_killed_arbiter_are_found() {
    // An idle sync worker looks for its parent every half timeout only; a blocked gevent worker does not look at all.
    let cases: [(&[&str], bool); 3] = [
        (&["--worker-class", "sync", "--no-nginx"], false),
        (&["--worker-class", "gevent", "--workers", "1", "--no-nginx"], true),
        (&["--stack", "builtin", "--workers", "1"], true),
    ];
    for (args, blocked) in cases {
        let folder = tempfile::tempdir().unwrap();
        let Some(answer) = up(folder.path(), args) else { continue };
        let head = arbiter(&answer);
        let workers = head.children();
        assert!(!workers.is_empty());
        if blocked {
            block(&answer, workers[0]);
        }
        // Somebody else's process with the same name and the same words on its command line.
        let mut namesake = Command::new("sleep");
        namesake.arg0("python -m gunicorn -c gunicorn.conf.py").arg("60");
        let bystander = Target::silent(namesake);
        murder(head);
        assert!(workers.iter().any(|w| w.lives()), "{args:?}: nobody was orphaned, so nothing is proven");
        // What is left of it is in the way of another one, and the way out is named.
        let again = run(&["portal", "up", "--dir", folder.path().to_str().unwrap(), "--stack", "builtin"]);
        assert!(again.code != 0 && again.stderr.contains("portal down"), "{args:?}: {again:?}");
        let ran = down(folder.path());
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        for worker in workers {
            assert!(!worker.lives(), "{args:?}: process {} was left behind", worker.pid);
        }
        assert!(Identity::of(bystander.pid()).unwrap().lives(), "a bystander was killed");
        let none = down(folder.path());
        assert!(none.code != 0 && none.stderr.contains("no portal is up"), "{none:?}");
    }
}

#[test]
fn the_worker_of_a_killed_nginx_is_found() {
    if !Path::new("/usr/sbin/nginx").exists() {
        return skipped("nginx is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(answer) = up(folder.path(), &["--worker-class", "sync"]) else { return };
    let pid = std::fs::read_to_string(folder.path().join("nginx/nginx.pid")).unwrap();
    let master = Identity::of(pid.trim().parse().unwrap()).unwrap();
    let workers = master.children();
    murder(master);
    assert!(workers.iter().any(|w| w.lives()), "nginx's workers end with it: nothing is proven");
    assert_eq!(down(folder.path()).code, 0);
    assert!(workers.iter().all(|w| !w.lives()) && !arbiter_lives(&answer));
}

fn arbiter_lives(answer: &Value) -> bool {
    Identity::of(answer["arbiter_pid"].as_i64().unwrap() as i32).is_some_and(Identity::lives)
}

/// Processes that carry a text in their environment.
fn carriers(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(text.len()).any(|part| part == text.as_bytes())
    };
    pids.filter(carries).collect()
}

/// What the validation keeps of each run, without what differs from one judgement to the next.
fn judged(document: &Value) -> Vec<Value> {
    let runs = document["runs"].as_array().unwrap().iter();
    runs.map(|r| serde_json::json!([r["scenario"], r["outcome"], r["said"], r["right"], r["baselines"]]))
        .collect()
}

/// A validation that is interrupted scores what it has, leaves nothing behind, and what it kept replays to the same.
#[test]
fn an_interrupted_validation_scores_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (own, keep) = (folder.path().join("own"), folder.path().join("keep"));
    std::fs::create_dir(&own).unwrap();
    let keep = keep.to_str().unwrap();
    let mut command = tool(&["portal", "validate", "--only", "builtin-", "--keep", keep, "--format", "json"]);
    command.env("TMPDIR", &own).process_group(0);
    let child = start(command);
    let second = || {
        let folders = std::fs::read_dir(&own).unwrap().flatten();
        folders.map(|folder| folder.path().join("portal-2")).any(|folder| folder.exists())
    };
    until("a run is done and the second portal comes up", second);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ran = finish(child);
    let document = ran.json();
    assert_eq!((ran.code, &document["exit"]["code"]), (130, &Value::from(130)), "{ran:?}");
    let runs = document["runs"].as_array().unwrap();
    assert!(!runs.is_empty() && runs.len() < document["selection"]["scenarios"].as_u64().unwrap() as usize);
    for run in runs {
        assert!(run["outcome"] != "failed" && run["outcome"] != "skipped", "{run}");
        assert!(run["said"]["confidence"].is_f64(), "{run}");
    }
    assert_eq!(carriers(own.to_str().unwrap()), Vec::<i32>::new(), "processes were left behind");
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0, "files were left behind");
    let again = run(&["portal", "validate", "--only", "builtin-", "--replay", keep, "--format", "json"]);
    assert_eq!(judged(&again.json()), judged(&document));
}

/// A portal that does not come up leaves nothing.
#[test]
fn a_portal_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = folder.path().to_str().unwrap();
    let child = start(tool(&["portal", "up", "--dir", dir, "--stack", "builtin", "--port", &port]));
    let ran = finish(child);
    assert!(ran.code != 0 && ran.stderr.contains("cannot be used"), "{ran:?}");
    assert!(down(folder.path()).code != 0);
}
