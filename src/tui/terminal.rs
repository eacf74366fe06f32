//! The terminal, taken and given back: raw, on the other screen, without a cursor; and as it was, on every way out.
//!
//! A panic in any thread gives it back before its message is printed, so that the message can be read. The mouse is
//! left to the terminal: what is on the screen can be selected and copied.

use std::io::{self, Stdout, Write, stdout};
use std::os::fd::AsFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal while it is ours. Dropped, it gives it back.
pub struct Screen {
    /// To draw on.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal. What may be coloured was decided before, so the backend decides nothing by itself.
    pub fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        force_color_output(true);
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout())).inspect_err(|_| give_back())?;
        Ok(Self { terminal })
    }

    /// Stops, as Ctrl-Z stops any program, and takes the terminal again when the shell goes on.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The whole foreground group, as the terminal itself would do: a `sudo` in front must stop, too.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Something was typed, or a signal came: look what it is.
    Something,
    /// Nothing in that time.
    Nothing,
    /// The terminal has hung up.
    HungUp,
}

/// Waits for something typed. The library's own wait never returns once the terminal has hung up, so it is asked only
/// when there is something to read.
#[must_use]
pub fn wait(at_most: Duration) -> Came {
    let input = std::io::stdin();
    let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(0) => Came::Nothing,
        // A signal that is ours to act on, or a new size.
        Err(Errno::EINTR) => Came::Something,
        Err(_) => Came::HungUp,
        Ok(_) => {
            let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
            let gone = fds[0].revents().is_none_or(|events| events.intersects(hung_up));
            if gone { Came::HungUp } else { Came::Something }
        }
    }
}

/// Whether the terminal is still ours: a panic elsewhere may have given it back.
#[must_use]
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

/// Gives it back, once however often it is called.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Whoever has hung up needs nothing back.
        let _ = execute!(stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
    }
}
