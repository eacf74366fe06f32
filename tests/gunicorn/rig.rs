//! Brings up a real gunicorn of a given version in a given way, and looks at it with the real binary.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stallscope::portal::http;
use stallscope::portal::process::{Identity, last_lines, start};
use stallscope::portal::venv::{Environment, build};

/// A version and the Python it runs on here.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    pub gunicorn: &'static str,
    pub minor: u8,
    pub requirements: &'static str,
}

/// A version with its list of packages.
macro_rules! version {
    ($gunicorn:literal, $minor:literal) => {
        Version {
            gunicorn: $gunicorn,
            minor: $minor,
            requirements: include_str!(concat!("../../fixtures/gunicorn/requirements-", $gunicorn, ".txt")),
        }
    };
}

/// Each generation of gunicorn's insides, each on another Python where there is one.
pub const VERSIONS: [Version; 8] = [
    version!("19.10.0", 8),
    version!("20.0.4", 9),
    version!("20.1.0", 10),
    version!("21.2.0", 11),
    version!("22.0.0", 12),
    version!("23.0.0", 13),
    version!("25.3.0", 12),
    version!("27.0.1", 13),
];

/// One of [`VERSIONS`].
pub fn version(gunicorn: &str) -> Version {
    *VERSIONS.iter().find(|v| v.gunicorn == gunicorn).unwrap()
}

impl Version {
    /// Its Python, in a virtual environment that is built once; `None`, and said so, where that cannot be had.
    pub fn python(&self) -> Option<PathBuf> {
        python(self.gunicorn, self.requirements, self.minor)
    }
}

/// The Python of a list of packages.
pub fn python(name: &str, requirements: &str, minor: u8) -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
    let environment = Environment { name, requirements, minor, cache: &cache };
    match build(&environment, &mut |line| eprintln!("{line}")) {
        Ok(python) => Some(python),
        Err(error) => {
            eprintln!("SKIPPED: {name} on Python 3.{minor}: {}: {}", error.message, error.cause);
            None
        }
    }
}

/// How gunicorn is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Its script.
    Script,
    /// `python -m gunicorn`.
    Module,
    /// `python -m gunicorn.app.wsgiapp`, where the package itself cannot be run yet (before 20.1).
    Submodule,
    /// Its script, with `setproctitle`: the processes name themselves.
    Title,
}

/// A server under test; ended on drop.
pub struct Rig {
    pub head: Identity,
    pub log: PathBuf,
    folder: tempfile::TempDir,
    child: std::process::Child,
}

impl Rig {
    /// Starts a gunicorn with arguments.
    pub fn start(python: &Path, way: Way, args: &[&str]) -> Self {
        Self::prepared(&Self::command(python, way, args), way, &[])
    }

    /// How it is started.
    pub fn command(python: &Path, way: Way, args: &[&str]) -> Vec<String> {
        let script = python.with_file_name("gunicorn");
        let head: &[&str] = match way {
            Way::Module => &[python.to_str().unwrap(), "-m", "gunicorn"],
            Way::Submodule => &[python.to_str().unwrap(), "-m", "gunicorn.app.wsgiapp"],
            Way::Script | Way::Title => &[script.to_str().unwrap()],
        };
        head.iter().chain(args).map(|a| (*a).to_owned()).collect()
    }

