//! What a call tells while it works, on its way to the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{Mutex, mpsc, watch};

use crate::mcp::{ProgressToken, sse};

/// Notifications that wait for a slow client; then the call's output waits too.
const EVENTS: usize = 64;
/// How long it does. To a client that reads nothing for so long, nothing is told until it reads again.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a call tells while it works.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    begun: Arc<watch::Sender<bool>>,
    progress: Option<Arc<Mutex<sse::ProgressReporter>>>,
    events: Option<mpsc::Sender<Vec<u8>>>,
    is_stalled: Arc<AtomicBool>,
}

/// The other end of a [`Feed`].
#[derive(Debug)]
pub(super) struct Events {
    begun: watch::Receiver<bool>,
    events: Option<mpsc::Receiver<Vec<u8>>>,
}

/// A feed for a call that tells of its progress; without a token, or for a client that takes no stream, that goes
/// nowhere.
pub(super) fn of_progress(token: Option<&ProgressToken>, accepts_sse: bool) -> (Feed, Events) {
    let token = token.filter(|_| accepts_sse);
    let (mut feed, events) = of_notifications(token.is_some());
    let reporter = |token: &ProgressToken| sse::ProgressReporter::new(token.clone());
    feed.progress = token.map(|token| Arc::new(Mutex::new(reporter(token))));
    (feed, events)
}

/// A feed for a call that passes on what others notify; for a client that takes no stream, that goes nowhere.
pub(super) fn of_notifications(accepts_sse: bool) -> (Feed, Events) {
    let (begun, begins) = watch::channel(false);
    let (sender, receiver) = accepts_sse.then(|| mpsc::channel(EVENTS)).unzip();
    let is_stalled = Arc::default();
    let feed = Feed { begun: Arc::new(begun), progress: None, events: sender, is_stalled };
    (feed, Events { begun: begins, events: receiver })
}

impl Feed {
    /// Says that the work has begun: from now on a failure may travel in a stream.
    pub(super) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Whether anybody reads progress.
    pub(super) fn wants_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Tells of output: how many bytes of it there were so far, the newest, and on which stream.
    pub(super) async fn progress(&self, bytes: u64, text: &str, stream: &'static str) {
        let Some(progress) = &self.progress else { return };
        #[expect(clippy::cast_precision_loss, reason = "output is far shorter than 2^52 bytes")]
        let event = progress.lock().await.report_output(bytes as f64, text, stream);
        if let Some(event) = event {
            self.pass_on(event).await;
        }
    }

    /// Returns when the client has left its stream; at once where it has none.
    pub(super) async fn left(&self) {
        if let Some(events) = &self.events {
            events.closed().await;
        }
    }

    /// Passes a whole message on; waits for a client that reads slowly, and leaves it out for one that has stopped.
    pub(super) async fn pass_on(&self, notification: Vec<u8>) {
        let Some(events) = &self.events else { return };
        let stalled = self.is_stalled.load(Ordering::Relaxed);
        let patience = if stalled { Duration::ZERO } else { PATIENCE };
        // Where nobody reads any more, the call is about to be dropped.
        let sent = events.send_timeout(notification, patience).await;
        let stalled = matches!(sent, Err(SendTimeoutError::Timeout(_)));
        self.is_stalled.store(stalled, Ordering::Relaxed);
    }
}

impl Events {
    /// The next notification; never, if there will be none.
    pub(super) async fn next(&mut self) -> Vec<u8> {
        if let Some(events) = &mut self.events {
            if let Some(event) = events.recv().await {
                return event;
            }
            self.events = None;
        }
        std::future::pending().await
    }

    /// A notification that waits already.
    pub(super) fn left(&mut self) -> Option<Vec<u8>> {
        self.events.as_mut()?.try_recv().ok()
    }

    /// Returns when the work has begun; never, if it ends before.
    pub(super) async fn begun(&mut self) {
        if self.begun.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_holds_a_call_up_once() {
        let (feed, mut events) = of_notifications(true);
        let begun = Instant::now();
        for number in 0..3 * EVENTS {
            feed.pass_on(number.to_string().into_bytes()).await;
        }
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE * 2, "{waited:?}");
        for number in 0..EVENTS {
            assert_eq!(events.left(), Some(number.to_string().into_bytes()));
        }
        feed.pass_on(b"it reads again".to_vec()).await;
        assert_eq!(events.next().await, b"it reads again");
    }
}
