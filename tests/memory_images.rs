//! Every reader on kept memory of real interpreters: no process is needed, and damage can be done.
//!
//! `STALLSCOPE_KEEP_MEMORY=1 cargo test --test memory_images` keeps the images anew from the interpreters that are here.

mod interpreters;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use interpreters::{Program, interpreters};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use stallscope::capture::mask::Values;
use stallscope::observe::kernel_file::{FileBudget, ProcDir};
use stallscope::observe::memory::Memory;
use stallscope::python::census::{ALL_OBJECTS, Asked};
use stallscope::python::image::{Image, Keeping};
use stallscope::python::locals::Locals;
use stallscope::python::locate::locate;
use stallscope::python::reader::{GilHolder, Pace};
use stallscope::python::threads::About;
use stallscope::python::values::MAX_VALUE;
use stallscope::python::{MemoryReader, NoInterpreter, ReadError, Sample, StackReader};
use stallscope::target::maps;

/// What a reader said of the process while it lived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: String,
    /// By thread: its functions, innermost first.
    threads: Vec<(i32, Vec<(String, u32)>)>,
    /// Objects on the lists of the garbage collector, and whether these were followed to their ends.
    objects: (usize, bool),
    gil_is_free: bool,
    /// Whether it runs without that lock.
    #[serde(default)]
    free_threaded: bool,
}

/// What is told besides; it follows from the program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct More {
    about: Vec<About>,
    collecting: Option<bool>,
    held: usize,
    variables: Vec<(String, String)>,
    rejected: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    maps: String,
    seen: Seen,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/memory")
}

/// Uses every reader; whatever they say of damaged memory, they must come to an end.
fn look<M: MemoryReader>(maps: &str, memory: M) -> Option<(Seen, More, StackReader<M>)> {
    let mappings = maps::parse(maps);
    let interpreter = locate(&mappings, &memory).ok()?;
    let mut reader = StackReader::new(interpreter, memory);
    let _ = reader.refresh_threads();
    let mut threads = Vec::new();
    let mut tids: Vec<i32> = reader.thread_ids().collect();
    tids.sort_unstable();
    let mut places = Vec::new();
    for tid in &tids {
        if matches!(reader.sample(*tid, Pace::Asleep), Sample::Changed | Sample::Unchanged) {
            threads.push((*tid, named(&reader, reader.frames())));
            places.extend(reader.frame_places());
        }
    }
    let (gil_is_free, free_threaded) = match reader.gil_holder() {
        GilHolder::Nobody => (true, false),
        GilHolder::Absent => (false, true),
        GilHolder::Thread(_) | GilHolder::Unknown => (false, false),
    };
    let stacks = reader.machine_stacks(threads.first().map_or(0, |(tid, _)| *tid), &mappings);
    let census = reader.census(&Asked {
        stacks: &stacks,
        most: ALL_OBJECTS,
        most_bytes: u64::MAX,
        search: Some(&|| mappings.clone()),
        lists: true,
    });
    let interpreters = reader.interpreters();
    let about = tids.iter().map(|tid| reader.about(*tid, &interpreters)).collect();
    let held = reader.lock_holders().len();
    let mut locals = Locals::default();
    let mut variables: Vec<(String, String)> = Vec::new();
    for place in places {
        let seen = reader.variables(&mut locals, place, &Values::Masked);
        assert!(seen.iter().all(|v| v.value.chars().count() <= MAX_VALUE + 1), "{seen:?}");
        variables.extend(seen.into_iter().map(|v| (v.name, v.value)));
    }
    let more = More { about, collecting: reader.collecting(), held, variables, rejected: locals.rejected };
    let seen = Seen {
        version: interpreter.version.to_string(),
        threads,
        objects: (census.objects, census.complete),
        gil_is_free,
        free_threaded,
    };
    Some((seen, more, reader))
}

fn named<M: MemoryReader>(
    reader: &StackReader<M>,
    frames: &[stallscope::python::reader::RawFrame],
) -> Vec<(String, u32)> {
    frames
        .iter()
        .map(|f| (reader.code(f.code).map(|c| c.function.clone()).unwrap_or_default(), f.line))
        .collect()
}

/// Two threads, one of them deep and at last in an `except` block, in an interpreter that has loaded next to nothing: its
/// image is small. What stands in for `threading` has only what is read of it.
const PROGRAM: &str = r#"
import sys
try:
    import _thread
except ImportError:
    import thread as _thread
never = _thread.allocate_lock()
never.acquire()
def deep(n):
    if n:
        deep(n - 1)
    else:
        holds()
def holds():
    number, text, ratio, both = -(1 << 70), "text", 1.5, (True, None)
    table = {"token": "hunter2", "list": [1, b"two"]}
    def closure():
        return table
    try:
        raise KeyError
    except KeyError:
        never.acquire()
