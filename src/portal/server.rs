//! Bringing the portal up and taking it down.
//!
//! What was started is written into the portal's folder, so that another process can end it. A portal that is dropped
//! ends itself; one that is detached stays.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::{Identity, MARKER, last_lines, marked, new_marker, start};
use super::{NGINX_CONF, Stack, failed, http, interrupted, unpack, venv};
use crate::error::{Error, ErrorKind, Result};

/// How long a portal may take to answer for the first time.
const BOOT_PATIENCE: Duration = Duration::from_mins(1);
const STATE_FILE: &str = "portal.json";

/// What to bring up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Software.
    pub stack: Stack,
    /// gunicorn's worker class; `uvicorn` for uvicorn's, `asyncio` for the one with the loop of the standard library.
    pub worker_class: String,
    /// Number of workers.
    pub workers: u32,
    /// Threads of each.
    pub threads: Option<u32>,
    /// gunicorn's timeout.
    pub timeout_s: Option<u64>,
    /// Port; 0 for any.
    pub port: u16,
    /// Whether nginx goes in front, if it is installed.
    pub nginx: bool,
    /// Whether gunicorn listens on a unix socket (needs nginx).
    pub unix_socket: bool,
    /// Folder for its files; must not hold a running portal.
    pub dir: PathBuf,
    /// Environment besides ours.
    pub env: Vec<(String, String)>,
    /// Whether to wait for the first answer; a portal that boots slowly on purpose gives none.
    pub wait: bool,
}

impl Options {
    /// One worker at any port and nothing in front, in a folder.
    #[must_use]
    pub fn of(stack: Stack, class: &str, dir: &Path) -> Self {
        Self {
            stack,
            worker_class: class.to_owned(),
            workers: 1,
            threads: (class == "gthread").then_some(4),
            timeout_s: None,
            port: 0,
            nginx: false,
            unix_socket: false,
            dir: dir.to_owned(),
            env: Vec::new(),
            wait: true,
        }
    }
}

/// A portal that is up.
#[derive(Debug)]
pub struct Portal {
    /// Head of the server.
    pub arbiter_pid: i32,
    /// Where gunicorn listens.
    pub direct: SocketAddr,
    /// Where a visitor goes: nginx when it is up, else gunicorn.
    pub front: SocketAddr,
    /// Its folder.
    pub dir: PathBuf,
    processes: Vec<Identity>,
    workers: Vec<Identity>,
    marker: String,
    children: Vec<Child>,
    detached: bool,
}

/// What another process needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    arbiter_pid: i32,
    direct: SocketAddr,
    front: SocketAddr,
    processes: Vec<Identity>,
    #[serde(default)]
    workers: Vec<Identity>,
    #[serde(default)]
    marker: String,
}

impl State {
    /// Its processes that live, also those that nobody wrote down.
    fn living(&self) -> Vec<Identity> {
        living(&[&self.processes[..], &self.workers].concat(), &self.marker)
    }
}

/// Those of the processes that live, and whoever else carries the marker.
fn living(processes: &[Identity], marker: &str) -> Vec<Identity> {
    let mut living: Vec<Identity> = processes.iter().copied().filter(|p| p.lives()).collect();
    let others = if marker.is_empty() { Vec::new() } else { marked(marker) };
    living.extend(others.into_iter().filter(|p| !processes.contains(p)));
    living
}

/// Ends processes and then whoever they have left behind: a killed arbiter's workers live on.
fn end_all(heads: &[Identity], others: &[Identity], marker: &str) {
    for head in heads.iter().rev() {
        head.end();
    }
    Identity::end_all(&living(others, marker));
}

impl Portal {
    /// Brings it up.
    pub fn up(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        if let Ok(state) = read_state(&options.dir)
            && !state.living().is_empty()
        {
            return Err(Error::new(
                ErrorKind::Portal,
                format!("a portal is already up in {}", options.dir.display()),
                "its processes live",
            )
            .value(format!("pid={}", state.arbiter_pid))
            .remedy(format!("stallscope portal down --dir {}", options.dir.display())));
        }
        let python = venv::python(options.stack, &options.worker_class, progress)?;
        unpack(&options.dir.join("app"))?;
        let direct = free_address(options.port)?;
        let socket = options.dir.join("portal.sock");
        let bind =
            if options.unix_socket { format!("unix:{}", socket.display()) } else { direct.to_string() };
        let log = options.dir.join("server.log");
        let marker = new_marker()?;
        let mut command = command(options, &python, &bind, direct);
        let (child, identity) = start(command.env(MARKER, &marker), &log)?;
        let mut portal = Self {
            arbiter_pid: identity.pid,
            direct,
            front: direct,
            dir: options.dir.clone(),
            processes: vec![identity],
            workers: Vec::new(),
            marker,
            children: vec![child],
            detached: false,
        };
        if options.nginx {
            portal.nginx(&bind, progress)?;
        }
        portal.write_state()?;
        if options.wait {
            portal.await_answer(&log)?;
            portal.note_workers();
            portal.write_state()?;
        }
        Ok(portal)
    }

    /// Leaves it running when it is dropped.
    pub const fn detach(&mut self) {
        self.detached = true;
    }

