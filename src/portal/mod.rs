//! The reference portal: a small real server with faults to choose from, on which every verdict is proven.
//!
//! Its files are part of the binary, so it can be brought up wherever there is a Python. [`venv`] installs the pinned
//! software, [`server`] starts and ends it, [`load`] asks it for pages, [`faults`] lists what can go wrong;
//! [`scenarios`] says what verdict each must get, [`limits`] holds it back, [`oracle`] is what it says of itself. Everything
//! listens on the loopback address only and is ended by whoever started it.

pub mod faults;
pub mod faults_second;
pub mod faults_third;
pub mod http;
pub mod limits;
pub mod load;
pub mod oracle;
pub mod process;
pub mod scenarios;
pub mod server;
pub mod venv;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The portal's own files, by name.
const FILES: &[(&str, &str)] = &[
    ("app.py", include_str!("../../fixtures/portal/app.py")),
    ("asgi.py", include_str!("../../fixtures/portal/asgi.py")),
    ("backend.py", include_str!("../../fixtures/portal/backend.py")),
    ("builtin.py", include_str!("../../fixtures/portal/builtin.py")),
    ("controls.py", include_str!("../../fixtures/portal/controls.py")),
    ("faults.py", include_str!("../../fixtures/portal/faults.py")),
    ("faults_second.py", include_str!("../../fixtures/portal/faults_second.py")),
    ("faults_third.py", include_str!("../../fixtures/portal/faults_third.py")),
    ("gunicorn.conf.py", include_str!("../../fixtures/portal/gunicorn.conf.py")),
    ("inherited.py", include_str!("../../fixtures/portal/inherited.py")),
    ("oracle.py", include_str!("../../fixtures/portal/oracle.py")),
    ("patched.py", include_str!("../../fixtures/portal/patched.py")),
    ("second_async.py", include_str!("../../fixtures/portal/second_async.py")),
    ("second_cpu.py", include_str!("../../fixtures/portal/second_cpu.py")),
    ("second_off.py", include_str!("../../fixtures/portal/second_off.py")),
    ("second_spin.py", include_str!("../../fixtures/portal/second_spin.py")),
    ("second_wait.py", include_str!("../../fixtures/portal/second_wait.py")),
    ("third_async.py", include_str!("../../fixtures/portal/third_async.py")),
    ("third_controls.py", include_str!("../../fixtures/portal/third_controls.py")),
    ("third_cpu.py", include_str!("../../fixtures/portal/third_cpu.py")),
    ("third_off.py", include_str!("../../fixtures/portal/third_off.py")),
    ("third_spin.py", include_str!("../../fixtures/portal/third_spin.py")),
    ("third_wait.py", include_str!("../../fixtures/portal/third_wait.py")),
    ("templates/base.html", include_str!("../../fixtures/portal/templates/base.html")),
    ("templates/history.html", include_str!("../../fixtures/portal/templates/history.html")),
    ("templates/landing.html", include_str!("../../fixtures/portal/templates/landing.html")),
    ("templates/register.html", include_str!("../../fixtures/portal/templates/register.html")),
];

/// nginx in front of it.
const NGINX_CONF: &str = include_str!("../../fixtures/portal/nginx.conf");

/// The software that it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    /// The versions of the story's time.
    Period,
    /// Today's versions.
    Modern,
    /// Python's standard library only.
    Builtin,
}

/// Writes the portal's files into a folder.
fn unpack(folder: &Path) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text))
    };
    for (name, text) in FILES {
        write(name, text).map_err(|e| {
            failed(&format!("the portal's {name} cannot be written to {}", folder.display()), &e)
        })?;
    }
    Ok(())
}

/// An error once somebody has asked the tool to stop.
fn interrupted() -> Result<()> {
    crate::observe::signals::caught().map_or(Ok(()), |signal| {
        Err(failed("the portal is not brought up", &format!("interrupted by {signal}")))
    })
}

/// An error of the portal with the system's cause.
fn failed(message: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Portal, message, cause.to_string())
}
