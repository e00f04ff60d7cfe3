//! The end of a process, seen by everything in it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long each stage of a drain lasts.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimings {
    /// Not ready, but still accepting: load balancers need time to notice.
    pub not_ready: Duration,
    /// After the listener closed, what is in flight has this long.
    pub in_flight: Duration,
}

impl Default for DrainTimings {
    fn default() -> Self {
        Self { not_ready: Duration::from_secs(5), in_flight: Duration::from_secs(30) }
    }
}

/// Begins once and is seen by all clones: *draining* (not ready, still accepting), then *closing* (no longer
/// accepting, requests in flight finish), then the *deadline* (what is left is cut).
#[derive(Clone, Debug)]
pub struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timings: DrainTimings,
    begun_at: OnceLock<Instant>,
    begun: CancellationToken,
}

impl Drain {
    pub fn new(timings: DrainTimings) -> Self {
        let shared = Shared { timings, begun_at: OnceLock::new(), begun: CancellationToken::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Starts the drain; only the first call counts.
    pub fn begin(&self) {
        self.shared.begun_at.get_or_init(Instant::now);
        self.shared.begun.cancel();
    }

    /// Whether it began: `/readyz` fails, heartbeats say so, nothing new is placed here.
    pub fn is_draining(&self) -> bool {
        self.shared.begun_at.get().is_some()
    }

    /// Waits until it begins.
    pub async fn draining(&self) {
        self.begun_at().await;
    }

    /// Waits until the listeners close: streams that would go on for ever end now.
    pub async fn closing(&self) {
        sleep_until(self.begun_at().await + self.shared.timings.not_ready).await;
    }

    /// Waits until what is still in flight is cut.
    pub async fn deadline(&self) {
        let timings = self.shared.timings;
        sleep_until(self.begun_at().await + timings.not_ready + timings.in_flight).await;
    }

    async fn begun_at(&self) -> Instant {
        self.shared.begun.cancelled().await;
        *self.shared.begun_at.get().expect("begin() sets the time before it wakes anybody")
    }
}

/// Begins the drain at the first SIGTERM or SIGINT and returns at the second: then the caller exits at once.
pub async fn drain_on_signal(drain: &Drain) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for last in [false, true] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if last {
            tracing::warn!(signal = name, "second signal: leaving at once");
        } else {
            tracing::info!(signal = name, "draining");
            drain.begin();
        }
    }
    Ok(())
}
