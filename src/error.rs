//! Errors: the one cause found, its value, the fix, the exit code.

use serde::Serialize;

/// What went wrong, in words a script can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The command line makes no sense.
    Usage,
    /// The target does not exist, or nothing matches.
    NotFound,
    /// The target cannot be looked at: a zombie, a kernel thread.
    NotObservable,
    /// The kernel refuses.
    NotPermitted,
    /// The target ended before anything was seen.
    Gone,
    /// A capture cannot be read.
    BadCapture,
    /// A report cannot be read.
    BadReport,
    /// A file cannot be written or read.
    Io,
    /// The reference portal cannot be brought up.
    Portal,
}

impl ErrorKind {
    /// The exit code of the contract.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            _ => 3,
        }
    }
}

/// An error as a person and as a script wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, schemars::JsonSchema)]
#[error("{message}")]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// What failed, on whom.
    pub message: String,
    /// The one cause found.
    pub cause: String,
    /// The value that shows it, where there is one (`ptrace_scope=1`).
    pub value: Option<String>,
    /// What would fix it, the least intrusive first.
    pub remedies: Vec<String>,
}

impl Error {
    /// An error with its cause; add a value and remedies with [`Error::value`] and [`Error::remedy`].
    pub fn new(kind: ErrorKind, message: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: cause.into(), value: None, remedies: Vec::new() }
    }

    /// Adds the value that shows the cause.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Adds a remedy behind those already there.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }
}

/// The result of everything that may fail for a reason worth telling the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;
