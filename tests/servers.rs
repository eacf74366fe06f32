//! Servers besides gunicorn, each alone and idle, and some of them blocked: recognised as what they are, never praised or
//! blamed for what they are not.

#[path = "gunicorn/rig.rs"]
#[allow(dead_code, reason = "written for gunicorn, used here for its start, its end and its looks")]
mod rig;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use stallscope::portal::http;

use rig::{Look, Rig, Way, answers, children, free_port, look};

const LOOPS: &str = include_str!("../fixtures/servers/loops.py");

fn python() -> Option<PathBuf> {
    rig::python("servers", include_str!("../fixtures/servers/requirements.txt"), 13)
}

/// Starts a command line, `PORT` in it filled in, and waits for an answer and that many children.
fn serve(line: &[&str], processes: usize) -> (Rig, u16) {
    let port = free_port();
    let line: Vec<String> = line.iter().map(|arg| arg.replace("PORT", &port.to_string())).collect();
    let rig = Rig::prepared(&line, Way::Script, &[("loops.py", LOOPS)]);
    rig.until("an answer", || answers(port));
    rig.until("its processes", || children(rig.pid()).len() >= processes);
    (rig, port)
}

/// Nobody is blamed, and nobody is said to serve who was asked for nothing.
fn assert_idle(what: &str, seen: &Look, kinds: &[&str]) {
    let text = format!("{what}: {:#}", seen.json);
    let server = &seen.json["server"];
    assert!(kinds.contains(&server["kind"].as_str().unwrap()), "{text}");
    for process in seen.json["processes"].as_array().unwrap() {
        let code = process["verdict"]["code"].as_str().unwrap();
        let expected = if process["role"] == "arbiter" { "arbiter_normal" } else { "idle" };
        assert_eq!(code, expected, "{text}");
    }
    assert_eq!(server["verdict"]["code"], "idle", "{text}");
    assert_eq!(seen.exit, Some(0), "{text}");
}

/// Its children, without the one that multiprocessing keeps for itself.
fn workers(rig: &Rig) -> Vec<i32> {
    let tracks = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("resource_tracker")
    };
    children(rig.pid()).into_iter().filter(|pid| !tracks(pid)).collect()
}

fn listens(seen: &Look, port: u16) {
    assert_eq!(seen.listen(), [format!("127.0.0.1:{port}")], "{:#}", seen.json);
}

fn script(python: &Path, name: &str) -> String {
    python.with_file_name(name).to_str().unwrap().to_owned()
}

#[test]
fn uvicorn_alone_and_with_workers() {
    let Some(python) = python() else { return };
    let (rig, port) = serve(&[python.to_str().unwrap(), "-m", "uvicorn", "app:asgi", "--port", "PORT"], 0);
    let seen = look(rig.pid());
    assert_idle("uvicorn", &seen, &["uvicorn"]);
    listens(&seen, port);
    assert_eq!(seen.processes("process").len(), 1);
    drop(rig);
    let line = [&script(&python, "uvicorn"), "app:asgi", "--port", "PORT", "--workers", "2"];
    let (rig, port) = serve(&line, 2);
    let workers = workers(&rig);
    for pid in [rig.pid(), workers[0]] {
        let seen = look(pid);
        assert_idle("uvicorn with workers", &seen, &["uvicorn"]);
        assert_eq!((seen.pids("arbiter"), seen.pids("worker")), (vec![rig.pid()], workers.clone()));
        listens(&seen, port);
    }
}

/// Its head only waits for its workers; those are processes with a loop.
#[test]
fn hypercorn() {
    let Some(python) = python() else { return };
    let line = [&script(&python, "hypercorn"), "app:asgi", "-b", "127.0.0.1:PORT", "-w", "2"];
    let (rig, port) = serve(&line, 2);
    rig.until("its workers", || workers(&rig).len() == 2);
    for pid in [rig.pid(), workers(&rig)[0]] {
        let seen = look(pid);
        assert_idle("hypercorn", &seen, &["loop"]);
        assert_eq!((seen.pids("arbiter"), seen.pids("worker")), (vec![rig.pid()], workers(&rig)));
        listens(&seen, port);
    }
}