ident = _thread.start_new_thread(deep, (30,))
class Thread(object):
    pass
def named(name, daemon):
    thread = Thread()
    thread._name = thread._Thread__name = name
    thread._daemonic = thread._Thread__daemonic = daemon
    return thread
threading = type(sys)("threading")
threading._active = {ident: named("deep one", True), _thread.get_ident(): named("first one", False)}
sys.modules["threading"] = threading
def parked():
    frame = sys._current_frames().get(ident)
    return frame is not None and frame.f_code.co_name == "holds" and frame.f_lineno == frame.f_code.co_firstlineno + 8
while not parked():
    pass
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.read()
"#;

fn keep() {
    std::fs::create_dir_all(folder()).unwrap();
    for mut python in interpreters() {
        // Without `site` and what it loads.
        python.program.extend(["-S".to_owned(), "-E".to_owned()]);
        // Nor what this machine keeps in its environment: an image is for everybody.
        let bare = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/bin"].map(str::to_owned);
        python.program.splice(0..0, bare);
        let program = Program::start(&python, PROGRAM);
        let dir = ProcDir::open(program.pid(), &FileBudget::new(16)).unwrap();
        // Asleep in its last call before it is kept.
        while !dir.read("syscall", 64).is_ok_and(|text| !text.starts_with(b"running")) {
            std::thread::yield_now();
        }
        let maps = String::from_utf8(dir.read("maps", 16 << 20).unwrap()).unwrap();
        let (seen, _, reader) = look(&maps, Keeping::new(Memory::open(&dir).unwrap())).unwrap();
        let maps = maps.replace(interpreters::SID, "/sid");
        let name = python.name.replace([' ', '\''], "-");
        let file = std::fs::File::create(folder().join(format!("{name}.gz"))).unwrap();
        let mut out = GzEncoder::new(file, flate2::Compression::best());
        out.write_all(serde_json::to_string(&Kept { maps, seen }).unwrap().as_bytes()).unwrap();
        out.write_all(b"\n").unwrap();
        out.write_all(&reader.memory().image().to_bytes()).unwrap();
        out.finish().unwrap();
        program.unharmed();
    }
}

fn kept() -> Vec<(String, Kept, Image)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = Vec::new();
        GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let kept = serde_json::from_slice(&bytes[..end]).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.push((name, kept, Image::from_bytes(&bytes[end + 1..]).unwrap()));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn kept_interpreters_are_read_as_when_they_lived() {
    if std::env::var_os("STALLSCOPE_KEEP_MEMORY").is_some() {
        keep();
    }
    let all = kept();
    assert!(all.len() >= 11, "{} images", all.len());
    for (name, kept, image) in all {
        let (seen, more, _) =
            look(&kept.maps, image).unwrap_or_else(|| panic!("{name}: no interpreter found"));
        assert_eq!(seen, kept.seen, "{name}");
        assert!(
            seen.threads.len() >= 2 && seen.threads.iter().any(|(_, frames)| frames.len() > 30),
            "{name}: {seen:?}"
        );
        assert_eq!(seen.free_threaded, name.ends_with('t'), "{name}");
        if seen.free_threaded {
            assert_eq!(seen.objects, (0, true), "{name}: it keeps no lists of its objects");
        } else {
            assert!(seen.objects.1 && seen.objects.0 > 1_000, "{name}: {:?}", seen.objects);
            assert!(seen.gil_is_free, "{name}: all threads sleep");
        }
        particulars(&name, &more);
    }
}

/// Memory in which some words say something else.
struct Forged<'i> {
    image: &'i Image,
    words: Vec<(u64, u64)>,
}

impl MemoryReader for Forged<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.image.read(address, buffer)?;
        for (at, word) in &self.words {
            for (place, byte) in (*at..).zip(word.to_le_bytes()) {
                let inside = place.checked_sub(address).and_then(|n| buffer.get_mut(n as usize));
                if let Some(room) = inside {
                    *room = byte;
                }
            }
        }
        Ok(())
    }
}

/// Tables of another order: a word more anywhere moves all behind it, up to the last that is looked at.
fn moved(image: &Image, runtime: u64, last: u64) -> impl Iterator<Item = (bool, Vec<(u64, u64)>)> + '_ {
    (5..last / 8 + 4).map(move |n| {
        let moved = n * 8;
        let from = |at: u64| if at > moved { at - 8 } else { at };
        let words = (moved..912).step_by(8).map(|at| (runtime + at, image.word(runtime + from(at)).unwrap()));
        (moved < last, words.collect())
    })
}

