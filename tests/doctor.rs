//! `stallscope doctor` against real processes behind real gates: what it names, what it advises, and that it leaves
//! everybody as they were.

mod tool;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use tool::{Ran, Target, finish, run, skipped, start, status, until};

const NOBODY: &str = "65534";
const SOMEBODY: &str = "65533";

/// The tool where an unprivileged user can run it.
struct Tool {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Tool {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("stallscope");
        std::fs::copy(env!("CARGO_BIN_EXE_stallscope"), &path).unwrap();
        Self { _folder: folder, path }
    }

    /// Runs it behind `before`, as `setpriv --reuid=…`.
    fn behind(&self, before: &[&str], args: &[&str]) -> Ran {
        let (program, rest) = before.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(rest).arg(&self.path).args(args).env("NO_COLOR", "1");
        finish(start(command))
    }

    /// As [`Tool::behind`], for `doctor PID` as JSON, which its schema must describe.
    fn doctor(&self, before: &[&str], pid: i32) -> (Ran, Value) {
        let ran = self.behind(before, &["doctor", &pid.to_string(), "--format", "json"]);
        let document = ran.json();
        assert_described(&document);
        (ran, document)
    }
}

fn assert_described(document: &Value) {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/doctor-v1.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("doctor.json", schema).unwrap();
    let index = compiler.compile("doctor.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(document, index) {
        panic!("{error}\n{document:#}");
    }
}

fn user(uid: &str) -> Vec<String> {
    vec!["setpriv".into(), format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A Python that waits, as another user from its start.
fn of(uid: &str) -> Target {
    let mut command = Command::new("setpriv");
    command.args(&user(uid)[1..]);
    let program = "import sys\nsys.stdout.write('ready\\n'); sys.stdout.flush()\nsys.stdin.read()";
    command.args(["/usr/bin/python3", "-c", program]);
    Target::announced(command)
}

fn root_or_skip() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped("only root can become somebody else: the gates were not tried");
    }
    root && installed("setpriv") && std::path::Path::new("/usr/bin/python3").exists()
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !there {
        skipped(&format!("{program} is not installed"));
    }
    there
}

/// That nobody has stopped a process, and that it is traced as before.
fn assert_untouched(pid: i32, tracer: &str) {
    assert_eq!(status(pid, "TracerPid").as_deref(), Some(tracer), "process {pid}");
    let state = status(pid, "State").unwrap();
    assert!(!state.starts_with(['t', 'T']), "process {pid} is stopped: {state}");
}

fn assert_gate(document: &Value, gate: &str, value: &str) {
    assert_eq!(document["target"]["gate"]["name"], gate, "{document:#}");
    assert_eq!(document["target"]["gate"]["value"], value, "{document:#}");
    let told = document.to_string();
    assert!(!told.contains("ptrace_scope=0\"") && !told.contains("--privileged"), "{told}");
}

fn first_remedy(document: &Value) -> String {
    document["target"]["gate"]["remedies"][0].as_str().unwrap().to_owned()
}

/// Whether a source answered.
fn obtained(document: &Value, source: &str) -> bool {
    let sources = document["target"]["sources"].as_array().unwrap();
    let found = sources.iter().find(|seen| seen["name"] == source);
    found.unwrap_or_else(|| panic!("no {source}: {document:#}"))["obtained"].as_bool().unwrap()
}

/// What everybody may read, and what nobody may behind a closed gate.
fn assert_degraded(ran: &Ran, document: &Value) {
    assert_eq!((ran.code, &document["target"]["access"]), (0, &"degraded".into()), "{document:#}");
    for source in ["proc.stat", "proc.schedstat", "proc.net"] {
        assert!(obtained(document, source), "{source}: {document:#}");
    }
    for source in ["proc.syscall", "memory.file", "memory.remote"] {
        assert!(!obtained(document, source), "{source}: {document:#}");
    }
    let without = document["target"]["gate"]["without"].as_str().unwrap();
    assert!(without.starts_with("stallscope --level proc"), "{without}");
}

