//! What a dump tells of threads besides their stacks, and of the variables in their frames, against what the target says
//! of itself, with every interpreter.

use serde_json::{Value, json};
use stallscope::capture::mask::Values;
use stallscope::python::Sample;
use stallscope::python::locals::Locals;
use stallscope::python::reader::Pace;

use super::interpreters::{Program, Python, interpreters};
use super::run_dump;

/// Runs on Python 2.7 and all of Python 3.
const PARTICULARS: &str = r#"
from __future__ import print_function
import ctypes, gc, json, os, sys, threading

gettid = getattr(threading, "get_native_id", None) or (lambda: ctypes.CDLL(None).syscall(186))
never = threading.Event()
tids, visited = {}, {}
from_visitor, to_main = os.pipe()
for_ever, _ = os.pipe()

def park(): never.wait()

def handles():
    try:
        raise KeyError("key")
    except KeyError:
        inner()

def inner():
    park()

def handles_in_generator():
    def generator():
        try:
            raise ValueError
        except ValueError:
            yield park()
    list(generator())

def has_handled():
    try:
        raise KeyError("key")
    except KeyError:
        pass
    inner()

def holds_variables(given=17, *rest, **named):
    nothing, yes, no = None, True, False
    number, negative, large = 7, -300, -123456789012345678901234567890
    ratio, tiny = 1.5, 2.5e-7
    text, quoted, empty = "plain", "it's", ""
    lines = "two\nlines"
    pair, single, none = (1, "a"), (1,), ()
    listed = [1, [2, [3]], None]
    table = {"a": 1}
    thing, function = threading.Lock, gettid
    password = "hunter2"
    addresses = ["redis://:hunter2@cache/0"]
    headers = [("Host", "here"), ("Authorization", "hunter2")]
    settings = {"api_key": "hunter2"}
    shared = "in a cell"
    def closure():
        free = shared
        park()
    unbound = 1
    del unbound
    closure()

SCRIPT = """
import os
def inside(marker):
    os.write(%d, b"x")
    os.read(%d, 1)
inside("here")
""" % (to_main, for_ever)

def visits():
    try:
        import _interpreters as api
    except ImportError:
        try:
            import _xxsubinterpreters as api
        except ImportError:
            api = None
    try:
        if api is None:
            import _testcapi
            visited["id"] = 1
            _testcapi.run_in_subinterp(SCRIPT)
        else:
            made = api.create()
            visited["id"] = int(made)
            api.run_string(made, SCRIPT)
        visited["error"] = "it came back"
    except Exception as why:
        visited["error"] = repr(why)
    os.write(to_main, b"e")
    park()

def collects():
    gc.callbacks.append(lambda phase, info: park() if phase == "start" else None)
    gc.collect()

gc.disable()
targets = [handles, handles_in_generator, has_handled, holds_variables, visits]
if hasattr(gc, "callbacks"):
    targets.append(collects)

def run(target):
    tids[target.__name__] = gettid()
    target()

threads = []
for n, target in enumerate(targets):
    thread = threading.Thread(target=run, args=(target,), name="%s-%d" % (target.__name__, n))
    thread.daemon = n % 2 == 0
    thread.start()
    threads.append(thread)
    if target is visits:
        os.read(from_visitor, 1)

def waits(frame):
    return frame and frame.f_code.co_name == "wait" and frame.f_back.f_code.co_name == "wait"

while True:
    frames = sys._current_frames()
    ready = [t for t in threads if waits(frames.get(t.ident)) or (t is threads[4] and "error" not in visited)]
    if len(ready) == len(threads):
        break

def shown(value):
    # Numbers have an L behind them in 2.7.
    return str(value) if type(value).__name__ == "long" else repr(value)

variables = {}
frame = frames[threads[3].ident]
while frame:
    if frame.f_code.co_name in ("holds_variables", "closure"):
        variables[frame.f_code.co_name] = dict((name, shown(value)) for name, value in frame.f_locals.items())
    frame = frame.f_back
tids["main"] = gettid()
print(json.dumps({
    "tids": tids,
    "threads": dict((tids[t.name.rsplit("-", 1)[0]] if t in threads else tids["main"], [t.name, t.daemon]) for t in threading.enumerate()),
    "variables": variables,
    "visited": visited,
    "collects": "collects" in tids,
}))
sys.stdout.flush()
sys.stdin.read()
"#;

fn dump(pid: i32, more: &[&str]) -> Value {
    run_dump(pid, more)["processes"][0].clone()
}

/// The threads of a dump with a thread's id.
fn with_tid<'d>(dump: &'d Value, tid: &Value) -> Vec<&'d Value> {
    dump["threads"].as_array().unwrap().iter().filter(|thread| thread["tid"] == *tid).collect()
}

