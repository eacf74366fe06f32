//! Targets that are visible but strange: another user's, no Python at all, a Python that is not known.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::tool::{Target, blind_spots, finish, look, skipped, start, status, verdicts};

/// That nothing good is said with confidence.
fn assert_not_praised(document: &Value) {
    for (code, confidence) in verdicts(document) {
        let praise = ["idle", "healthy_busy", "saturated_productive"].contains(&code.as_str());
        assert!(!praise || confidence < 0.9, "{code} with {confidence}: {document}");
    }
}

#[test]
fn a_process_of_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("only root can become somebody else");
    }
    // The tool lies where its unprivileged user can run it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("stallscope");
    std::fs::copy(env!("CARGO_BIN_EXE_stallscope"), &copy).unwrap();
    for program in ["time.sleep(60)", "while True: pass"] {
        let target = Target::python("python3", program, &[]);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        command.args([&target.pid().to_string(), "--format", "json", "-d", "1s", "--max-duration", "1s"]);
        let ran = finish(start(command));
        let document = ran.json();
        if ran.code == 3 {
            assert_eq!(document["error"]["kind"], "not_permitted", "{document}");
            continue;
        }
        assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
        assert_not_praised(&document);
        let spots = blind_spots(&document);
        assert!(spots.contains("permi") || spots.contains("user"), "the cause is not named: {spots}");
        assert!(spots.contains("root") || spots.contains("sudo"), "no remedy: {spots}");
    }
}

#[test]
fn a_program_that_is_no_python() {
    let mut sleeper = Command::new("sleep");
    sleeper.arg("60");
    let mut spinner = Command::new("sh");
    spinner.args(["-c", "while :; do :; done"]);
    for (command, spins) in [(sleeper, false), (spinner, true)] {
        let target = Target::silent(command);
        let (ran, document) = look(target.pid(), &[]);
        assert!([0, 1, 4].contains(&ran.code), "{document}");
        assert!(document["processes"][0]["python"].is_null(), "{document}");
        assert!(blind_spots(&document).contains("no interpreter"), "{document}");
        if spins {
            let good = |code: &str| ["idle", "healthy_busy"].contains(&code);
            assert!(verdicts(&document).iter().all(|(code, _)| !good(code)), "{document}");
        }
        assert_ne!(document["server"]["verdict"]["code"], "healthy", "{document}");
    }
}

#[test]
fn nginx() {
    if !std::path::Path::new("/usr/sbin/nginx").exists() {
        return skipped("nginx is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let conf = folder.path().join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c; \
         uwsgi_temp_path {at}/d; scgi_temp_path {at}/e; server {{ listen unix:{at}/s; }} }}"
    );
    std::fs::write(&conf, text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(&conf).arg("-e").arg(folder.path().join("log"));
    let target = Target::silent(command);
    let head = target.pid();
    let children = || std::fs::read_to_string(format!("/proc/{head}/task/{head}/children")).unwrap();
    crate::tool::until("nginx has a worker", || {
        let workers = children();
        let worker = workers.split_whitespace().next().and_then(|pid| pid.parse().ok());
        worker.is_some_and(|pid| status(pid, "State").is_some_and(|s| s.starts_with('S')))
    });
    let workers = children();
    let (ran, document) = look(head, &[]);
    // Asked to, it ends its worker too; what follows is the drop of the target.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(head), nix::sys::signal::Signal::SIGTERM).unwrap();
    crate::tool::until("nginx ends", || status(head, "State").is_none_or(|s| s.starts_with('Z')));
    assert!([0, 4].contains(&ran.code), "an idle nginx was blamed: {document}");
    let pids: Vec<String> =
        document["processes"].as_array().unwrap().iter().map(|p| p["pid"].to_string()).collect();
    assert!(pids.contains(&workers.trim().to_owned()), "its worker {workers} was not found: {pids:?}");
}

/// A real interpreter whose library says that it is of a version that nobody knows.
#[test]
fn a_python_that_is_not_known() {
    const KNOWN: u64 = 0x030c_01f0;
    const UNKNOWN: u64 = 0x0363_01f0;
    let home = std::env::var("HOME").unwrap_or_default();
    let prefix = format!("{home}/.pyenv/versions/3.12.1");
    let Ok(mut library) = std::fs::read(format!("{prefix}/lib/libpython3.12.so.1.0")) else {
        skipped("no Python 3.12.1 with a library of its own is installed");
        return;
    };
    let places: Vec<usize> =
        (0..library.len() - 8).step_by(8).filter(|at| library[*at..at + 8] == KNOWN.to_le_bytes()).collect();
    assert!(!places.is_empty(), "the library says nowhere what version it is of");
    for at in places {
        library[at..at + 8].copy_from_slice(&UNKNOWN.to_le_bytes());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libpython3.12.so.1.0"), library).unwrap();
    let mut command = std::process::Command::new(format!("{prefix}/bin/python3.12"));
    command
        .args(["-c", "print('ready', flush=True)\nwhile True: pass"])
        .env("LD_LIBRARY_PATH", folder.path());
    let target = Target::announced(command);
    let (ran, document) = look(target.pid(), &[]);
    assert!([0, 1, 4].contains(&ran.code), "{document}");
    assert_not_praised(&document);
    let spots = blind_spots(&document);
    assert!(spots.contains("3.99") && spots.contains("newer"), "Python 3.99 is not named: {spots}");
    assert_eq!(document["collection"]["stacks"]["obtained"], 0, "{document}");
}