#[test]
fn of_our_own_everything_may_be_read() {
    let target = Target::waiting();
    let ran = run(&["doctor", &target.pid().to_string(), "--format", "json"]);
    let document = ran.json();
    assert_described(&document);
    if document["target"]["gate"]["name"] == "yama" {
        return skipped("Yama is on here and this is not root");
    }
    assert_eq!((ran.code, &document["target"]["access"]), (0, &"full".into()), "{document:#}");
    assert!(document["target"]["gate"].is_null() && document["target"]["burst"].is_null());
    let missing: Vec<&Value> =
        document["target"]["sources"].as_array().unwrap().iter().filter(|s| s["obtained"] == false).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(document["target"]["python"].as_str().unwrap().starts_with("CPython 3."), "{document:#}");
    assert_untouched(target.pid(), "0");
}

#[test]
fn another_users_process() {
    if !root_or_skip() {
        return;
    }
    let (tool, target) = (Tool::new(), of(SOMEBODY));
    let (ran, document) = tool.doctor(&words(&user(NOBODY)), target.pid());
    assert_gate(&document, "uid", "uid=65533 ours=65534");
    assert_degraded(&ran, &document);
    assert_eq!(first_remedy(&document), format!("sudo -u '#65533' stallscope {}", target.pid()));
    // What is advised works.
    let (ran, document) = tool.doctor(&words(&user(SOMEBODY)), target.pid());
    assert_eq!((ran.code, &document["target"]["access"]), (0, &"full".into()), "{document:#}");
    assert_untouched(target.pid(), "0");
}

#[test]
fn another_group() {
    if !root_or_skip() {
        return;
    }
    let (tool, target) = (Tool::new(), of(SOMEBODY));
    let user = ["setpriv", "--reuid=65533", "--regid=65534", "--clear-groups"];
    let (ran, document) = tool.doctor(&user, target.pid());
    assert_gate(&document, "gid", "gid=65533 ours=65534");
    assert_degraded(&ran, &document);
}

#[test]
fn a_process_that_dropped_its_privileges() {
    if !root_or_skip() {
        return;
    }
    let drop = "import os; os.setgroups([]); os.setgid(65533); os.setuid(65533)";
    let program = format!("import sys; {drop}\nprint('ready', flush=True)\nsys.stdin.read()");
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", &program]);
    let (tool, target) = (Tool::new(), Target::announced(command));
    // Its own user may not read it, and its files show why.
    let (ran, document) = tool.doctor(&words(&user(SOMEBODY)), target.pid());
    assert_gate(&document, "not_dumpable", "dumpable=0");
    assert_degraded(&ran, &document);
    assert_eq!(first_remedy(&document), format!("sudo stallscope {}", target.pid()));
    // To become its user is not advised to a stranger either, as it would not help.
    let (_, document) = tool.doctor(&words(&user(NOBODY)), target.pid());
    assert_gate(&document, "uid", "uid=65533 ours=65534");
    assert_eq!(first_remedy(&document), format!("sudo stallscope {}", target.pid()));
    assert_untouched(target.pid(), "0");
}

#[test]
fn root_without_the_capability() {
    if !root_or_skip() {
        return;
    }
    let (tool, target) = (Tool::new(), of(SOMEBODY));
    let without = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let (ran, document) = tool.doctor(&without, target.pid());
    assert_gate(&document, "capability", "CapEff without bit 19");
    assert_degraded(&ran, &document);
    assert!(!first_remedy(&document).starts_with("sudo"), "{document:#}");
    let rights = document["you"]["capabilities"].to_string();
    assert!(!rights.contains("CAP_SYS_PTRACE") && rights.contains("CAP_SYS_ADMIN"), "{rights}");
    assert_untouched(target.pid(), "0");
}

#[test]
fn root_of_a_child_user_namespace() {
    if !root_or_skip() || !installed("unshare") {
        return;
    }
    let (tool, target) = (Tool::new(), Target::waiting());
    if !finish(start({
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "true"]);
        command
    }))
    .stderr
    .is_empty()
    {
        return skipped("no user namespace can be made here");
    }
    let (ran, document) = tool.doctor(&["unshare", "--user", "--map-root-user"], target.pid());
    assert_gate(&document, "user_namespace", "uid_map=0:0:1");
    assert_degraded(&ran, &document);
    assert!(first_remedy(&document).starts_with("outside of this user namespace"), "{document:#}");
    assert_untouched(target.pid(), "0");
}