#[test]
fn a_version_of_the_future_is_read_by_its_own_table_or_named() {
    const FUTURE: u64 = 0x0310_00f0;
    let all = kept();
    let (_, kept, image) = all.iter().find(|(name, ..)| name == "sid-s-3.15").unwrap();
    let mappings = maps::parse(&kept.maps);
    let known = locate(&mappings, image).unwrap();
    // Where it says what version it is of: in its table and beside it.
    let runtime = known.runtime_start;
    let own = image.word(runtime + 8).unwrap();
    let program = mappings.iter().filter(|m| m.path.ends_with("python3.15"));
    let said = program.flat_map(|m| (m.start..m.end).step_by(8)).filter(|at| image.word(*at) == Ok(own));
    let words: Vec<(u64, u64)> = said.map(|at| (at, FUTURE)).collect();
    assert!(words.iter().any(|(at, _)| *at == runtime + 8), "{words:x?}");
    let future = locate(&mappings, &Forged { image, words: words.clone() }).unwrap();
    assert_eq!(future.version.to_string(), "3.16.0");
    assert_eq!(future.layout, known.layout);
    assert!(future.newer_than_known() && future.unseen.tasks && future.unseen.greenlets);
    let (seen, ..) = look(&kept.maps, Forged { image, words: words.clone() }).unwrap();
    assert_eq!(seen.threads, kept.seen.threads, "its frames are read by its table");
    assert_eq!(seen.objects, (0, true), "what its table does not tell is not guessed");
    for (seen, table) in moved(image, runtime, 760) {
        let words = [words.clone(), table].concat();
        let told = locate(&mappings, &Forged { image, words }).map(|found| found.layout);
        assert_eq!(told, if seen { Err(NoInterpreter::TooNew(future.version)) } else { Ok(known.layout) });
    }
}

#[test]
fn a_free_threaded_build_with_another_table_is_named() {
    let all = kept();
    let (_, kept, image) = all.iter().find(|(name, ..)| name == "3.13t").unwrap();
    let mappings = maps::parse(&kept.maps);
    let known = locate(&mappings, image).unwrap();
    assert!(known.free_threaded && known.unseen.tasks && !known.unseen.greenlets);
    assert_eq!(known.name(), "3.13.15t");
    for (seen, words) in moved(image, known.runtime_start, 576) {
        let told = locate(&mappings, &Forged { image, words }).map(|found| found.layout);
        assert_eq!(
            told,
            if seen { Err(NoInterpreter::FreeThreaded(known.version)) } else { Ok(known.layout) }
        );
    }
}

/// What the program does with its threads and variables.
fn particulars(name: &str, more: &More) {
    let about = |name: &str, daemon: bool, handling: Option<&str>| About {
        interpreter: Some(0),
        name: Some(name.to_owned()),
        daemon: Some(daemon),
        raising: None,
        handling: handling.map(str::to_owned),
    };
    let handling = (!name.starts_with("2.7")).then_some("KeyError");
    let told = [about("first one", false, None), about("deep one", true, handling)];
    assert!(told.iter().all(|about| more.about.contains(about)), "{name}: {:?}", more.about);
    let knows_collector = !name.starts_with("2.7") && !name.starts_with("3.6");
    assert_eq!(more.collecting, knows_collector.then_some(false), "{name}");
    assert_eq!((more.held, more.rejected), (0, 0), "{name}");
    let own = |n: &str, value: &str| (n.to_owned(), value.to_owned());
    let bytes = if name.starts_with("2.7") { "'two'" } else { "b'two'" };
    let listed = format!("{{'token': ***, 'list': [1, {bytes}]}}");
    let held = [
        own("number", "-1180591620717411303424"),
        own("text", "'text'"),
        own("ratio", "1.5"),
        own("both", "(True, None)"),
    ];
    assert!(held.iter().all(|v| more.variables.contains(v)), "{name}: {:?}", more.variables);
    // The order of a dictionary is that of its hashes in 2.7.
    let (_, table) = more.variables.iter().find(|(n, _)| n == "table").unwrap();
    let (mut seen, mut expected): (Vec<char>, Vec<char>) =
        (table.chars().collect(), listed.chars().collect());
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected, "{name}: {table}");
    let depths: Vec<_> = more.variables.iter().filter(|(n, _)| n == "n").map(|(_, v)| v.clone()).collect();
    assert_eq!(depths, (0..=30).map(|n| n.to_string()).collect::<Vec<_>>(), "{name}");
}

static KEPT: LazyLock<Vec<(String, Kept, Image)>> = LazyLock::new(kept);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damaged_memory_is_a_counted_rejection_and_never_a_panic(
        which in any::<prop::sample::Index>(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let all = &*KEPT;
        let (_, kept, image) = &all[which.index(all.len())];
        let mut image = image.clone();
        for (place, byte) in damages {
            let length = image.len();
            image.damage(place.index(length), byte);
        }
        let _ = look(&kept.maps, image);
    }
}
