//! What a gunicorn command line says about its server.
//!
//! Takes arguments as they were typed (and `GUNICORN_CMD_ARGS`), gives [`Settings`]. Pure. A setting that is not on the
//! command line may stand in a configuration file, which only gunicorn itself can read: then it is `None` here until
//! the arbiter's memory tells ([`Settings::learn`]).

use crate::capture::model::WorkerClass;

/// What was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `-w`.
    pub workers: Option<u32>,
    /// `--threads`.
    pub threads: Option<u32>,
    /// `-t`.
    pub timeout_s: Option<u64>,
    /// `-k`; plain `sync` with more than one thread becomes gthread, as gunicorn does it.
    pub worker_class: Option<WorkerClass>,
    /// `--max-requests`.
    pub max_requests: Option<u32>,
    /// `-b`, as typed.
    pub bind: Vec<String>,
}

/// What a gunicorn process with `setproctitle` calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Title {
    /// `gunicorn: master [app]`.
    Master,
    /// `gunicorn: worker [app]`.
    Worker,
    /// `gunicorn: dirty-arbiter` and `dirty-worker`: they serve no requests.
    Dirty,
}

/// The title that has taken the place of a command line.
#[must_use]
pub fn title(cmdline: &[String]) -> Option<Title> {
    let title = cmdline.first()?.strip_prefix("gunicorn: ")?;
    Some(match () {
        () if title.starts_with("dirty-") => Title::Dirty,
        () if title.starts_with("worker") => Title::Worker,
        () => Title::Master,
    })
}

/// Whether a command line is gunicorn's: its script, `-m gunicorn`, or a title it has given itself. A program that only
/// starts gunicorn (`timeout 60 gunicorn`) is not.
#[must_use]
pub fn is_gunicorn(cmdline: &[String]) -> bool {
    let Some((program, arguments)) = cmdline.split_first() else { return false };
    let base = |arg: &str| arg.rsplit('/').next().unwrap_or_default().to_owned();
    let script = |arg: &str| matches!(base(arg).as_str(), "gunicorn" | "gunicorn3" | "gunicorn_paster");
    if title(cmdline).is_some() || script(program) {
        return true;
    }
    if !["python", "pypy"].iter().any(|name| base(program).starts_with(name)) {
        return false;
    }
    let module = arguments.windows(2).any(|w| w[0] == "-m" && w[1].split('.').next() == Some("gunicorn"));
    module || program_of(arguments).is_some_and(script)
}

/// The script among the arguments of an interpreter: the first one behind its own options.
fn program_of(arguments: &[String]) -> Option<&str> {
    let mut arguments = arguments.iter();
    loop {
        match arguments.next()?.as_str() {
            "-c" | "-m" => return None,
            "-X" | "-W" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            script => return Some(script),
        }
    }
}

/// Reads a command line; the environment's arguments come first, so that typed ones win.
#[must_use]
pub fn settings(cmdline: &[String], environment_args: Option<&str>) -> Settings {
    let mut settings = Settings::default();
    if let Some(args) = environment_args {
        let args: Vec<String> =
            args.split_whitespace().map(|a| a.trim_matches(['\'', '"']).to_owned()).collect();
        settings.read(&args);
    }
    settings.read(cmdline);
    settings.threads_make_gthread();
    settings
}

impl Settings {
    /// Takes over what the running arbiter itself holds: that counts, whatever was typed.
    pub fn learn(&mut self, held: &Self) {
        self.workers = held.workers.or(self.workers);
        self.threads = held.threads.or(self.threads);
        self.timeout_s = held.timeout_s.or(self.timeout_s);
        self.max_requests = held.max_requests.or(self.max_requests);
        self.worker_class = held.worker_class.or(self.worker_class);
        self.threads_make_gthread();
    }

    /// gunicorn makes gthread of sync where more than one thread is asked for.
    fn threads_make_gthread(&mut self) {
        if self.worker_class == Some(WorkerClass::Sync) && self.threads.is_some_and(|n| n > 1) {
            self.worker_class = Some(WorkerClass::Gthread);
        }
    }

    fn read(&mut self, args: &[String]) {
        let mut args = args.iter().peekable();
        while let Some(arg) = args.next() {
            let (name, inline) = split(arg);
            if !matches!(
                name,
                "-w" | "--workers"
                    | "--threads"
                    | "--max-requests"
                    | "-t"
                    | "--timeout"
                    | "-k"
                    | "--worker-class"
                    | "-b"
                    | "--bind"
            ) {
                continue;
            }
            let Some(value) = inline.map(str::to_owned).or_else(|| args.next().cloned()) else { return };
            match name {
                "-w" | "--workers" => self.workers = value.parse().ok().or(self.workers),
                "--threads" => self.threads = value.parse().ok().or(self.threads),
                "--max-requests" => self.max_requests = value.parse().ok().or(self.max_requests),
                "-t" | "--timeout" => self.timeout_s = value.parse().ok().or(self.timeout_s),
                "-k" | "--worker-class" => self.worker_class = class(&value).or(self.worker_class),
                _ => self.bind.push(value),
            }
        }
    }
}