#[test]
fn a_proc_that_hides_processes() {
    if !root_or_skip() || !installed("unshare") {
        return;
    }
    let (tool, target) = (Tool::new(), of(SOMEBODY));
    for (option, value) in [("1", "hidepid=noaccess"), ("2", "hidepid=invisible")] {
        let mount = format!(
            "mount -t proc -o hidepid={option} proc /proc || exit 99; exec setpriv --reuid={NOBODY} --regid={NOBODY} \
             --clear-groups \"$0\" \"$@\""
        );
        let before = ["unshare", "--mount", "sh", "-c", &mount];
        let ran = tool.behind(&before, &["doctor", &target.pid().to_string(), "--format", "json"]);
        if ran.code == 99 || ran.stderr.contains("unshare:") {
            return skipped("no /proc can be mounted here");
        }
        let document = ran.json();
        assert_described(&document);
        assert_eq!((ran.code, &document["target"]["access"]), (3, &"none".into()), "{document:#}");
        let old = format!("hidepid={option}"); // before Linux 5.8
        let seen = document["target"]["gate"]["value"].as_str().unwrap();
        assert!(seen == value || seen == old, "{document:#}");
        assert_eq!(document["target"]["gate"]["name"], "hidepid");
        // A look says the same.
        let ran = tool.behind(&before, &[&target.pid().to_string(), "--format", "json"]);
        let document = ran.json();
        assert_eq!((ran.code, &document["error"]["kind"]), (3, &"not_permitted".into()), "{document:#}");
        assert_eq!(document["error"]["value"], seen, "{document:#}");
    }
    assert_untouched(target.pid(), "0");
}

#[test]
fn a_process_that_is_traced_already() {
    if !installed("strace") {
        return;
    }
    let target = Target::waiting();
    let pid = target.pid().to_string();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid]);
    let tracer = Target::silent(command);
    let tracer_pid = tracer.pid().to_string();
    until("strace has attached", || status(target.pid(), "TracerPid").as_deref() == Some(&tracer_pid));
    until("strace lets it go on", || status(target.pid(), "State").is_some_and(|s| s.starts_with('S')));

    let ran = run(&["doctor", &pid, "--format", "json"]);
    let document = ran.json();
    assert_described(&document);
    assert_eq!((ran.code, &document["target"]["access"]), (0, &"full".into()), "{document:#}");
    assert_eq!(document["target"]["burst"]["name"], "traced");
    assert_eq!(document["target"]["burst"]["value"], format!("TracerPid={tracer_pid} (strace)"));
    let text = run(&["doctor", &pid]).stdout;
    assert!(text.contains(&format!("TracerPid={tracer_pid} (strace)")), "{text}");
    // A look needs no stop, so it is not in the way.
    let (ran, document) = tool::look(target.pid(), &[]);
    assert!([0, 1, 4].contains(&ran.code), "{document:#}");
    assert!(document["collection"]["stacks"]["obtained"].as_u64().unwrap() > 0, "{document:#}");
    assert_untouched(target.pid(), &tracer_pid);
}

