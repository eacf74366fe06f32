//! The layouts against the headers of every interpreter that is installed with them, asked by the C compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use stallscope::python::layout::{
    CollectingAt, FrameKind, GilAt, HandledAt, Instruction, Layout, Particulars, Text,
};
use stallscope::python::layouts;
use stallscope::python::objects::{self, Objects, VariablesAt};

const VERSIONS: [(&str, u8, u8); 9] = [
    ("2.7.18", 2, 7),
    ("3.6.15", 3, 6),
    ("3.7.16", 3, 7),
    ("3.8.18", 3, 8),
    ("3.9.18", 3, 9),
    ("3.10.13", 3, 10),
    ("3.11.7", 3, 11),
    ("3.12.1", 3, 12),
    ("3.13.0", 3, 13),
];

/// A Debian of its own, made by `tests/run`, with the headers of the newest versions.
const SID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sid/usr/include");

/// The folder of a version's headers.
fn headers(version: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let include = home.join(".pyenv/versions").join(version).join("include");
    let mut folders = std::fs::read_dir(include).ok()?.flatten().map(|entry| entry.path());
    folders.find(|path| path.join("Python.h").exists())
}

/// What the headers say.
fn asked(headers: &Path, free_threaded: bool) -> Option<BTreeMap<String, u64>> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("offsets");
    let compiled = Command::new("gcc")
        .arg("-w")
        .args(free_threaded.then_some("-DPy_GIL_DISABLED=1"))
        .arg("-I")
        .arg(headers)
        // Debian keeps what hangs on the machine beside the other headers.
        .args(["-idirafter", SID])
        .arg("-I")
        .arg(headers.join("internal"))
        .arg("-o")
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts/offsets.c"))
        .output()
        .ok()?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let said = Command::new(&program).output().unwrap();
    let lines = String::from_utf8(said.stdout).unwrap();
    Some(
        lines
            .lines()
            .map(|line| {
                let (name, value) = line.split_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect(),
    )
}

/// What the table says, under the same names.
fn told(layout: &Layout) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::from([
        ("interpreter_next", layout.interpreter_next),
        ("threads_head", layout.threads_head),
        ("thread_next", layout.thread_next),
        ("thread_interpreter", layout.thread_interpreter),
        ("thread_id", layout.thread_id),
        ("frame_previous", layout.frame_previous as u64),
        ("frame_code", layout.frame_code as u64),
        ("frame_locals", layout.frame_locals),
        ("code_filename", layout.code_filename as u64),
        ("code_name", layout.code_name as u64),
        ("code_first_line", layout.code_first_line as u64),
        ("code_lines", layout.code_lines as u64),
    ]);
    let (FrameKind::Object { thread_frame: frame }
    | FrameKind::Direct { thread_frame: frame }
    | FrameKind::Indirect { thread_cframe: frame, .. }) = layout.frames;
    all.insert("thread_frame", frame);
    all.extend([("object_type", layout.object_type()), ("behind_head", layout.behind_head())]);
    all.insert("bytes", layout.bytes);
    if let Text::Unicode { ascii, other, packing } = layout.text {
        all.extend([("text_ascii", ascii), ("text_other", other), ("text_packing", packing.into())]);
    }
    if matches!(layout.gil, GilAt::Interpreter(_)) {
        let lock = layout.lock;
        all.extend([("lock_holder", lock.holder as u64), ("lock_locked", lock.locked as u64)]);
        all.insert("lock_size", lock.size);
    }
    all.extend(layout.lock.enabled.map(|at| ("lock_enabled", at as u64)));
    let copies = layout.copies.map(|c| [("copies_index", c.index as u64), ("copies_array", c.array)]);
    all.extend(copies.into_iter().flatten());
    all.extend(layout.native_thread_id.map(|at| ("native_thread_id", at)));
    all.extend(layout.frame_owner.map(|at| ("frame_owner", at as u64)));
    all.extend(layout.code_first_traceable().map(|at| ("first_traceable", at)));
    match layout.gil {
        GilAt::Runtime(at) | GilAt::Interpreter(at) => {
            all.extend([("gil", at), ("interpreters_head", layout.interpreters_head)]);
        }
        GilAt::Exported => {}
    }
    match layout.instruction {
        Instruction::Index { at, .. } => drop(all.insert("instruction", at as u64)),
        Instruction::Pointer { at, code } => {
            all.extend([("instruction", at as u64), ("code_instructions", code)]);
        }
    }
    all.extend(told_of_particulars(&layout.particulars));
    all
}

/// What the table says of interpreters and threads besides.
fn told_of_particulars(particulars: &Particulars) -> Vec<(&'static str, u64)> {
    let mut all = vec![("modules", particulars.modules), ("raised", particulars.exceptions.raised)];
    all.extend(particulars.id.map(|at| ("interpreter_id", at)));
    all.extend(particulars.collecting.map(|at| match at {
        CollectingAt::Runtime(at) | CollectingAt::Interpreter(at) => ("collecting", at),
    }));
    if let Some((at, bit)) = particulars.last_used {
        all.extend([("last_used", at as u64), ("last_used_bit", u64::from(bit))]);
    }
    match particulars.exceptions.handled {
        None => {}
        Some(HandledAt::Type(at)) => all.push(("handled", at)),
        Some(HandledAt::Items { at, previous, .. }) => {
            all.extend([("handled", at), ("handled_previous", previous)]);
        }
    }
    all
}

/// What the table of objects says.
fn told_of_objects(objects: &Objects) -> Vec<(&'static str, u64)> {
    let mut all = vec![("tuple_items", objects.tuple_items)];
    if let Some(kept) = objects.kept_caller {
        all.extend([("frame_object", kept.object), ("frame_kept_caller", kept.caller)]);
    }
    match objects.variables {
        VariablesAt::Tuples { locals, cells, free } => {
            all.extend([("local_names", locals), ("cell_names", cells), ("free_names", free)]);
        }
        VariablesAt::Slots { names, kinds } => all.extend([("slot_names", names), ("slot_kinds", kinds)]),
    }
    all
}

#[test]
fn layouts_are_those_of_the_headers() {
    let own = VERSIONS.map(|(version, major, minor)| (version.to_owned(), headers(version), major, minor));
    let sid = [14, 15].map(|minor| {
        let folder = PathBuf::from(format!("{SID}/python3.{minor}"));
        (format!("sid's 3.{minor}"), Some(folder).filter(|f| f.join("Python.h").exists()), 3, minor)
    });
    for (version, headers, major, minor) in own.into_iter().chain(sid) {
        let Some(headers) = headers else {
            eprintln!("SKIPPED: the headers of Python {version} are not installed");
            continue;
        };
        // The same headers serve both builds.
        let both = [layouts::known(major, minor), layouts::free_threaded(major, minor)];
        for (layout, free_threaded) in both.into_iter().zip([false, true]) {
            let Some(layout) = layout else { continue };
            let Some(asked) = asked(&headers, free_threaded) else {
                eprintln!("SKIPPED: no gcc to ask the headers of Python {version}");
                continue;
            };
            let objects = objects::of(major, minor, layout.longer_head);
            let all = told(&layout).into_iter().chain(told_of_objects(&objects));
            let told: BTreeMap<String, u64> = all.map(|(k, v)| (k.to_owned(), v)).collect();
            assert_eq!(told, asked, "Python {version}, free-threaded: {free_threaded}");
        }
    }
}