/// The local variables of the frame of a function.
fn variables_of<'d>(thread: &'d Value, function: &str) -> Option<&'d Vec<Value>> {
    let frames = thread["frames"].as_array().unwrap();
    let named = |f: &&Value| f["function"].as_str().unwrap().rsplit('.').next() == Some(function);
    frames.iter().find(named)?["locals"].as_array()
}

fn variable<'d>(variables: &'d [Value], name: &str) -> Option<&'d str> {
    variables.iter().find(|v| v["name"] == name)?["value"].as_str()
}

#[test]
fn what_threads_are_and_hold_is_told_as_they_say_it_themselves() {
    for python in interpreters() {
        let version = &python.name;
        let program = Program::start(&python, PARTICULARS);
        let truth: Value = serde_json::from_str(&program.line)
            .unwrap_or_else(|e| panic!("{version}: {e}: {:?}", program.line));
        let seen = dump(program.pid(), &["--locals"]);
        names_and_daemons(version, &truth, &seen);
        exceptions(version, &truth, &seen);
        visitor(&python, &truth, &seen);
        variables(version, &truth, &seen);
        let collecting =
            if truth["collects"] == true && *version != "3.6.15" { json!(true) } else { Value::Null };
        assert_eq!(seen["gc_collecting"], collecting, "{version}");

        let shown = dump(program.pid(), &["--locals", "--show-values"]);
        let tid = &truth["tids"]["holds_variables"];
        let held = variables_of(with_tid(&shown, tid)[0], "holds_variables").unwrap();
        assert_eq!(variable(held, "password"), Some("'hunter2'"), "{version}");
        let without = dump(program.pid(), &[]);
        assert!(!without.to_string().contains("\"locals\":"), "{version}: they were not asked for");
        program.unharmed();
    }
}

fn names_and_daemons(version: &str, truth: &Value, seen: &Value) {
    let threads = truth["threads"].as_object().unwrap();
    assert!(threads.len() >= 6, "{version}: {threads:?}");
    for (tid, facts) in threads {
        let tid: i64 = tid.parse().unwrap();
        for thread in with_tid(seen, &json!(tid)) {
            assert_eq!(json!([thread["name"], thread["daemon"]]), *facts, "{version}: {thread:#}");
        }
        assert!(!with_tid(seen, &json!(tid)).is_empty(), "{version}: {facts}");
    }
}

fn exceptions(version: &str, truth: &Value, seen: &Value) {
    let handled = |name: &str| with_tid(seen, &truth["tids"][name])[0]["exception"]["handling"].clone();
    let told = |name: &str| if version == "2.7.18" { Value::Null } else { json!(name) };
    assert_eq!(handled("handles"), told("KeyError"), "{version}");
    assert_eq!(handled("handles_in_generator"), told("ValueError"), "{version}");
    assert_eq!(handled("has_handled"), Value::Null, "{version}");
    let raising = seen["threads"].as_array().unwrap().iter().filter(|t| !t["exception"]["raising"].is_null());
    assert_eq!(raising.count(), 0, "{version}: nothing is on its way out of a frame: {seen:#}");
}

fn visitor(python: &Python, truth: &Value, seen: &Value) {
    let version = &python.name;
    let main = with_tid(seen, &truth["tids"]["main"]);
    assert_eq!((main.len(), &main[0]["interpreter"]), (1, &json!(0)), "{version}");
    if let Some(why) = truth["visited"]["error"].as_str() {
        // 2.7 has no way to make one from within; what distributions leave out of the others differs.
        let may_lack = python.root.is_some() || version.starts_with("Debian") || version == "2.7.18";
        assert!(may_lack, "{version}: {why}");
        eprintln!("SKIPPED: a sub-interpreter of Python {version}: {why}");
        return;
    }
    let stacks = with_tid(seen, &truth["tids"]["visits"]);
    let told: Vec<_> = stacks.iter().map(|s| (&s["interpreter"], &s["frames"][0]["function"])).collect();
    assert_eq!(told.len(), 2, "{version}: {stacks:#?}");
    assert_eq!(told[0], (&truth["visited"]["id"], &json!("inside")), "{version}");
    assert_eq!(told[1], (&json!(0), &json!("visits")), "{version}");
    let inside = variables_of(stacks[0], "inside").unwrap();
    assert_eq!(variable(inside, "marker"), Some("'here'"), "{version}");
}

