//! The live view end to end: the real program in a real terminal (tmux), on a real server of several processes.
//!
//! Whatever ends it, the terminal is as it was and the server has not noticed.

#[path = "live/harness.rs"]
#[allow(dead_code, reason = "this test program uses its share of it")]
mod harness;
mod tool;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Rig, Setup};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stallscope::portal::faults::by_name;
use stallscope::portal::http;
use stallscope::tui::terminal::Screen;
use tool::{Target, run, skipped, status, until};

/// A terminal of our own, in a tmux server of our own.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Runs a shell line in it; `None`, and said so, where there is no tmux. The line's exit code and the terminal's
    /// modes before and after are kept.
    fn open(size: (u16, u16), line: &str) -> Option<Self> {
        let script = format!(
            "stty -a > before; {line}; code=$?; stty -a > after; echo \"exit $code\"; echo $code > code; exec cat"
        );
        Self::bare(size, &["sh", "-c", &script])
    }

    fn bare(size: (u16, u16), command: &[&str]) -> Option<Self> {
        let there = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !there.is_ok_and(|s| s.success()) {
            skipped("tmux is not installed: the live view was not tried in a terminal");
            return None;
        }
        let terminal = Self { folder: tempfile::tempdir().unwrap() };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        let mut tmux = terminal.tmux();
        tmux.args(["new-session", "-d", "-x", &width, "-y", &height, "-c"]).arg(terminal.folder.path());
        tmux.args(command).env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        // A group of its own, so that a Ctrl-C meant for the tests ends it by its owner's drop.
        assert!(tmux.process_group(0).status().unwrap().success());
        Some(terminal)
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-f", "/dev/null", "-S"]).arg(self.folder.path().join("tmux"));
        tmux
    }

    fn ask(&self, args: &[&str]) -> String {
        let out = self.tmux().args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    fn resize(&self, width: u16, height: u16) {
        self.ask(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits until the screen shows something.
    fn shows(&self, what: &str) -> String {
        self.when(what, |screen| screen.contains(what))
    }

    fn when(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(what, || {
                screen = self.screen();
                holds(&screen)
            });
        }));
        assert!(shown.is_ok(), "{what}:\n{screen}");
        screen
    }

    /// The process that the shell runs.
    fn tool(&self) -> Pid {
        let shell = self.ask(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = || std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        until("the tool runs", || !children().trim().is_empty());
        Pid::from_raw(children().split_whitespace().next().unwrap().parse().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The line has ended, with this code, and has given the terminal back.
    fn ended(&self, code: i32) {
        until("the exit code", || {
            std::fs::read_to_string(self.file("code")).is_ok_and(|text| text.ends_with('\n'))
        });
        let found = std::fs::read_to_string(self.file("code")).unwrap();
        assert_eq!(found.trim(), code.to_string(), "{}", self.screen());
        // The first line has the size, which a test may have changed.
        let modes = |name: &str| {
            let text = std::fs::read_to_string(self.file(name)).unwrap();
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(modes("after"), modes("before"));
        let words = modes("after");
        assert!([" echo ", " icanon ", "isig "].iter().all(|mode| words.contains(mode)), "{words}");
        self.is_given_back();
    }

    fn is_given_back(&self) {
        let flags = self.ask(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"]);
        assert_eq!(flags.trim(), "0 1 0", "the other screen was left, the cursor shows, no mouse is caught");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It is our own server: it ends what runs in it by hanging up.
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}

fn top(args: &str) -> String {
    format!("{} top {args}", env!("CARGO_BIN_EXE_stallscope"))
}

fn four_workers() -> Option<Rig> {
    Rig::up(&Setup { workers: 4, ..Setup::of("builtin") })
}

fn answers(rig: &Rig) {
    let answer = http::get(rig.portal.direct, "/", Duration::from_secs(10)).unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn keys_and_sizes() {
    let Some(rig) = four_workers() else { return };
    rig.trigger(by_name("spin_watcher").unwrap(), 60);
    let pid = rig.portal.arbiter_pid;
    let Some(terminal) = Terminal::open((80, 24), &top(&pid.to_string())) else { return };
    let screen = terminal.shows("hot_spin");
    assert!(screen.contains(&format!("stallscope {pid}")) && screen.contains("accept queue"), "{screen}");
    let marked = |screen: &str| screen.lines().find(|l| l.starts_with('>')).map(str::to_owned);
    let worst = marked(&screen);
    terminal.keys(&["j"]);
    terminal.when("j goes down", |screen| marked(screen).is_some_and(|line| Some(line) != worst));
    terminal.keys(&["k"]);
    terminal.when("k goes up", |screen| marked(screen).is_some_and(|line| line.contains("hot_spin")));
    terminal.keys(&["Enter"]);
    let page = terminal.shows("Where its time went");
    assert!(page.contains("CRITICAL  hot_spin"), "{page}");
    terminal.keys(&["Escape"]);
    terminal.shows("VERDICT");
    terminal.keys(&["?"]);
    terminal.shows("Shift-Tab");
    terminal.keys(&["?"]);
    terminal.shows("VERDICT");
    terminal.keys(&["/"]);
    terminal.shows("filter: _");
    terminal.keys(&["-l", "arbiter"]);
    terminal.keys(&["Enter"]);
    terminal.shows("only \"arbiter\"");
    terminal.when("the filter holds", |screen| {
        !screen.contains("!! hot_spin") && screen.contains("arbiter_normal")
    });
    terminal.keys(&["Escape"]);
    terminal.shows("!! hot_spin");
    terminal.keys(&["Space"]);
    terminal.shows("PAUSED");
    terminal.keys(&["Space"]);
    terminal.when("it goes on", |screen| !screen.contains("PAUSED") && screen.contains("UTC"));
    terminal.resize(120, 40);
    terminal.shows("TURNS/S");
    terminal.resize(50, 10);
    terminal.shows("too small");
    terminal.resize(60, 15);
    terminal.when("the narrow list", |screen| screen.contains("VERDICT") && !screen.contains("TURNS/S"));
    terminal.keys(&["w"]);
    let told = terminal.shows("written: stallscope-");
    let name = told.split("written: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(terminal.file(name)).unwrap()).unwrap();
    assert_eq!(document["server"]["verdict"]["code"], "one_bad_worker", "{:#}", document["server"]);
    answers(&rig);
    terminal.keys(&["q"]);
    terminal.ended(0);
    rig.unharmed();
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let Some(rig) = four_workers() else { return };
    let pid = rig.portal.arbiter_pid.to_string();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let Some(terminal) = Terminal::open((80, 24), &top(&pid)) else { return };
        terminal.shows("arbiter_normal");
        kill(terminal.tool(), signal).unwrap();
        terminal.ended(code);
    }
    let Some(terminal) = Terminal::open((80, 24), &top(&pid)) else { return };
    terminal.shows("arbiter_normal");
    terminal.keys(&["C-c"]);
    terminal.ended(130);
    let Some(terminal) = Terminal::open((100, 50), &top(&pid)) else { return };
    terminal.shows("arbiter_normal");
    terminal.keys(&["Q"]);
    terminal.ended(0);
    assert!(terminal.screen().contains("the target was never stopped"), "{}", terminal.screen());
    answers(&rig);
    rig.unharmed();
}

/// Even a terminal that is simply gone ends it.
#[test]
fn a_terminal_that_hangs_up_ends_it() {
    let target = Target::waiting();
    let Some(terminal) = Terminal::open((80, 24), &top(&target.pid().to_string())) else { return };
    terminal.shows("VERDICT");
    let tool = terminal.tool().as_raw();
    drop(terminal);
    until("the tool has ended", || status(tool, "State").is_none_or(|state| state.starts_with('Z')));
    assert_eq!(status(target.pid(), "TracerPid").as_deref(), Some("0"));
}

#[test]
fn the_end_of_the_target_is_told() {
    let mut target = Target::waiting();
    let Some(terminal) = Terminal::open((80, 24), &top(&target.pid().to_string())) else { return };
    terminal.when("a verdict", |screen| screen.contains("CPUs") && !screen.contains("looking"));
    target.hang_up();
    target.child.wait().unwrap();
    terminal.ended(3);
    assert!(terminal.screen().contains("the server has ended"), "{}", terminal.screen());
}

#[test]
fn the_shell_gets_the_terminal_for_a_while() {
    let target = Target::waiting();
    let Some(terminal) = Terminal::bare((80, 24), &["bash", "--norc", "--noprofile"]) else { return };
    terminal.keys(&["-l", &top(&target.pid().to_string())]);
    terminal.keys(&["Enter"]);
    terminal.shows("VERDICT");
    terminal.keys(&["C-z"]);
    terminal.shows("Stopped");
    terminal.is_given_back();
    terminal.keys(&["-l", "fg"]);
    terminal.keys(&["Enter"]);
    terminal.shows("VERDICT");
    terminal.keys(&["q"]);
    terminal.when("the shell", |screen| !screen.contains("VERDICT"));
    terminal.is_given_back();
    assert!(status(target.pid(), "State").is_some_and(|state| state.starts_with('S')));
}

#[test]
fn a_panic_anywhere_gives_the_terminal_back() {
    let this = std::env::current_exe().unwrap();
    let line =
        format!("RUST_BACKTRACE=0 {} --ignored --exact panics_on_the_screen --nocapture", this.display());
    let Some(terminal) = Terminal::open((120, 40), &line) else { return };
    terminal.ended(101);
    assert!(terminal.screen().contains("on purpose"), "{}", terminal.screen());
}

#[test]
#[ignore = "takes the terminal it runs in; the test above runs it in one of its own"]
fn panics_on_the_screen() {
    let screen = Screen::take().unwrap();
    let thread = std::thread::spawn(|| panic!("on purpose"));
    assert!(thread.join().is_err());
    assert!(!stallscope::tui::terminal::is_taken(), "before the message");
    drop(screen);
    panic!("and here");
}

#[test]
fn without_a_terminal_it_names_what_to_use_instead() {
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let ran = run(&["top", &pid]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("needs a terminal"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("stallscope diagnose {pid}")), "{ran:?}");
    let Some(terminal) = Terminal::open((80, 24), &format!("TERM=dumb {}", top(&pid))) else { return };
    terminal.ended(2);
    let Some(terminal) = Terminal::open((80, 24), &top("999999999")) else { return };
    terminal.ended(3);
}

#[test]
fn colours_and_letters_are_what_was_asked_for() {
    let target = Target::python("python3", "while True: pass", &[]);
    let pid = target.pid().to_string();
    let colours = |terminal: &Terminal| {
        let painted = terminal.ask(&["capture-pane", "-p", "-e"]);
        ["[38;5;", "[31m", "[32m", "[33m", "[35m"].iter().any(|code| painted.contains(code))
    };
    let verdict = |screen: &str| screen.contains("% used") && !screen.contains("looking");
    let Some(terminal) = Terminal::open((120, 40), &top(&pid)) else { return };
    let screen = terminal.when("a verdict", verdict);
    assert!(colours(&terminal), "{screen}");
    assert!(screen.contains('▼'), "{screen}");
    let Some(terminal) = Terminal::open((120, 40), &format!("NO_COLOR=1 LC_ALL=C {}", top(&pid))) else {
        return;
    };
    let screen = terminal.when("a verdict", verdict);
    assert!(!colours(&terminal), "{}", terminal.ask(&["capture-pane", "-p", "-e"]));
    assert!(screen.is_ascii(), "{screen}");
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn a_capture_plays_holds_and_begins_again() {
    let capture = fixture("fixtures/captures/modern-gevent-spin_watcher.hot_spin.cap");
    let Some(terminal) = Terminal::open((100, 30), &top(&format!("--replay {}", capture.display()))) else {
        return;
    };
    terminal.shows("REPLAY 3.");
    terminal.shows("!! hot_spin");
    terminal.keys(&["r"]);
    terminal.when("the beginning", |screen| screen.contains("REPLAY 0.") || screen.contains("REPLAY 1."));
    terminal.keys(&["Space"]);
    let held = terminal.shows("PAUSED");
    let at = |screen: &str| screen.lines().next().unwrap().split("REPLAY").nth(1).map(str::to_owned);
    terminal.keys(&["?"]);
    assert_eq!(at(&terminal.shows("Shift-Tab")), at(&held), "it stands still");
    terminal.keys(&["?", "Space"]);
    terminal.shows("REPLAY 3.");
    terminal.keys(&["q"]);
    terminal.ended(0);
}

#[test]
fn the_picture_of_the_readme_is_what_the_command_draws() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("top.svg");
    let capture = fixture("fixtures/captures/top/one_bad_worker.cap");
    let args = ["top", "--replay", capture.to_str().unwrap(), "--picture", picture.to_str().unwrap()];
    let ran = run(&[&args[..], &["--size", "110x16"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let (drawn, committed) = (
        std::fs::read_to_string(picture).unwrap(),
        std::fs::read_to_string(fixture("docs/top.svg")).unwrap(),
    );
    assert!(
        drawn == committed,
        "docs/top.svg is behind: stallscope top --replay fixtures/captures/top/one_bad_worker.cap --picture docs/top.svg --size 110x16"
    );
    assert!(drawn.contains("hot_spin") && drawn.contains("one_bad_worker"));
}
