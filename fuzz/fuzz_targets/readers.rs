//! All readers of memory on damaged images of real interpreters: `fuzz/run readers`.
//!
//! The input says which image and which bytes of it are wrong; nothing may panic, hang or eat memory.
#![no_main]

use std::io::Read;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stallscope::capture::mask::Values;
use stallscope::python::StackReader;
use stallscope::python::census::{ALL_OBJECTS, Asked};
use stallscope::python::image::Image;
use stallscope::python::locals::Locals;
use stallscope::python::locate::locate;
use stallscope::python::reader::Pace;
use stallscope::target::maps;

static IMAGES: LazyLock<Vec<(String, Image)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/memory");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let image = |path: &std::path::PathBuf| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&bytes[..end]).unwrap();
        (kept["maps"].as_str().unwrap().to_owned(), Image::from_bytes(&bytes[end + 1..]).unwrap())
    };
    paths.iter().map(image).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((which, damages)) = input.split_first() else { return };
    let (maps, image) = &IMAGES[usize::from(*which) % IMAGES.len()];
    let mut image = image.clone();
    for damage in damages.chunks_exact(5) {
        let place = u32::from_le_bytes([damage[0], damage[1], damage[2], damage[3]]) as usize;
        let length = image.len().max(1);
        image.damage(place % length, damage[4]);
    }
    let mappings = maps::parse(maps);
    let Ok(interpreter) = locate(&mappings, &image) else { return };
    let mut reader = StackReader::new(interpreter, image);
    let _ = reader.refresh_threads();
    let interpreters = reader.interpreters();
    let mut locals = Locals::default();
    for tid in reader.thread_ids().collect::<Vec<_>>() {
        let _ = reader.about(tid, &interpreters);
        let _ =
            (reader.sample(tid, Pace::Asleep), reader.sample(tid, Pace::Running), reader.last_turn_s(tid));
        for place in reader.frame_places() {
            let _ = reader.variables(&mut locals, place, &Values::Masked);
        }
    }
    let _ = (reader.gil_holder(), reader.lock_holders(), reader.lock_ranges(), reader.collecting());
    let stacks = reader.machine_stacks(1, &mappings);
    let asked = Asked { stacks: &stacks, most: ALL_OBJECTS, most_bytes: u64::MAX, search: None, lists: true };
    for greenlet in reader.census(&asked).greenlets {
        let _ = reader.switched(&greenlet);
    }
});
