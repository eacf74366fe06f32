//! Files that hold what was seen inside somebody's server: for their owner only.
//!
//! Opened before anything is looked at, so that a full disk or a missing folder is known before the work.
//! Never follows a link, never takes over a file that exists, never writes where others could swap the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

const OWNER_ONLY: u32 = 0o600;
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Creates a new file of mode 0600 that belongs to the user who called (under `sudo`, to the real one).
pub fn create(path: &Path) -> Result<File> {
    check_folder(path)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| cannot_create(path, &error))?;
    if let Some((uid, gid)) = sudo_user() {
        // A convenience: a file that root keeps is not wrong, only unhandy.
        let _ = fchown(&file, Some(uid), Some(gid));
    }
    Ok(file)
}

/// The folder that a path lies in.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// In a folder that everybody may write to and that is not sticky, anybody may exchange the file behind us.
fn check_folder(path: &Path) -> Result<()> {
    let folder = folder(path);
    let mode = fs::metadata(folder).map_err(|error| cannot_create(path, &error))?.mode();
    if mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0 {
        return Err(Error::new(
            ErrorKind::Io,
            format!("cannot write {}", path.display()),
            format!(
                "everybody may exchange files in {}, it is writable by all and not sticky",
                folder.display()
            ),
        )
        .value(format!("mode={:04o}", mode & 0o7777))
        .remedy("choose a folder that only you can write to")
        .remedy(format!("chmod o-w {}", folder.display())));
    }
    Ok(())
}

fn cannot_create(path: &Path, error: &io::Error) -> Error {
    let failed = Error::new(ErrorKind::Io, format!("cannot create {}", path.display()), error.to_string());
    if error.kind() == io::ErrorKind::AlreadyExists {
        let mut failed = failed;
        failed.cause = "something with that name exists, and it is not overwritten".into();
        return failed.remedy("choose another name").remedy(format!("rm {}", path.display()));
    }
    failed.remedy("choose a folder that exists and that you can write to")
}

/// An error while writing to a file that was created here.
#[must_use]
pub fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot write {}", path.display()), error.to_string())
        .remedy("free space on that file system, or choose another")
}

/// The user behind `sudo`.
fn sudo_user() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let id = |name: &str| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_new_file_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_exists_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("there");
        fs::write(&path, "precious").unwrap();
        let error = create(&path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Io);
        assert!(error.cause.contains("exists"), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        symlink(&victim, &link).unwrap();
        assert!(create(&link).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn a_folder_open_to_all_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = create(&open.join("new")).unwrap_err();
        assert_eq!(error.value.as_deref(), Some("mode=0777"));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(create(&open.join("new")).is_ok());
    }
}
