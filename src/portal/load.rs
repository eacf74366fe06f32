//! Load on the portal: some connections that ask for a page again and again, until stopped or a deadline; and clients
//! that hold a connection and do not do their part.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::faults;
use super::http::Client;

/// How long a held connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take: short, so that stopping is quick.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(1);
/// What is sent of a body that is a thousand times as long, in bytes.
const UPLOADED: usize = 2_000;

/// How to load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom.
    pub address: SocketAddr,
    /// What to ask for.
    pub path: String,
    /// How many connections at once.
    pub connections: usize,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// Pause of each connection between two requests.
    pub pause: Duration,
    /// How long a request may take before it is given up.
    pub patience: Duration,
    /// When to stop at the latest.
    pub at_most: Duration,
}

/// Load under way; it ends when dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Asked>>,
    began: Instant,
}

/// What came of the requests of one connection.
#[derive(Debug, Default)]
struct Asked {
    times_ms: Vec<f64>,
    failures: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Answers.
    pub answers: usize,
    /// Requests without an answer: refused, broken off, or given up.
    pub failures: usize,
    /// Answers per second.
    pub per_second: f64,
    /// Median time to answer.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
}

impl Load {
    /// Starts.
    #[must_use]
    pub fn start(plan: &Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let threads = (0..plan.connections)
            .map(|_| {
                let (plan, stop) = (plan.clone(), Arc::clone(&stop));
                std::thread::spawn(move || ask(&plan, &stop, began))
            })
            .collect();
        Self { stop, threads, began }
    }

    /// Stops and sums up.
    #[must_use]
    pub fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let asked: Vec<Asked> = self.threads.drain(..).filter_map(|t| t.join().ok()).collect();
        let mut times: Vec<f64> = asked.iter().flat_map(|asked| &asked.times_ms).copied().collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0)
        };
        Outcome {
            answers: times.len(),
            failures: asked.iter().map(|asked| asked.failures).sum(),
            per_second: times.len() as f64 / self.began.elapsed().as_secs_f64().max(1e-9),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One connection.
fn ask(plan: &Plan, stop: &AtomicBool, began: Instant) -> Asked {
    let mut asked = Asked::default();
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) && began.elapsed() < plan.at_most {
        let since = Instant::now();
        let connected = client.take().map_or_else(|| Client::connect(plan.address, plan.patience), Ok);
        if let Ok(mut connected) = connected
            && connected.get(&plan.path, plan.keep_alive).is_ok()
        {
            asked.times_ms.push(since.elapsed().as_secs_f64() * 1e3);
            client = plan.keep_alive.then_some(connected);
        } else {
            asked.failures += 1;
            // A refused connection must not become a busy loop.
            std::thread::sleep(Duration::from_millis(20));
        }
        if !plan.pause.is_zero() {
            std::thread::sleep(plan.pause);
        }
    }
    asked
}

/// Connections that are held; they end when dropped.
#[derive(Debug, Default)]
pub struct Held {
    streams: Vec<TcpStream>,
}

impl Held {
    /// Connects as often as is asked and behaves as that kind of client does, up to the point where it would go on.
    pub fn new(
        address: SocketAddr,
        client: faults::Client,
        path: &str,
        connections: u32,
    ) -> io::Result<Self> {
        let streams = (0..connections).map(|_| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
            let whole = format!("GET {path} {head}\r\n");
            let said = match client {
                faults::Client::Silent => String::new(),
                faults::Client::Half => whole.split_at(whole.len() / 2).0.to_owned(),
                faults::Client::Asks | faults::Client::SlowReader => whole,
                faults::Client::Upload => {
                    let body = "a".repeat(UPLOADED);
                    format!("POST {path} {head}Content-Length: {}\r\n\r\n{body}", UPLOADED * 1_000)
                }
            };
            stream.write_all(said.as_bytes())?;
            Ok(stream)
        });
        Ok(Self { streams: streams.collect::<io::Result<_>>()? })
    }

    /// How many are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// What a server gets from such a client until it goes away.
    fn said(client: faults::Client) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = Held::new(listener.local_addr().unwrap(), client, "/page", 2).unwrap();
        assert_eq!(held.len(), 2);
        drop(held);
        let texts = (0..2).map(|_| {
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            text
        });
        let texts: Vec<String> = texts.collect();
        assert_eq!(texts[0], texts[1]);
        texts[0].clone()
    }

    #[test]
    fn clients_that_do_not_do_their_part() {
        assert_eq!(said(faults::Client::Silent), "");
        let half = said(faults::Client::Half);
        assert!(half.starts_with("GET /page HTTP/1.1\r\n") && !half.contains("\r\n\r\n"), "{half}");
        assert!(said(faults::Client::SlowReader).ends_with("\r\n\r\n"));
        let upload = said(faults::Client::Upload);
        let (head, body) = upload.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /page HTTP/1.1\r\n"), "{head}");
        assert!(head.ends_with("Content-Length: 2000000") && body.len() == UPLOADED, "{head}");
    }
}
