//! Captures onto disk: gzip of one JSON object per line, the header first, then a record each.
//!
//! [`CaptureFile::create`] claims the file before anything is looked at; [`CaptureFile::begin`] writes the header
//! once it is known; [`CaptureWriter::write`] streams the records, so memory stays small however long the look.
//! What was written is pushed out a few times a second: a capture that is cut short can be read up to there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::mask::{self, Values};
use super::model::{CAPTURE_VERSION, Header, Record};
use super::private_file;
use crate::error::Result;

/// How long a record may stay in memory before it is pushed out.
const PUSH_EVERY: Duration = Duration::from_millis(250);

/// The first line of a capture.
#[derive(Debug, Serialize)]
pub(super) struct FirstLine<'a> {
    /// What tells a capture from any other file, and its version.
    pub stallscope_capture: &'a str,
    /// The header.
    #[serde(flatten)]
    pub header: &'a Header,
}

/// A file that waits for a capture. Dropped without [`CaptureFile::begin`], it leaves nothing behind.
#[derive(Debug)]
pub struct CaptureFile {
    path: PathBuf,
    file: Option<File>,
}

impl CaptureFile {
    /// Claims a name that must be free.
    pub fn create(path: &Path) -> Result<Self> {
        let file = private_file::create(path)?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the header. Secrets in command lines are masked here and in each record unless `values` says not.
    pub fn begin(mut self, header: &Header, values: Values) -> Result<CaptureWriter> {
        let Some(file) = self.file.take() else { unreachable!("only `begin` and `drop` take the file") };
        let path = std::mem::take(&mut self.path);
        let mut header = header.clone();
        if values == Values::Masked {
            mask::header(&mut header);
        }
        let out = BufWriter::new(GzEncoder::new(file, Compression::default()));
        let mut writer = CaptureWriter { path, out, values, pushed_at: Instant::now() };
        writer.line(&FirstLine { stallscope_capture: CAPTURE_VERSION, header: &header })?;
        writer.push()?;
        Ok(writer)
    }
}

impl Drop for CaptureFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // It is empty and ours; that it stays is no reason to hide the error that led here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A capture being written. [`CaptureWriter::finish`] makes it whole.
#[derive(Debug)]
pub struct CaptureWriter {
    path: PathBuf,
    out: BufWriter<GzEncoder<File>>,
    values: Values,
    pushed_at: Instant,
}

impl CaptureWriter {
    /// Appends a record.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        if self.values == Values::Masked && matches!(record, Record::Process(_)) {
            let mut masked = record.clone();
            mask::record(&mut masked);
            self.line(&masked)?;
        } else {
            self.line(record)?;
        }
        if self.pushed_at.elapsed() >= PUSH_EVERY {
            self.push()?;
        }
        Ok(())
    }

    /// Writes what is left and the checksum, and waits until the disk has it.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let finish = || {
            let encoder = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
            encoder.finish()?.sync_all()
        };
        finish().map_err(|error| private_file::cannot_write(&path, &error))
    }

    fn line<T: Serialize>(&mut self, value: &T) -> Result<()> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|error| private_file::cannot_write(&self.path, &error))
    }

    fn push(&mut self) -> Result<()> {
        self.pushed_at = Instant::now();
        self.out.flush().map_err(|error| private_file::cannot_write(&self.path, &error))
    }
}