fn variables(version: &str, truth: &Value, seen: &Value) {
    let thread = with_tid(seen, &truth["tids"]["holds_variables"])[0];
    for (function, held) in truth["variables"].as_object().unwrap() {
        let found =
            variables_of(thread, function).unwrap_or_else(|| panic!("{version}: {function}: {thread:#}"));
        let held = held.as_object().unwrap();
        let mut names: Vec<_> = found.iter().map(|v| v["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        let mut expected: Vec<_> = held.keys().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(names, expected, "{version}: {function}");
        for (name, value) in held {
            let found = variable(found, name).unwrap();
            let expected = match name.as_str() {
                "password" => "***",
                "addresses" => "['redis://***@cache/0']",
                "headers" => "[('Host', 'here'), ('Authorization', ***)]",
                "settings" => "{'api_key': ***}",
                "listed" => "[1, [2, [… 1]], None]",
                "thing" | "function" | "closure" => {
                    assert!(found.starts_with('<') && found.contains(" at 0x"), "{version}: {name}: {found}");
                    continue;
                }
                _ => value.as_str().unwrap(),
            };
            assert_eq!(found, expected, "{version}: {name}");
        }
    }
    assert!(!seen.to_string().contains("hunter2"), "{version}: a secret is shown");
}

/// Objects are given back and their places taken again as fast as possible; what belongs together is told to be so.
const CHURNING: &str = r#"
from __future__ import print_function
import sys, threading

def churn(n):
    while True:
        n += 1
        text = "text-%d-%d" % (n, n)
        listed = [n, n]
        pair = (n, (n, str(n)))
        table = {"a": n, "b": n}
        large = n * (1 << 70) + n
        wait(1 if n % 50 else 20000)

def wait(n):
    # The caller's frame stands still for a while, and sometimes does not.
    while n:
        n -= 1

ends = threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)))
ends.daemon = True
ends.start()
print("ready")
sys.stdout.flush()
churn(1 << 40)
"#;

/// The numbers in a text.
fn numbers(text: &str) -> Vec<u128> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn variables_that_change_while_they_are_read_are_never_mixed() {
    // More for each: STALLSCOPE_SAMPLES=100000 cargo test --test suspended mixed
    let samples = std::env::var("STALLSCOPE_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(150_u32);
    for python in interpreters() {
        let version = &python.name;
        let program = Program::start(&python, CHURNING);
        let mut reader = program.reader();
        let mut locals = Locals::default();
        let mut seen = 0;
        let mut looks = 0;
        // Few hold still on a machine that does nothing else: then it is looked at longer, not less strictly.
        while looks < samples || (seen == 0 && looks < 100 * samples) {
            looks += 1;
            if !matches!(reader.sample(program.pid(), Pace::Running), Sample::Changed | Sample::Unchanged) {
                continue;
            }
            for place in reader.frame_places() {
                for variable in reader.variables(&mut locals, place, &Values::Masked) {
                    let numbers = numbers(&variable.value);
                    let sound = match variable.name.as_str() {
                        "n" => numbers.len() == 1,
                        "text" => variable.value.starts_with("'text-") && numbers.len() == 2,
                        "listed" | "table" => numbers.len() == 2,
                        "pair" => numbers.len() == 3,
                        "large" => numbers.len() == 1 && numbers[0] & ((1 << 70) - 1) == numbers[0] >> 70,
                        _ => true,
                    };
                    let same = numbers.iter().all(|n| *n == numbers[0]);
                    assert!(sound && same, "Python {version}: {variable:?}");
                    seen += u32::from(numbers.len() > 1);
                }
            }
        }
        println!("{version}: {seen} in {looks} looks, {} rejected", locals.rejected);
        assert!(seen > 0, "Python {version}: none in {looks} looks");
        program.unharmed();
    }
}

const CONTENDING: &str = r#"
from __future__ import print_function
import ctypes, os, sys, threading

def work():
    n = 0
    while True:
        n += 1

for _ in range(2):
    thread = threading.Thread(target=work)
    thread.daemon = True
    thread.start()
print("ready")
sys.stdout.flush()
# Asleep where only the kernel can wake it, so that two want the lock and not three.
os.read(0, 1)
"#;

#[test]
fn who_has_the_interpreter_lock_and_who_waits_for_it_is_told() {
    for python in interpreters().into_iter().map(Python::with_lock) {
        let version = &python.name;
        let program = Program::start(&python, CONTENDING);
        // The lock changes hands all the time: many looks may meet a moment when nobody waits, never all. In 2.7 who waits is
        // woken so often that it is hardly ever seen asleep.
        let both = !version.starts_with("2.7");
        let told = (0..600).any(|_| {
            let seen = dump(program.pid(), &[]);
            let gil = |what: &str| {
                let threads = seen["threads"].as_array().unwrap();
                let working = threads.iter().filter(|t| t["frames"].to_string().contains("\"work\""));
                working.filter(|t| t["gil"] == what).count()
            };
            let main = with_tid(&seen, &json!(program.pid()))[0];
            assert!(main["gil"] != "holds" || main["sleeping_in"].is_null(), "{version}: {main:#}");
            assert!(gil("holds") <= 1, "{version}: two have one lock: {seen:#}");
            gil("holds") == 1 && (gil("waits") == 1 || !both)
        });
        assert!(told, "{version}: never one that has it and one that waits: {:#}", dump(program.pid(), &[]));
        program.unharmed();
    }
}
