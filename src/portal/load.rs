//! Load on the portal: some connections that ask for a page again and again, until stopped or a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http::Client;

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
    /// When to stop at the latest.
    pub at_most: Duration,
}

/// Load under way; it ends when dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<f64>>>,
    began: Instant,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Answers.
    pub answers: usize,
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
        let mut times: Vec<f64> = self.threads.drain(..).filter_map(|t| t.join().ok()).flatten().collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0)
        };
        Outcome {
            answers: times.len(),
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

/// One connection. A request that takes long is given up after a second, so that stopping is quick.
fn ask(plan: &Plan, stop: &AtomicBool, began: Instant) -> Vec<f64> {
    let mut times = Vec::new();
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) && began.elapsed() < plan.at_most {
        let since = Instant::now();
        let connected =
            client.take().map_or_else(|| Client::connect(plan.address, Duration::from_secs(1)), Ok);
        if let Ok(mut connected) = connected
            && connected.get(&plan.path, plan.keep_alive).is_ok()
        {
            times.push(since.elapsed().as_secs_f64() * 1e3);
            client = plan.keep_alive.then_some(connected);
        } else {
            // A refused connection must not become a busy loop.
            std::thread::sleep(Duration::from_millis(20));
        }
        if !plan.pause.is_zero() {
            std::thread::sleep(plan.pause);
        }
    }
    times
}