    /// Starts a command line in a folder of its own that holds the application and more files.
    pub fn prepared(line: &[String], way: Way, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hidden = folder.path().join("hidden");
        std::fs::create_dir(&hidden).unwrap();
        let own = [
            ("app.py", include_str!("../../fixtures/gunicorn/app.py")),
            // Where processes must not name themselves, the module that would do it is hidden.
            ("hidden/setproctitle.py", "raise ImportError('hidden')\n"),
        ];
        for (name, text) in own.iter().chain(files) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        if way != Way::Title {
            command.env("PYTHONPATH", &hidden);
        }
        // Newer versions keep a control socket: it, too, goes into the folder.
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
            command.env(variable, folder.path());
        }
        command.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
        let log = folder.path().join("log");
        let (child, head) = start(&mut command, &log).unwrap();
        Self { head, log, folder, child }
    }

    pub fn pid(&self) -> i32 {
        self.head.pid
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for a condition that comes true in the server; there is no event for that.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            let log = last_lines(&self.log);
            assert!(self.head.lives(), "it ended while waiting for {what}: {log}");
            assert!(Instant::now() < deadline, "waited in vain for {what}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has that many children that answer on a port.
    pub fn until_serving(&self, port: u16, workers: usize) {
        self.until("an answer", || answers(port));
        self.until("its workers", || children(self.pid()).len() >= workers);
    }
}

/// A server that another one has started; ended on drop.
pub struct Ends(pub Identity);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Ends several at once: each takes its time to be polite.
pub fn end(rigs: Vec<Rig>) {
    let ends: Vec<_> = rigs.into_iter().map(|rig| std::thread::spawn(move || drop(rig))).collect();
    for end in ends {
        end.join().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.head.end();
        let _ = self.child.wait();
    }
}

/// Whether somebody answers on a port of the loopback.
pub fn answers(port: u16) -> bool {
    http::get(([127, 0, 0, 1], port).into(), "/", Duration::from_secs(1)).is_ok_and(|r| r.status == 200)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// The children of a process, in order.
pub fn children(pid: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut pids: Vec<i32> = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<i32>>())
        .collect();
    pids.sort_unstable();
    pids
}

/// A look of one second.
pub fn look(pid: i32) -> Look {
    let seen = look_for(pid, "1s", &[]);
    // On a busy machine a second may not be enough: then three.
    if disturbed(&seen) { look_for(pid, "3s", &[]) } else { seen }
}

/// Whether other work left too little time to see enough.
fn disturbed(seen: &Look) -> bool {
    let verdicts = seen.json["processes"].as_array().unwrap().iter().map(|p| &p["verdict"]);
    verdicts.into_iter().any(|v| v["code"] == "unknown" || v["code"] == "cpu_starved")
}

/// A look of a given length.
pub fn look_for(pid: i32, duration: &str, more: &[&str]) -> Look {
    let out = Command::new(env!("CARGO_BIN_EXE_stallscope"))
        .args([&pid.to_string(), "--format", "json", "-d", duration, "--max-duration", duration])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&out.stderr)));
    Look { json, exit: out.status.code() }
}

/// What a look gave.
#[derive(Debug)]
pub struct Look {
    pub json: Value,
    pub exit: Option<i32>,
}

impl Look {
    pub fn processes(&self, role: &str) -> Vec<&Value> {
        self.json["processes"].as_array().unwrap().iter().filter(|p| p["role"] == role).collect()
    }

    pub fn pids(&self, role: &str) -> Vec<i32> {
        self.processes(role).iter().map(|p| p["pid"].as_i64().unwrap() as i32).collect()
    }

    /// Listening addresses.
    pub fn listen(&self) -> Vec<String> {
        let listen = self.json["server"]["listen"].as_array().unwrap();
        listen.iter().map(|l| l.as_str().unwrap().to_owned()).collect()
    }

    /// One arbiter that is well, that many workers of a class that are well and whose hearts beat.
    pub fn assert_well(&self, what: &str, class: &str, workers: usize) {
        let text = format!("{what}: {:#}", self.json);
        let server = &self.json["server"];
        assert_eq!(server["kind"], "gunicorn", "{text}");
        assert_eq!(server["worker_class"], class, "{text}");
        let arbiters = self.processes("arbiter");
        assert_eq!(arbiters.len(), 1, "{text}");
        assert_eq!(arbiters[0]["verdict"]["code"], "arbiter_normal", "{text}");
        let all = self.processes("worker");
        assert_eq!(all.len(), workers, "{text}");
        for worker in all {
            let code = worker["verdict"]["code"].as_str().unwrap();
            assert!(["idle", "healthy_busy"].contains(&code), "{code} {text}");
            assert_eq!(worker["worker_class"], class, "{text}");
            let beat = &worker["heartbeat"];
            let (age, cadence) = (beat["age_ms"].as_u64().unwrap(), beat["cadence_ms"].as_u64().unwrap());
            // Those that beat once a second are given three; the others beat every half timeout.
            assert!(
                age < cadence.max(3_000),
                "a heart that beats every {cadence} ms is {age} ms old: {text}"
            );
        }
        assert_eq!(self.exit, Some(0), "{text}");
    }
}
