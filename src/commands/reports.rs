//! Reports from files and from standard input, for `diff` and `merge`. A capture is judged by today's rules on the way.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::capture::mask::{self, Values};
use crate::capture::reader::{self, Limits};
use crate::diagnose;
use crate::error::Result;
use crate::report::exit::{FailOn, decide};
use crate::report::received::{self, Document, Received, cannot_read};

/// How a file of reports begins where it is a capture.
const CAPTURE: &[u8] = b"{\"stallscope_capture\"";
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What people call an input.
pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".into() } else { path.display().to_string() }
}

/// Whether a path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The one report of an input.
pub(super) fn one(path: &Path) -> Result<Received> {
    let name = name(path);
    match content(path)? {
        Content::Capture(report) => Ok(*report),
        Content::Text(input) => received::parse_one(input, &name),
    }
}

/// Each document of an input, one by one: `cat *.json | stallscope merge -`.
pub(super) fn each(path: &Path, mut take: impl FnMut(Result<Document>)) {
    let name = name(path);
    match content(path) {
        Ok(Content::Capture(report)) => take(Ok(Document::Report(report))),
        Ok(Content::Text(input)) => received::documents(input, &name).for_each(take),
        Err(error) => take(Err(error)),
    }
}

enum Content {
    Capture(Box<Received>),
    Text(Box<dyn Read>),
}

fn content(path: &Path) -> Result<Content> {
    let name = name(path);
    if is_stdin(path) {
        return unpacked(io::stdin().lock(), &name);
    }
    unpacked(File::open(path).map_err(|error| cannot_read(&name, &error))?, &name)
}

fn unpacked(input: impl Read + 'static, name: &str) -> Result<Content> {
    let (start, input) = peek(input, GZIP.len(), name)?;
    if start == GZIP { told(MultiGzDecoder::new(input), name) } else { told(input, name) }
}

fn told(input: impl Read + 'static, name: &str) -> Result<Content> {
    let (start, input) = peek(input, CAPTURE.len(), name)?;
    if start == CAPTURE {
        return judged(BufReader::new(input), name).map(|report| Content::Capture(Box::new(report)));
    }
    Ok(Content::Text(Box::new(input)))
}

/// A stream as if nobody had looked.
type Untouched<R> = Chain<Cursor<Vec<u8>>, R>;

/// The first bytes of a stream, and the stream.
fn peek<R: Read>(mut input: R, bytes: usize, name: &str) -> Result<(Vec<u8>, Untouched<R>)> {
    let mut start = Vec::with_capacity(bytes);
    let read = input.by_ref().take(bytes as u64).read_to_end(&mut start);
    read.map_err(|error| cannot_read(name, &error))?;
    let again = Cursor::new(start.clone());
    Ok((start, again.chain(input)))
}

fn judged(input: impl io::BufRead, name: &str) -> Result<Received> {
    let mut capture = reader::read_from(input, name, Limits::default())?;
    mask::capture(&mut capture, Values::Masked);
    let diagnosis = diagnose::diagnose(&capture);
    let exit = decide(&diagnosis, &FailOn::default(), None);
    received::own(&crate::report::build(&capture, &diagnosis, exit))
}
