//! The completion scripts in the shells that they are for: verbs, servers, their processes and ports.

mod tool;

use std::path::{Path, PathBuf};
use std::process::Command;

use tool::{Target, finish, skipped, start, until};

/// Listens, and says where. Its name is what a hostile process would choose.
const SERVER: &str = r#"
import ctypes, socket
ctypes.CDLL(None).prctl(15, b"$(id);`x`'\"\n", 0, 0, 0)
listener = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(listener.getsockname()[1]))
sys.stdin.read()
"#;

struct Server {
    target: Target,
    port: String,
    _folder: tempfile::TempDir,
}

fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("port");
    let target = Target::python("python3", SERVER, &[file.to_str().unwrap()]);
    let mut port = String::new();
    until("the server listens", || {
        port = std::fs::read_to_string(&file).unwrap_or_default();
        !port.is_empty()
    });
    Server { target, port, _folder: folder }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions")
}

/// Runs a shell that finds the program.
fn shell(program: &str, args: &[&str]) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_stallscope")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.args(args).env("PATH", format!("{}:{path}", bin.display())).current_dir(scripts());
    let ran = finish(start(command));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    if !there {
        skipped(&format!("{program} is not installed: its completions were not tried"));
    }
    there
}

/// Asks until the server is offered: on a loaded machine an answer may be cut short.
fn offered(line: &str, wanted: &str, complete: impl Fn(&str) -> String) -> String {
    let mut answer = String::new();
    until(&format!("{wanted} is offered for {line:?}"), || {
        answer = complete(line);
        // A terminal's commands may stand around it.
        answer.split(|c: char| !c.is_ascii_digit()).any(|word| word == wanted)
    });
    answer
}

/// What bash would offer, one a line.
fn bash(line: &str) -> String {
    let script = r#"
        source ./stallscope.bash
        complete -p stallscope | grep -q _stallscope_with_servers || exit 1
        COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
        _stallscope_with_servers stallscope "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let words: Vec<&str> = line.split(' ').collect();
    shell("bash", &[&["--norc", "-c", script, "bash"], words.as_slice()].concat())
}

#[test]
fn bash_completes_verbs_and_servers() {
    if !installed("bash") {
        return;
    }
    let server = server();
    let pid = server.target.pid().to_string();
    let first = offered("stallscope ", &pid, bash);
    assert!(first.lines().any(|word| word == "doctor") && !first.contains("--"), "{first}");
    assert!(first.lines().all(|word| word.bytes().all(|b| b.is_ascii_alphanumeric())), "{first}");
    offered("stallscope doctor ", &pid, bash);
    offered(&format!("stallscope diagnose {}", &pid[..1]), &pid, bash);
    offered("stallscope diagnose --only ", &pid, bash);
    offered("stallscope --port ", &server.port, bash);
    for line in ["stallscope portal up --port ", "stallscope demo ", "stallscope --duration "] {
        let answer = bash(line);
        assert!(!answer.lines().any(|word| word == pid || word == server.port), "{line}: {answer}");
    }
    assert!(bash("stallscope --max").contains("--max-duration"));
}

#[test]
fn fish_completes_servers_with_a_description() {
    if !installed("fish") {
        return;
    }
    let fish = |line: &str| {
        shell("fish", &["--no-config", "-c", &format!("source ./stallscope.fish; complete -C '{line}'")])
    };
    let server = server();
    let pid = server.target.pid().to_string();
    let first = offered("stallscope ", &pid, fish);
    assert!(first.contains("doctor\t"), "{first}");
    let line = first.lines().find(|line| line.starts_with(&format!("{pid}\t"))).unwrap();
    assert!(
        line.ends_with(&format!("??id???x????, port {}", server.port)),
        "its name was not made harmless: {line}"
    );
    offered("stallscope doctor ", &pid, fish);
    offered("stallscope diagnose --only ", &pid, fish);
    offered("stallscope --port ", &server.port, fish);
    assert!(!fish("stallscope portal up --port ").contains(&server.port));
}

#[test]
fn zsh_completes_verbs_and_servers() {
    if !installed("zsh") {
        return;
    }
    // A terminal of its own, as zsh completes only where somebody types.
    let script = r#"
        zmodload zsh/zpty
        zpty -b z zsh -f -i
        zpty -w z "PS1='> '; fpath=($PWD \$fpath); autoload -Uz compinit; compinit -u -D; setopt no_beep; LISTMAX=10000; stty columns 160 rows 200; echo rea''dy"
        while zpty -r z line; do [[ $line == ready* ]] && break; done
        zpty -w -n z "$1"$'\t\t'
        sought=$2 seen= end=$(( SECONDS + 5 ))
        while (( SECONDS < end )); do
            zpty -r -t z piece && seen+=$piece || read -t 0.02 -u 0
            [[ $seen == *$sought* ]] && break
        done
        print -r -- $seen
        zpty -d z
    "#;
    let zsh = |wanted: &str| {
        let wanted = wanted.to_owned();
        move |line: &str| shell("zsh", &["-f", "-c", script, "zsh", line, &wanted])
    };
    let server = server();
    let pid = server.target.pid().to_string();
    let first = offered("stallscope ", &pid, zsh(&pid));
    assert!(first.contains("what opens it"), "the verbs are not described: {first}");
    offered("stallscope doctor ", &pid, zsh(&pid));
    offered("stallscope --port ", &server.port, zsh(&server.port));
}

#[test]
fn an_answer_costs_little_and_a_wrong_question_is_silent() {
    let server = server();
    let mut command = tool::tool(&["__complete", "nonsense"]);
    command.env("LC_ALL", "C");
    let ran = finish(start(command));
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (2, "", ""));
    // Within its patience, whatever else the machine does; the rest is what it takes to start a program.
    let best = (0..5).map(|_| tool::run(&["__complete", "pids"]).took).min().unwrap();
    assert!(best.as_millis() < 200, "{best:?}");
    drop(server);
}
