//! Captures from disk. A capture may come from anywhere, so its bytes are not trusted.
//!
//! Gives the capture, or the one reason why the file is none. A capture that was cut short (the tool was killed,
//! the disk was full, the copy is incomplete) is read up to the cut, and a blind spot says so.
//! Takes gzip and plain lines alike, so that a capture can be looked at and cut with ordinary tools.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use super::model::{BlindSpot, CAPTURE_VERSION, Capture, Header, Record};
use crate::error::{Error, ErrorKind, Result};

/// The most that is read from a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression.
    pub bytes: u64,
    /// Bytes of one line.
    pub line_bytes: u64,
    /// Records.
    pub records: usize,
}

impl Default for Limits {
    /// Minutes at a hundred samples a second of a hundred threads, and little enough to fit into memory.
    fn default() -> Self {
        Self { bytes: 256 << 20, line_bytes: 16 << 20, records: 1_000_000 }
    }
}

/// Reads a capture file.
pub fn read(path: &Path) -> Result<Capture> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| cannot_read(&name, &error))?;
    read_from(BufReader::new(file), &name, Limits::default())
}

/// Reads a capture from any stream; `name` is what errors call it.
pub fn read_from(mut input: impl BufRead, name: &str, limits: Limits) -> Result<Capture> {
    const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
    let start = input.fill_buf().map_err(|error| cannot_read(name, &error))?;
    if start.is_empty() {
        return Err(bad(name, "the file is empty").remedy("record again with --save"));
    }
    if start.starts_with(&GZIP_MAGIC) {
        Lines::new(BufReader::new(MultiGzDecoder::new(input)), name, limits).capture()
    } else {
        Lines::new(input, name, limits).capture()
    }
}

/// The first line, as much of it as tells what the file is.
#[derive(Debug, Deserialize)]
struct Magic {
    stallscope_capture: String,
}

/// A record, as much of it as tells its kind.
#[derive(Debug, Deserialize)]
struct Kind {
    r: String,
}

/// How the lines ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// At the end of the file, after a whole line.
    Whole,
    /// In the middle of something.
    Cut,
}

/// What came instead of a line.
enum Next {
    Line(u64),
    End(Ending),
}

struct Lines<'a, R> {
    input: R,
    name: &'a str,
    limits: Limits,
    bytes_left: u64,
    number: u64,
    line: Vec<u8>,
}

impl<'a, R: BufRead> Lines<'a, R> {
    fn new(input: R, name: &'a str, limits: Limits) -> Self {
        Self { input, name, limits, bytes_left: limits.bytes, number: 0, line: Vec::new() }
    }

    fn capture(mut self) -> Result<Capture> {
        let header = self.header()?;
        let newer = is_newer_minor(&header.capture_version);
        let mut records = Vec::new();
        let mut skipped = 0_u64;
        let ending = loop {
            match self.next()? {
                Next::End(ending) => break ending,
                Next::Line(number) => match serde_json::from_slice::<Record>(&self.line) {
                    Ok(_) if records.len() >= self.limits.records => {
                        let limit = self.limits.records;
                        return Err(self.too_large(&format!("it holds more than {limit} records")));
                    }
                    Ok(record) => records.push(record),
                    Err(_)
                        if newer
                            && serde_json::from_slice::<Kind>(&self.line).is_ok_and(|k| !k.r.is_empty()) =>
                    {
                        skipped += 1;
                    }
                    Err(error) => {
                        let cause = format!("line {number} is no record: {error}");
                        return Err(
                            bad(self.name, &cause).remedy("copy it again, or record again with --save")
                        );
                    }
                },
            }
        };
        let whole = ending == Ending::Whole && matches!(records.last(), Some(Record::End(_)));
        if !whole {
            records.push(Record::Blind(cut(records.len())));
        }
        if skipped > 0 {
            records.push(Record::Blind(unknown_records(skipped, &header.capture_version)));
        }
        Ok(Capture { header, records })
    }

    fn header(&mut self) -> Result<Header> {
        let line = match self.next() {
            Ok(Next::Line(_)) => &self.line,
            Ok(Next::End(_)) => {
                return Err(bad(self.name, "it ends before its first line does")
                    .remedy("copy it again, or record again"));
            }
            Err(error) => return Err(error),
        };
        let Ok(magic) = serde_json::from_slice::<Magic>(line) else {
            return Err(bad(self.name, "its first line is not that of a capture")
                .remedy("give a file that was written with --save"));
        };
        let version = magic.stallscope_capture;
        if major(&version) != major(CAPTURE_VERSION) {
            return Err(bad(self.name, "it was written by a version with another capture format")
                .value(format!("capture={version:.20}, known={CAPTURE_VERSION}"))
                .remedy("replay it with the version of stallscope that wrote it, or a newer one"));
        }
        let header: Header = serde_json::from_slice(line).map_err(|error| {
            bad(self.name, &format!("its header is damaged: {error}")).remedy("record again with --save")
        })?;
        // The first word of the file is the one that was checked.
        Ok(Header { capture_version: version, ..header })
    }

    /// Reads the next line into `self.line`.
    fn next(&mut self) -> Result<Next> {
        self.line.clear();
        let room = self.limits.line_bytes.min(self.bytes_left) + 1;
        let read = (&mut self.input).take(room).read_until(b'\n', &mut self.line);
        self.number += 1;
        let length = self.line.len() as u64;
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Next::End(Ending::Cut)),
            Err(error) if is_damage(&error) => {
                return Err(bad(self.name, &format!("it is damaged: {error}"))
                    .remedy("copy it again, or record again"));
            }
            Err(error) => return Err(cannot_read(self.name, &error)),
            Ok(_) => {}
        }
        if length > self.bytes_left {
            let limit = self.limits.bytes;
            return Err(self.too_large(&format!("it unpacks to more than {limit} bytes")));
        }
        if length > self.limits.line_bytes {
            let (number, limit) = (self.number, self.limits.line_bytes);
            return Err(self.too_large(&format!("line {number} is longer than {limit} bytes")));
        }
        self.bytes_left -= length;
        Ok(match self.line.last() {
            None => Next::End(Ending::Whole),
            Some(b'\n') => Next::Line(self.number),
            Some(_) => Next::End(Ending::Cut),
        })
    }

    fn too_large(&self, cause: &str) -> Error {
        bad(self.name, cause).remedy("record a shorter window, or one process with --only")
    }
}

fn bad(name: &str, cause: &str) -> Error {
    Error::new(ErrorKind::BadCapture, format!("cannot use {name} as a capture"), cause)
}

fn cannot_read(name: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read {name}"), error.to_string())
        .remedy("give a capture file that exists and that you can read")
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Whether the writer may have known records that this reader does not.
fn is_newer_minor(version: &str) -> bool {
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor(version) > minor(CAPTURE_VERSION)
}

fn cut(records: usize) -> BlindSpot {
    BlindSpot {
        what: format!("the end of the capture, after {records} records"),
        why: "the file was cut short".into(),
        remedy: "copy it again, or record again and let the look run to its end".into(),
    }
}

fn unknown_records(skipped: u64, version: &str) -> BlindSpot {
    BlindSpot {
        what: format!("{skipped} records of the capture"),
        why: format!("they are of a kind that came with capture format {version:.20}"),
        remedy: "replay it with a newer stallscope".into(),
    }
}
