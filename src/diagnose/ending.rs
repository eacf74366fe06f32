//! How a process ended, read from its wait status. Pure.

use nix::sys::signal::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ending {
    /// From a wait status.
    #[must_use]
    pub const fn of(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code(status >> 8 & 0xff) } else { Self::Signal(signal) }
    }

    /// In words, to follow "ended".
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Code(code) => format!("by itself with exit code {code}"),
            Self::Signal(number) => {
                let name = Signal::try_from(number).map_or("an unnamed signal", Signal::as_str);
                format!("by {name} ({number})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_a_parent_would() {
        assert_eq!(Ending::of(0), Ending::Code(0));
        assert_eq!(Ending::of(3 << 8), Ending::Code(3));
        assert_eq!(Ending::of(9).words(), "by SIGKILL (9)");
        assert_eq!(Ending::of(0x8b), Ending::Signal(11), "with a core file");
        assert_eq!(Ending::of(40).words(), "by an unnamed signal (40)");
    }
}