#[test]
fn the_gone_the_dead_and_the_kernel() {
    let ran = run(&["doctor", "2147483646", "--format", "json"]);
    let document = ran.json();
    assert_described(&document);
    assert_eq!((ran.code, &document["target"]["gate"]["name"]), (3, &"no_such_process".into()));

    let mut child = Command::new("true").spawn().unwrap();
    waitid(Id::Pid(Pid::from_raw(child.id() as i32)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let ran = run(&["doctor", &child.id().to_string(), "--format", "json"]);
    let document = ran.json();
    assert_eq!((ran.code, &document["target"]["gate"]["name"]), (3, &"exited".into()), "{document:#}");
    assert_eq!(first_remedy(&document), format!("look at its parent: stallscope {}", std::process::id()));
    child.wait().unwrap();

    if status(2, "Name").as_deref() == Some("kthreadd") {
        let ran = run(&["doctor", "2", "--format", "json"]);
        assert_eq!((ran.code, &ran.json()["target"]["gate"]["name"]), (3, &"kernel_thread".into()));
    } else {
        skipped("no kernel thread is visible here");
    }
}

#[test]
fn a_pid_of_a_container_is_translated() {
    if !installed("unshare") {
        return;
    }
    // A pid that is high inside and, being taken from a namespace of its own, not one of ours.
    let inner = 2_147_000;
    let script = format!(
        "mount -t proc proc /proc || exit 99; echo {} > /proc/sys/kernel/ns_last_pid || exit 99; \
         python3 -c 'import sys; print(\"ready\", flush=True); sys.stdin.read()'; exit 0",
        inner - 1
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    let mut target = Target::silent(command);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(target.child.stdout.take().unwrap()), &mut line)
        .unwrap();
    if !line.starts_with("ready") {
        return skipped("no pid namespace whose next pid can be chosen may be made here");
    }
    let ran = run(&["doctor", &inner.to_string(), "--format", "json"]);
    let document = ran.json();
    assert_described(&document);
    if document["target"]["gate"]["name"] == "no_such_process" {
        return skipped("the kernel did not give the pid that was asked for");
    }
    assert_eq!((ran.code, &document["target"]["gate"]["name"]), (3, &"pid_namespace".into()), "{document:#}");
    let advised = first_remedy(&document);
    let here: i32 = advised.strip_prefix("stallscope ").unwrap().parse().unwrap();
    assert!(status(here, "NSpid").unwrap().ends_with(&inner.to_string()), "{advised}");
    target.hang_up();
}

#[test]
fn the_machine_and_its_servers() {
    let program = "import socket; l = socket.create_server(('127.0.0.1', 0)); print('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new("python3");
    command.args(["-c", &format!("import sys; {program}")]);
    let target = Target::announced(command);
    let ran = run(&["doctor", "--format", "json"]);
    let document = ran.json();
    assert_described(&document);
    assert_eq!(ran.code, 0);
    assert_eq!(document["you"]["uid"], nix::unistd::geteuid().as_raw());
    let server = document["servers"].as_array().unwrap().iter().find(|s| s["pid"] == target.pid());
    let server = server.unwrap_or_else(|| panic!("its listener was not found: {document:#}"));
    assert_eq!(
        (&server["access"], server["ports"].as_array().unwrap().len()),
        (&"full".into(), 1),
        "{server}"
    );
    for check in ["yama", "selinux", "apparmor", "seccomp", "user namespace", "/proc", "schedstat", "cgroup"]
    {
        let found = document["machine"].as_array().unwrap().iter().any(|c| c["name"] == check);
        assert!(found, "{check}: {document:#}");
    }
    let text = run(&["doctor"]).stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains(&target.pid().to_string()), "{text}");
}

#[test]
fn a_look_names_a_gate_once_for_all_workers() {
    if !root_or_skip() {
        return;
    }
    let program = "import os, sys, time\nfor _ in range(3):\n    if os.fork() == 0: time.sleep(60)\n\
        print('ready', flush=True)\nsys.stdin.read()\nos.killpg(0, 9)";
    let mut command = Command::new("setpriv");
    command.args(&user(SOMEBODY)[1..]).args(["/usr/bin/python3", "-c", program]);
    let tool = Tool::new();
    let mut target = Target::announced(command);
    let pid = target.pid().to_string();
    for level in ["memory", "proc"] {
        let args =
            [pid.as_str(), "--format", "json", "-d", "500ms", "--max-duration", "500ms", "--level", level];
        let ran = tool.behind(&words(&user(NOBODY)), &args);
        let document = ran.json();
        assert!([0, 1, 4].contains(&ran.code), "{document:#}");
        assert_eq!(document["processes"].as_array().unwrap().len(), 4, "{document:#}");
        let spots = document["blind_spots"].as_array().unwrap();
        let refused: Vec<&Value> =
            spots.iter().filter(|s| s["why"].as_str().unwrap().starts_with("not permitted")).collect();
        assert_eq!(refused.len(), 1, "{level}: {spots:#?}");
        assert!(refused[0]["what"].as_str().unwrap().contains("4 processes"), "{level}: {refused:?}");
        assert!(refused[0]["why"].as_str().unwrap().contains("uid=65533 ours=65534"), "{refused:?}");
        assert_eq!(refused[0]["remedy"], format!("sudo -u '#65533' stallscope {pid}"));
        let root = spots.iter().filter(|s| s["remedy"].to_string().contains("root"));
        assert_eq!(root.count(), 0, "{spots:#?}");
    }
    target.hang_up();
    let _ = target.child.wait();
}
