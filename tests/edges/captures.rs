//! Files that are no captures, or no whole ones.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::tool::{Target, assert_error, blind_spots, run, verdicts};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn packed(content: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content.as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[test]
fn files_that_are_no_captures() {
    let folder = tempfile::tempdir().unwrap();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde";
    for (name, content) in [
        ("empty", &b""[..]),
        ("picture.png", &png[..]),
        ("text", &b"dear reader,\nthis is a letter\n"[..]),
        ("json", &b"{\"schema_version\": \"1.0\"}\n"[..]),
        ("packed text", &packed("dear reader\n")),
        ("cut header", &packed("{\"stallscope_capture\": \"1.0\", ")),
    ] {
        let path = file(&folder, name, content);
        assert_error(&["--replay", text(&path)], "bad_capture", "cannot use");
        assert_error(&["--replay", text(&path)], "bad_capture", name);
    }
    assert_error(&["--replay", "/dev/zero"], "bad_capture", "");
}

#[test]
fn what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_error(&["--replay", text(folder.path())], "io", "directory");
    assert_error(&["--replay", text(&folder.path().join("absent"))], "io", "No such file");
}

#[test]
fn a_bomb_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..512 {
        packer.write_all(&zeros).unwrap();
    }
    let path = file(&folder, "bomb", &packer.finish().unwrap());
    assert_error(&["--replay", text(&path)], "bad_capture", "longer than");
}

#[test]
fn a_real_capture_cut_short_or_from_the_future() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.cap");
    let target = Target::waiting();
    let pid = target.pid().to_string();
    run(&[&pid, "-d", "500ms", "--max-duration", "500ms", "--save", text(&whole)]);
    let bytes = std::fs::read(&whole).unwrap();

    for share in [1, 5, 9] {
        let cut = file(&folder, "cut.cap", &bytes[..bytes.len() * share / 10]);
        let ran = run(&["--replay", text(&cut), "--format", "json"]);
        let document = ran.json();
        if ran.code == 3 {
            assert!(document["error"]["cause"].is_string(), "{document}");
        } else {
            assert!(blind_spots(&document).contains("cut short"), "{document}");
            assert!(!verdicts(&document).is_empty());
        }
    }

    let mut content = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut content).unwrap();
    let (header, _) = content.split_once('\n').unwrap();
    let version = header.split("\"stallscope_capture\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (major, minor) = version.split_once('.').unwrap();
    let renamed = |to: &str| {
        let from = format!("\"stallscope_capture\":\"{version}\"");
        content.replacen(&from, &format!("\"stallscope_capture\":\"{to}\""), 1)
    };
    let major = major.parse::<u32>().unwrap() + 1;
    let future = file(&folder, "future.cap", &packed(&renamed(&format!("{major}.0"))));
    assert_error(&["--replay", text(&future)], "bad_capture", "another capture format");

    let minor = minor.parse::<u32>().unwrap() + 1;
    let version = format!("{}.{minor}", major - 1);
    let newer = renamed(&version) + "{\"r\":\"of_tomorrow\",\"value\":1}\n";
    let ran = run(&["--replay", text(&file(&folder, "newer.cap", &packed(&newer))), "--format", "json"]);
    assert!([0, 1, 4].contains(&ran.code), "{ran:?}");
    assert!(blind_spots(&ran.json()).contains("of the capture"), "{ran:?}");
}
