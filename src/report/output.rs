//! Where a report goes: standard output or a file.
//!
//! A file is claimed before the look and put in its place in one step when it is whole: nobody ever finds half a
//! report, and a report of yesterday stays until today's is there. A pipe that nobody reads any more is no error.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::style::Place;
use crate::capture::private_file;
use crate::error::{Error, ErrorKind, Result};

/// A place that waits for a report.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, written beside its name first.
    File(NewFile),
}

impl Output {
    /// Standard output, or the file of that name. Refuses a name that cannot be replaced as a whole.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        match path {
            None => Ok(Self::Stdout),
            Some(path) if path.as_os_str() == "-" => Ok(Self::Stdout),
            Some(path) => NewFile::create(path).map(Self::File),
        }
    }

    /// What is known of the place, for the style of a text.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Stdout => Place::stdout(),
            Self::File(_) => Place::file(),
        }
    }

    /// Writes the report and closes the place.
    pub fn write(self, text: &str) -> Result<()> {
        self.write_bytes(text.as_bytes())
    }

    /// The same for a report that is no text.
    pub fn write_bytes(mut self, report: &[u8]) -> Result<()> {
        match &mut self {
            Self::Stdout => write_all_quietly(&mut io::stdout().lock(), report),
            Self::File(file) => file.put(report),
        }
    }

    /// Puts a whole report in place that a newer one may follow: whatever happens to us meanwhile, this one is there.
    /// Standard output cannot take anything back, so nothing is written there.
    pub fn renew(&mut self, report: &[u8]) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.put(report),
        }
    }
}

/// Writes to a stream; that nobody reads any more (`stallscope … | head -1`) is no error.
pub fn write_quietly(stream: &mut impl Write, text: &str) -> Result<()> {
    write_all_quietly(stream, text.as_bytes())
}

fn write_all_quietly(stream: &mut impl Write, report: &[u8]) -> Result<()> {
    match stream.write_all(report).and_then(|()| stream.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(private_file::cannot_write(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}

/// A file that is not in its place yet. Dropped unwritten, it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    place: PathBuf,
    beside: PathBuf,
    file: Option<File>,
}

impl NewFile {
    fn create(place: &Path) -> Result<Self> {
        check_replaceable(place)?;
        let Some(name) = place.file_name() else {
            return Err(not_replaceable(place, "it names no file"));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let beside = private_file::folder(place).join(hidden);
        let mut new = Self { place: place.to_owned(), beside, file: None };
        new.file = Some(new.claim()?);
        Ok(new)
    }

    fn claim(&self) -> Result<File> {
        // What the user named is what an error names.
        private_file::create(&self.beside)
            .map_err(|error| Error { message: format!("cannot write {}", self.place.display()), ..error })
    }

    fn put(&mut self, report: &[u8]) -> Result<()> {
        let mut file = self.file.take().map_or_else(|| self.claim(), Ok)?;
        let written = check_replaceable(&self.place).and_then(|()| self.put_whole(&mut file, report));
        written.inspect_err(|_| {
            // Half a report helps nobody; the error says what happened.
            let _ = fs::remove_file(&self.beside);
        })
    }

    fn put_whole(&self, file: &mut File, report: &[u8]) -> Result<()> {
        file.write_all(report)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&self.beside, &self.place))
            .map_err(|error| private_file::cannot_write(&self.place, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Only a regular file, or nothing, is replaced. A rename would swap a link or a device for a file.
fn check_replaceable(place: &Path) -> Result<()> {
    match fs::symlink_metadata(place) {
        Ok(there) if there.file_type().is_symlink() => Err(not_replaceable(place, "it is a symbolic link")),
        Ok(there) if there.is_dir() => Err(not_replaceable(place, "it is a folder")),
        Ok(there) if !there.is_file() => Err(not_replaceable(place, "it is no regular file")),
        _ => Ok(()),
    }
}

fn not_replaceable(place: &Path, cause: &str) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write {}", place.display()), cause)
        .remedy("choose another name")
        .remedy("leave out -o and redirect standard output")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_report_appears_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report.json");
        let output = Output::open(Some(&place)).unwrap();
        assert!(!place.exists());
        output.write("{}\n").unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "{}\n");
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["report.json"]);
    }

    #[test]
    fn an_older_report_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report.json");
        fs::write(&place, "old").unwrap();
        let output = Output::open(Some(&place)).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        output.write("new").unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
    }

    #[test]
    fn a_report_that_is_never_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Output::open(Some(&folder.path().join("report.json"))).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn each_newer_report_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report.json");
        let mut output = Output::open(Some(&place)).unwrap();
        for report in ["first", "second"] {
            output.renew(report.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), report);
            assert_eq!(names(folder.path()), ["report.json"]);
        }
        let (victim, moved) = (folder.path().join("victim"), folder.path().join("moved"));
        fs::write(&victim, "precious").unwrap();
        fs::rename(&place, &moved).unwrap();
        symlink(&victim, &place).unwrap();
        assert!(output.renew(b"third").is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(names(folder.path()).len(), 3, "nothing is left beside it");
        fs::remove_file(&place).unwrap();
        output.write("last").unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "last");
    }

    #[test]
    fn links_folders_and_devices_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        for place in [link.as_path(), folder.path(), Path::new("/dev/null")] {
            let error = Output::open(Some(place)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Io, "{}", place.display());
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_link_that_appears_meanwhile_is_refused_too() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, place) = (folder.path().join("victim"), folder.path().join("report"));
        fs::write(&victim, "precious").unwrap();
        let output = Output::open(Some(&place)).unwrap();
        symlink(&victim, &place).unwrap();
        assert!(output.write("report").is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_no_error() {
        struct Closed(io::ErrorKind);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write_quietly(&mut Closed(io::ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write_quietly(&mut Closed(io::ErrorKind::StorageFull), "x").is_err());
    }
}
