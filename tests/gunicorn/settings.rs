//! What is set in a configuration file or by the application is not on the command line: the class is seen all the same.

use std::path::Path;

use stallscope::portal::{Stack, venv};

use super::rig::{Look, Rig, Way, children, free_port, look, look_for, version};

/// Starts with everything in a configuration file and a few more arguments, and looks.
fn configured(python: &Path, settings: &str, args: &[&str]) -> (Rig, Look) {
    let port = free_port();
    let text = format!("bind = '127.0.0.1:{port}'\nworkers = 2\ntimeout = 50\n{settings}\n");
    let line = Rig::command(python, Way::Script, &[&["-c", "settings.conf.py"], args].concat());
    let rig = Rig::prepared(&line, Way::Script, &[("settings.conf.py", &text)]);
    rig.until_serving(port, 2);
    let seen = look(children(rig.pid())[0]);
    (rig, seen)
}

#[test]
fn classes_of_a_configuration_file() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let Some(python) = version(gunicorn).python() else { continue };
        let cases = [
            ("threads = 3", &["app:app"][..], "gthread"),
            ("worker_class = 'gthread'", &["app:app"], "gthread"),
            ("", &["app:app"], "sync"),
            // A typed class is not the last word: threads make gthread of it.
            ("threads = 3", &["-k", "sync", "app:app"], "gthread"),
        ];
        std::thread::scope(|scope| {
            for (settings, args, class) in cases {
                let python = &python;
                scope.spawn(move || {
                    let (rig, seen) = configured(python, settings, args);
                    seen.assert_well(&format!("{gunicorn} {settings:?} {args:?}"), class, 2);
                    assert_eq!(seen.pids("worker"), children(rig.pid()));
                    assert_eq!(seen.json["server"]["timeout_s"], 50, "{:#}", seen.json["server"]);
                    assert_eq!(seen.json["server"]["workers_configured"], 2);
                });
            }
        });
    }
}

#[test]
fn loops_of_a_configuration_file() {
    let python = match venv::python(Stack::Modern, "gevent", &mut |line| eprintln!("{line}")) {
        Ok(python) => python,
        Err(error) => return eprintln!("SKIPPED: the portal's software: {}: {}", error.message, error.cause),
    };
    let cases = [
        ("gevent", "app:app", "gevent"),
        ("tornado", "app:app", "tornado"),
        ("uvicorn_worker.UvicornWorker", "app:asgi", "uvicorn"),
        ("asgi", "app:asgi", "asgi"),
    ];
    std::thread::scope(|scope| {
        for (class, application, expected) in cases {
            let python = &python;
            scope.spawn(move || {
                let (_rig, seen) = configured(python, &format!("worker_class = '{class}'"), &[application]);
                seen.assert_well(class, expected, 2);
            });
        }
    });
}

/// An application that runs gunicorn itself: neither its name nor a module of it is on the command line.
const EMBEDDED: &str = "
from gunicorn.app.base import BaseApplication
import app, sys

class Own(BaseApplication):
    def load_config(self):
        self.cfg.set('bind', '127.0.0.1:' + sys.argv[1])
        self.cfg.set('workers', 2)
    def load(self):
        return app.app

Own().run()
";

#[test]
fn an_application_that_runs_gunicorn_itself() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let Some(python) = version(gunicorn).python() else { continue };
        let port = free_port();
        let line = [python.to_str().unwrap().to_owned(), "server.py".into(), port.to_string()];
        let rig = Rig::prepared(&line, Way::Script, &[("server.py", EMBEDDED)]);
        rig.until_serving(port, 2);
        for pid in [rig.pid(), children(rig.pid())[1]] {
            let seen = look(pid);
            seen.assert_well("embedded", "sync", 2);
            assert_eq!(seen.json["server"]["version"], gunicorn);
            assert_eq!(seen.pids("arbiter"), [rig.pid()]);
        }
    }
}

/// Programs that start gunicorn and wait for it are no arbiters, though its name is on their command line.
#[test]
fn programs_that_wait_for_gunicorn() {
    let Some(python) = version("27.0.1").python() else { return };
    let script = python.with_file_name("gunicorn");
    for wrapper in [&["timeout", "60"][..], &["sh", "-c", "\"$0\" \"$@\"; true"]] {
        let port = free_port();
        let bind = format!("127.0.0.1:{port}");
        let own = [script.to_str().unwrap(), "-w", "2", "-b", &bind, "app:app"];
        let line: Vec<String> = wrapper.iter().chain(&own).map(|a| (*a).to_owned()).collect();
        let rig = Rig::prepared(&line, Way::Script, &[]);
        rig.until("an answer", || super::rig::answers(port));
        let arbiter = children(rig.pid())[0];
        rig.until("its workers", || children(arbiter).len() == 2);
        let seen = look(children(arbiter)[0]);
        seen.assert_well(&format!("{wrapper:?}"), "sync", 2);
        assert_eq!(seen.pids("arbiter"), [arbiter]);
        assert_eq!(seen.pids("worker"), children(arbiter));
    }
}

/// With the kernel's files alone there is no stack: nothing is made up, and nothing is wrong.
#[test]
fn kernel_files_alone() {
    let Some(python) = version("27.0.1").python() else { return };
    let port = free_port();
    let rig = Rig::start(&python, Way::Script, &["-w", "2", "-b", &format!("127.0.0.1:{port}"), "app:app"]);
    rig.until_serving(port, 2);
    let seen = look_for(rig.pid(), "1s", &["--level", "proc"]);
    assert_eq!(seen.pids("arbiter"), [rig.pid()], "{:#}", seen.json);
    assert_eq!(seen.pids("worker"), children(rig.pid()), "{:#}", seen.json);
    for process in seen.json["processes"].as_array().unwrap() {
        assert_ne!(process["verdict"]["severity"], "critical", "{process:#}");
    }
    assert!([Some(0), Some(4)].contains(&seen.exit), "{:#}", seen.json);
    // Neither typed nor readable: not known, and said to be so.
    assert!(seen.json["server"]["timeout_s"].is_null(), "{:#}", seen.json["server"]);
    assert!(seen.json["blind_spots"].to_string().contains("timeout_s"), "{:#}", seen.json["blind_spots"]);
}