/// `--name=value`, `-w4` or just the name.
fn split(arg: &str) -> (&str, Option<&str>) {
    if let Some((name, value)) = arg.split_once('=').filter(|(name, _)| name.starts_with("--")) {
        return (name, Some(value));
    }
    let short = arg.starts_with('-') && !arg.starts_with("--");
    match arg.char_indices().nth(2) {
        Some((at, _)) if short => (&arg[..at], Some(&arg[at..])),
        _ => (arg, None),
    }
}

/// A worker class by its name on the command line.
#[must_use]
pub fn class(name: &str) -> Option<WorkerClass> {
    let lower = name.to_ascii_lowercase();
    Some(match lower.as_str() {
        "sync" => WorkerClass::Sync,
        "gthread" => WorkerClass::Gthread,
        "asgi" => WorkerClass::Asgi,
        n if n.starts_with("gevent") || n.contains("ggevent") || n.contains("geventwebsocket") => {
            WorkerClass::Gevent
        }
        n if n.starts_with("eventlet") || n.contains("geventlet") => WorkerClass::Eventlet,
        n if n.contains("uvicorn") => WorkerClass::Uvicorn,
        n if n.contains("tornado") => WorkerClass::Tornado,
        n if n.contains("gthread") => WorkerClass::Gthread,
        n if n.contains("workers.sync") => WorkerClass::Sync,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_way_to_write_an_option_is_read() {
        for text in [
            "gunicorn -w 4 -k gevent -t 30 a:b",
            "gunicorn --workers=4 --worker-class gevent --timeout=30",
            "g -w4 -kgevent -t30",
        ] {
            let got = settings(&line(text), None);
            assert_eq!(
                (got.workers, got.worker_class, got.timeout_s),
                (Some(4), Some(WorkerClass::Gevent), Some(30)),
                "{text}"
            );
        }
    }

    #[test]
    fn threads_turn_sync_into_gthread_and_silence_says_nothing() {
        assert_eq!(
            settings(&line("gunicorn -k sync --threads 4 a"), None).worker_class,
            Some(WorkerClass::Gthread)
        );
        assert_eq!(settings(&line("gunicorn a:b"), None), Settings::default());
    }

    #[test]
    fn typed_options_win_over_the_environment() {
        let got = settings(&line("gunicorn -w 2 a"), Some("--workers 8 --bind=0.0.0.0:80"));
        assert_eq!((got.workers, got.bind), (Some(2), vec!["0.0.0.0:80".to_owned()]));
    }

    #[test]
    fn what_recycles_workers_is_read() {
        let got = settings(&line("gunicorn --max-requests 1000 --max-requests-jitter 50 a"), None);
        assert_eq!(got.max_requests, Some(1000));
    }

    #[test]
    fn what_the_arbiter_holds_counts() {
        let mut got = settings(&line("gunicorn -w 2 -t 30 -k sync a"), None);
        let held = |name: &str, threads| Settings {
            workers: Some(5),
            threads: Some(threads),
            worker_class: class(name),
            ..Settings::default()
        };
        got.learn(&held("gunicorn.workers.ggevent.GeventWorker", 1));
        assert_eq!((got.workers, got.timeout_s), (Some(5), Some(30)), "what it does not tell stays");
        assert_eq!(got.worker_class, Some(WorkerClass::Gevent));
        got.learn(&held("sync", 4));
        assert_eq!(got.worker_class, Some(WorkerClass::Gthread));
        got.learn(&held("own.Worker", 1));
        assert_eq!(got.worker_class, Some(WorkerClass::Gthread), "an unknown class tells nothing");
    }

    #[test]
    fn a_cut_command_line_is_no_trap() {
        assert_eq!(settings(&line("gunicorn -w"), None).workers, None);
        assert_eq!(settings(&["-".into(), "é".into(), "-é".into()], None), Settings::default());
    }

    #[test]
    fn gunicorn_is_known_by_script_module_and_title() {
        for text in [
            "/usr/bin/python3 /usr/local/bin/gunicorn a:b",
            "python -m gunicorn a",
            "python -m gunicorn.app.wsgiapp a",
            "/x/python3.11 -X dev -u /usr/local/bin/gunicorn a:b",
            "gunicorn a:b",
        ] {
            assert!(is_gunicorn(&line(text)), "{text}");
        }
        assert!(is_gunicorn(&["gunicorn: worker [app]".into()]));
        assert!(!is_gunicorn(&line("vim gunicorn.conf.py")));
        assert!(!is_gunicorn(&line("python app.py a b --name gunicorn")));
        for wrapper in
            ["timeout 60 gunicorn a:b", "tini -- gunicorn a:b", "sh -c gunicorn", "python -c gunicorn"]
        {
            assert!(!is_gunicorn(&line(wrapper)), "{wrapper}");
        }
    }

    #[test]
    fn titles_tell_who_serves() {
        for (text, expected) in [
            ("gunicorn: master [app]", Some(Title::Master)),
            ("gunicorn: worker [app]", Some(Title::Worker)),
            ("gunicorn: dirty-arbiter", Some(Title::Dirty)),
            ("gunicorn: dirty-worker [app]", Some(Title::Dirty)),
            ("gunicorn", None),
        ] {
            assert_eq!(title(&[text.to_owned()]), expected, "{text}");
        }
    }
}