    /// Ends all of its processes.
    pub fn down(mut self) {
        self.end();
    }

    fn end(&mut self) {
        end_all(&self.processes, &self.workers, &self.marker);
        for child in &mut self.children {
            let _ = child.wait();
        }
        self.processes.clear();
        let _ = std::fs::remove_file(self.dir.join(STATE_FILE));
    }

    fn nginx(&mut self, backend: &str, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let Some(program) = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
            .iter()
            .find(|p| Path::new(p).exists())
        else {
            progress("nginx is not installed: the portal is reached directly");
            return Ok(());
        };
        let folder = self.dir.join("nginx");
        std::fs::create_dir_all(&folder).map_err(|e| failed("nginx's folder cannot be made", &e))?;
        let front = free_address(0)?;
        let mut text = NGINX_CONF.replace("@BACKEND@", backend).replace("@PORT@", &front.port().to_string());
        // A master that runs as root gives its worker to another user, who could not enter our folder.
        if nix::unistd::geteuid().is_root() {
            text = format!("user root;\n{text}");
        }
        std::fs::write(folder.join("nginx.conf"), text)
            .map_err(|e| failed("nginx's configuration cannot be written", &e))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "nginx-error.log"]);
        let (child, identity) = start(&mut command, &self.dir.join("nginx.log"))?;
        self.children.push(child);
        self.processes.push(identity);
        self.front = front;
        Ok(())
    }

    /// Remembers the workers of all: nginx writes over its environment, so its orphans carry no marker.
    fn note_workers(&mut self) {
        self.workers = self.processes.iter().flat_map(|p| p.children()).collect();
    }

    fn write_state(&self) -> Result<()> {
        let state = State {
            arbiter_pid: self.arbiter_pid,
            direct: self.direct,
            front: self.front,
            processes: self.processes.clone(),
            workers: self.workers.clone(),
            marker: self.marker.clone(),
        };
        let text = serde_json::to_string_pretty(&state)
            .map_err(|e| failed("the portal's state cannot be written", &e))?;
        std::fs::write(self.dir.join(STATE_FILE), text)
            .map_err(|e| failed("the portal's state cannot be written", &e))
    }

    /// Waits for the first answer, or for the server's early end.
    fn await_answer(&mut self, log: &Path) -> Result<()> {
        let until = Instant::now() + BOOT_PATIENCE;
        loop {
            if http::get(self.front, "/oracle", Duration::from_secs(2)).is_ok_and(|r| r.status == 200) {
                return Ok(());
            }
            interrupted()?;
            let ended = self.children.iter_mut().any(|c| c.try_wait().is_ok_and(|s| s.is_some()));
            if ended || Instant::now() > until {
                let what =
                    if ended { "the portal ended before it answered" } else { "the portal does not answer" };
                return Err(failed(what, &last_lines(log)).remedy(format!("look at {}", log.display())));
            }
            // There is no event for "the port is open now": ask again soon.
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if !self.detached {
            self.end();
        }
    }
}

/// Ends a portal that another process has brought up. `false` when there is none.
#[must_use]
pub fn down(dir: &Path) -> bool {
    let Ok(state) = read_state(dir) else { return false };
    let lived = !state.living().is_empty();
    end_all(&state.processes, &state.workers, &state.marker);
    let _ = std::fs::remove_file(dir.join(STATE_FILE));
    lived
}

/// The folder that is used when none is named.
#[must_use]
pub fn default_dir() -> PathBuf {
    std::env::temp_dir().join(format!("stallscope-portal-{}", nix::unistd::geteuid()))
}

fn read_state(dir: &Path) -> Result<State> {
    let text = std::fs::read_to_string(dir.join(STATE_FILE)).map_err(|e| failed("no portal is up", &e))?;
    serde_json::from_str(&text).map_err(|e| failed("the portal's state cannot be read", &e))
}

fn command(options: &Options, python: &Path, bind: &str, direct: SocketAddr) -> Command {
    let mut command = Command::new(python);
    command
        .current_dir(options.dir.join("app"))
        .env("PORTAL_DIR", &options.dir)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(options.env.iter().map(|(k, v)| (k, v)));
    if options.stack == Stack::Builtin {
        command.args(["builtin.py", &direct.port().to_string(), &options.workers.to_string()]);
        return command;
    }
    let (class, application) = match options.worker_class.as_str() {
        "uvicorn" => ("uvicorn_worker.UvicornWorker", "asgi:application"),
        // The same server with the loop and the parser of pure Python.
        "asyncio" => ("uvicorn_worker.UvicornH11Worker", "asgi:application"),
        other => (other, "app:app"),
    };
    command.args([
        "-m",
        "gunicorn",
        "-c",
        "gunicorn.conf.py",
        "-k",
        class,
        "-w",
        &options.workers.to_string(),
        "-b",
        bind,
    ]);
    if let Some(threads) = options.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if let Some(timeout) = options.timeout_s {
        command.args(["-t", &timeout.to_string()]);
    }
    command.arg(application);
    command
}

/// A free address on the loopback. Somebody else could take it before the server does; then the server says so.
fn free_address(port: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|e| failed(&format!("port {port} cannot be used"), &e))?;
    listener.local_addr().map_err(|e| failed("no port could be had", &e))
}
