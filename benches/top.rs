//! Prints what the live view costs while it is shown: its processor time at ten pictures a second on eight workers.
//!
//! It runs in a terminal of its own (`script`), idle workers first, then under load. The limit stands beside the
//! figures; nothing fails on it, a shared machine is no scale.

mod shared;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shared::Fallible;
use stallscope::portal::load::{Load, Plan, REQUEST_PATIENCE};

const LIMIT: f64 = 0.02;
const SPAN: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let portal = shared::eight_gevent_workers(folder.path())?;
    println!("8 gevent workers, 10 pictures a second, 120 x 40; limit {:.0} % of a core", LIMIT * 100.0);
    println!("idle workers:  {}", share(measure(portal.arbiter_pid)?));
    let load = Load::start(&Plan {
        address: portal.direct,
        path: "/".into(),
        connections: 4,
        keep_alive: false,
        pause: Duration::from_millis(20),
        patience: REQUEST_PATIENCE,
        at_most: SETTLE + 2 * SPAN,
    });
    println!("under load:    {}", share(measure(portal.arbiter_pid)?));
    println!("               {} answers meanwhile", load.stop().answers);
    portal.down();
    Ok(())
}

fn share(share: f64) -> String {
    format!("{:.2} % of a core{}", share * 100.0, if share > LIMIT { " !" } else { "" })
}

/// The processor share of the view on a server, when it has settled.
fn measure(server: i32) -> Fallible<f64> {
    let view = View::start(server)?;
    std::thread::sleep(SETTLE);
    let (from, began) = (ticks(view.pid)?, Instant::now());
    std::thread::sleep(SPAN);
    let used = ticks(view.pid)? - from;
    Ok(used as f64 / 100.0 / began.elapsed().as_secs_f64())
}

/// The view in a terminal that nobody looks at; ended on drop.
struct View {
    script: Child,
    pid: i32,
}

impl View {
    fn start(server: i32) -> Fallible<Self> {
        let line =
            format!("stty rows 40 cols 120; exec {} top --fps 10 {server}", env!("CARGO_BIN_EXE_stallscope"));
        let mut command = Command::new("script");
        command.args(["-qfc", &line, "/dev/null"]).env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        let script = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut view = Self { script, pid: 0 };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let of = view.script.id();
            let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"))?;
            if let Some(pid) = children.split_whitespace().next().and_then(|pid| pid.parse().ok())
                && std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim() == "stallscope"
            {
                view.pid = pid;
                return Ok(view);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the view did not start".into())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.pid > 0 {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(self.pid),
                nix::sys::signal::Signal::SIGTERM,
            );
        } else {
            let _ = self.script.kill();
        }
        let _ = self.script.wait();
    }
}

/// User and system time of a process, in hundredths of a second.
fn ticks(pid: i32) -> Fallible<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).ok_or("no such field");
    Ok(number(11)? + number(12)?)
}
