//! A real browser without a window. Whatever it would ask the network for comes to us instead, and is counted.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// Names of Chromium; the first one is the smaller package, which has no windows at all.
const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// Milliseconds, on the page's clock, in which it gets ready.
const READY_MS: u32 = 8_000;

/// A browser that is installed here.
pub struct Browser {
    program: &'static str,
}

/// What became of a page.
#[derive(Debug)]
pub struct Shown {
    /// The page as it stood in the end; empty where a picture of it was asked for.
    pub page: String,
    /// What its console said: errors, and what a policy had to refuse.
    pub complaints: Vec<String>,
    /// How often the network was asked for anything.
    pub asked: usize,
}

impl Browser {
    /// `None` where there is none.
    pub fn find() -> Option<Self> {
        let answers = |name: &&str| {
            Command::new(name).arg("--version").output().is_ok_and(|done| done.status.success())
        };
        NAMES.into_iter().find(answers).map(|program| Self { program })
    }

    /// Opens a file, perhaps with something behind its name, and gives the page that was made of it.
    pub fn open(&self, file: &Path, behind: &str) -> Shown {
        self.show(file, behind, &["--dump-dom"])
    }

    /// A picture of a file in a window of that size.
    pub fn picture(&self, file: &Path, size: (u32, u32), dark: bool, place: &Path) -> Shown {
        let window = format!("--window-size={},{}", size.0, size.1);
        let scheme = format!("--blink-settings=preferredColorScheme={}", i32::from(!dark));
        let screenshot = format!("--screenshot={}", place.display());
        self.show(file, "", &[&window, &scheme, &screenshot, "--hide-scrollbars"])
    }

    /// A file as it is printed.
    pub fn print(&self, file: &Path, place: &Path) -> Shown {
        let print = format!("--print-to-pdf={}", place.display());
        self.show(file, "", &[&print, "--no-pdf-header-footer"])
    }

    fn show(&self, file: &Path, behind: &str, more: &[&str]) -> Shown {
        let (profile, network) = (tempfile::tempdir().unwrap(), Network::new());
        let done = self
            .command(&profile, network.address)
            .args(more)
            .arg(format!("file://{}{behind}", file.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let asked = network.asked();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {said}", file.display());
        let complaints = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Shown { page: String::from_utf8(done.stdout).unwrap(), complaints, asked }
    }

    fn command(&self, profile: &TempDir, network: SocketAddr) -> Command {
        let mut command = Command::new(self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        // What a browser asks for of its own is not what is looked for.
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--allow-file-access-from-files", "--enable-logging=stderr"]);
        command.arg(format!("--virtual-time-budget={READY_MS}"));
        command.arg(format!("--proxy-server={network}")).arg("--proxy-bypass-list=<-loopback>");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command
    }
}

/// Stands for the network: whoever comes is counted and sent away.
struct Network {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    counting: JoinHandle<usize>,
}

impl Network {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let counting = std::thread::spawn(move || {
            listener.incoming().take_while(|_| !ends.load(Ordering::Acquire)).count()
        });
        Self { address, over, counting }
    }

    fn asked(self) -> usize {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address).unwrap());
        self.counting.join().unwrap()
    }
}

/// Width and height of a picture in PNG.
pub fn size_of(picture: &Path) -> (u32, u32) {
    let bytes = std::fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"), "{}", picture.display());
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Where a picture goes: into a folder, or where they are kept to be looked at by people.
pub fn gallery(folder: &Path, name: &str) -> PathBuf {
    let kept = std::env::var_os("STALLSCOPE_KEEP_PICTURES").map(PathBuf::from);
    let folder = kept.as_deref().unwrap_or(folder);
    std::fs::create_dir_all(folder).unwrap();
    folder.join(name)
}
