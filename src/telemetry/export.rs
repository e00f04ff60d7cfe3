//! Spans on their way out: a bounded queue that requests never wait for, and the task that empties it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::otel::{ExportSettings, TelemetryError};

/// For one batch, retries included.
const BATCH_DEADLINE: Duration = Duration::from_secs(10);
/// Between two log lines about a collector that does not take spans.
const COMPLAINT: Duration = Duration::from_mins(1);

/// What became of the spans so far.
#[derive(Clone, Debug, Default)]
pub struct SpanCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl SpanCounts {
    /// The collector took them.
    pub fn exported(&self) -> u64 {
        self.0.exported.load(Relaxed)
    }

    /// The queue was full.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// The collector did not take them.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Relaxed)
    }
}

/// Ended spans. `push` takes a lock for the time of one move and wakes the exporter once per batch, not per span.
#[derive(Debug)]
pub(super) struct Queue {
    spans: Mutex<Vec<SpanData>>,
    capacity: usize,
    batch: usize,
    batch_is_full: Notify,
    counts: SpanCounts,
}

impl Queue {
    pub(super) fn new(capacity: usize, batch: usize) -> Arc<Self> {
        let (spans, batch_is_full) = (Mutex::new(Vec::new()), Notify::new());
        let counts = SpanCounts::default();
        Arc::new(Self { spans, capacity, batch, batch_is_full, counts })
    }

    pub(super) fn push(&self, span: SpanData) {
        let mut spans = self.spans();
        if spans.len() >= self.capacity {
            drop(spans);
            self.counts.0.dropped.fetch_add(1, Relaxed);
            return;
        }
        spans.push(span);
        let full = spans.len() == self.batch;
        drop(spans);
        if full {
            self.batch_is_full.notify_one();
        }
    }

    /// All that is there; at most as much again can be queued while it is exported.
    fn take(&self) -> Vec<SpanData> {
        let empty = Vec::with_capacity(self.batch);
        std::mem::replace(&mut *self.spans(), empty)
    }

    fn spans(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns the export task of one role.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Arc<Queue>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Exporter {
    pub(super) fn start(settings: ExportSettings) -> Result<Self, TelemetryError> {
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(TelemetryError::Exporter)?;
        exporter.set_resource(&settings.resource);
        let queue = Queue::new(settings.queue, settings.batch);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let loop_ = Export {
            exporter,
            queue: Arc::clone(&queue),
            delay: settings.delay,
            complaint: Complaint::new(settings.endpoint),
        };
        task.spawn(loop_.run(stop.clone()));
        Ok(Self { queue, stop, task })
    }

    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    pub(super) fn counts(&self) -> SpanCounts {
        self.queue.counts.clone()
    }

    pub(super) async fn shutdown(mut self, deadline: Duration) {
        self.stop.cancel();
        if timeout(deadline, self.task.join_next()).await.is_err() {
            tracing::warn!(lost = self.queue.take().len(), "spans were not exported in time");
        }
    }
}

struct Export {
    exporter: opentelemetry_otlp::SpanExporter,
    queue: Arc<Queue>,
    delay: Duration,
    complaint: Complaint,
}

impl Export {
    async fn run(mut self, stop: CancellationToken) {
        let mut last = false;
        while !last {
            last = tokio::select! {
                () = sleep(self.delay) => false,
                () = self.queue.batch_is_full.notified() => false,
                () = stop.cancelled() => true,
            };
            let mut spans = self.queue.take();
            while !spans.is_empty() {
                let rest = spans.split_off(spans.len().min(self.queue.batch));
                self.export(spans).await;
                spans = rest;
            }
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let size = batch.len() as u64;
        let counts = &self.queue.counts.0;
        let reason = match timeout(BATCH_DEADLINE, self.exporter.export(batch)).await {
            Ok(Ok(())) => {
                counts.exported.fetch_add(size, Relaxed);
                return self.complaint.is_over();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {BATCH_DEADLINE:?}"),
        };
        counts.failed.fetch_add(size, Relaxed);
        self.complaint.about(&reason, size);
    }
}

/// Speaks when exporting begins to fail, once in a while after that, and when it works again.
struct Complaint {
    endpoint: String,
    last: Option<Instant>,
    lost: u64,
}

impl Complaint {
    fn new(endpoint: String) -> Self {
        Self { endpoint, last: None, lost: 0 }
    }

    fn about(&mut self, reason: &str, spans: u64) {
        self.lost += spans;
        if self.last.is_none_or(|last| last.elapsed() > COMPLAINT) {
            self.last = Some(Instant::now());
            tracing::warn!(
                endpoint = self.endpoint,
                lost = self.lost,
                reason,
                "cannot export spans"
            );
        }
    }

    fn is_over(&mut self) {
        if self.last.take().is_some() {
            tracing::info!(endpoint = self.endpoint, lost = self.lost, "spans are exported again");
            self.lost = 0;
        }
    }
}
