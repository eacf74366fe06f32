//! A folder of our own for portals, removed with everything in it.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// A folder that goes when its owner does.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one; the verb that it is for stands in its name.
    pub(super) fn of(verb: &str) -> Result<Self> {
        let template = std::env::temp_dir().join(format!("stallscope-{verb}-XXXXXX"));
        nix::unistd::mkdtemp(&template)
            .map(Self)
            .map_err(|e| Error::new(ErrorKind::Portal, "no folder can be made for the portal", e.to_string()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