#[test]
fn waitress() {
    let Some(python) = python() else { return };
    let (rig, port) = serve(&[&script(&python, "waitress-serve"), "--listen=127.0.0.1:PORT", "app:app"], 0);
    let seen = look(rig.pid());
    assert_idle("waitress", &seen, &["loop", "process"]);
    listens(&seen, port);
}

#[test]
fn programs_with_a_loop() {
    let Some(python) = python() else { return };
    for kind in ["asyncio", "tornado"] {
        let (rig, port) = serve(&[python.to_str().unwrap(), "loops.py", kind, "PORT"], 0);
        let seen = look(rig.pid());
        assert_idle(kind, &seen, &["loop"]);
        listens(&seen, port);
        let client = std::thread::spawn(move || {
            http::get(([127, 0, 0, 1], port).into(), "/block", Duration::from_secs(30))
        });
        rig.until("the request", || {
            let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", rig.pid())).unwrap_or_default();
            wchan.contains("nanosleep")
        });
        let seen = look(rig.pid());
        let verdict = &seen.json["processes"][0]["verdict"];
        assert_eq!(verdict["code"], "loop_blocked_off_cpu", "{kind}: {:#}", seen.json);
        assert!(verdict["culprit"].to_string().contains("loops.py"), "{verdict:#}");
        assert_eq!(seen.exit, Some(1));
        drop(rig);
        assert!(client.join().unwrap().is_err(), "it was blocked until its end");
    }
}

/// Without Python frames of a server: what the kernel shows must do, and must not mislead.
#[test]
fn servers_that_are_no_python() {
    let mut lines: Vec<(&str, Vec<String>, usize)> = Vec::new();
    if let Some(python) = python() {
        let uwsgi = script(&python, "pyuwsgi");
        let args = ["--http-socket", "127.0.0.1:PORT", "--master", "-p", "2", "--wsgi-file", "app.py"];
        let more = ["--callable", "app", "--need-app"];
        let line = [uwsgi.as_str()].iter().chain(&args).chain(&more).map(|a| (*a).to_owned()).collect();
        lines.push(("uwsgi", line, 2));
    }
    let found = |names: &[&str]| names.iter().find(|n| Path::new(n).exists()).map(|n| (*n).to_owned());
    if let Some(node) = found(&["/usr/bin/node", "/usr/local/bin/node"]) {
        let program = "require('http').createServer((q, a) => a.end('ok')).listen(PORT, '127.0.0.1')";
        lines.push(("node", vec![node, "-e".into(), program.into()], 0));
    } else {
        eprintln!("SKIPPED: node is not installed");
    }
    for (what, line, processes) in lines {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let (rig, _) = serve(&line, processes);
        let seen = look(rig.pid());
        let text = format!("{what}: {:#}", seen.json);
        for process in seen.json["processes"].as_array().unwrap() {
            let verdict: &Value = &process["verdict"];
            let code = verdict["code"].as_str().unwrap();
            assert!(["idle", "arbiter_normal", "unknown"].contains(&code), "{text}");
        }
        assert_ne!(seen.json["server"]["verdict"]["code"], "healthy", "{text}");
        assert!([Some(0), Some(4)].contains(&seen.exit), "{text}");
        eprintln!("{what}: {}", seen.json["server"]["verdict"]);
    }
}

#[test]
fn redis() {
    let Some(program) =
        ["/usr/bin/redis-server", "/usr/bin/valkey-server"].iter().find(|p| Path::new(p).exists())
    else {
        return eprintln!("SKIPPED: redis-server is not installed");
    };
    let port = free_port();
    let line = [*program, "--port", &port.to_string(), "--save", ""].map(str::to_owned);
    let rig = Rig::prepared(&line, Way::Script, &[]);
    rig.until("its port", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let seen = look(rig.pid());
    let code = seen.json["processes"][0]["verdict"]["code"].as_str().unwrap();
    assert!(["idle", "unknown"].contains(&code), "{:#}", seen.json);
    assert!([Some(0), Some(4)].contains(&seen.exit), "{:#}", seen.json);
}
