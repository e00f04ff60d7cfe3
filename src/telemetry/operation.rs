//! One kind of operation, measured: its handles are found once, used for every request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;
pub(super) type Durations = Family<Labels, Histogram, fn() -> Histogram>;

const ERROR_TYPE: &str = "error_type";
/// The semantic conventions' value for what has no name of its own.
const OTHER: &str = "_OTHER";

/// How an operation ended; span, access line and metric tell it alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A result with `isError: true`.
    ToolError,
    /// A JSON-RPC error with this code.
    Error(i32),
    /// Nobody waited for the end.
    Cancelled,
}

impl Outcome {
    /// `error.type`; `None` is success.
    pub fn error_type(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Done => None,
            Self::ToolError => Some("tool_error".into()),
            Self::Error(code) => Some(code.to_string().into()),
            Self::Cancelled => Some("cancelled".into()),
        }
    }
}

/// The instruments of one operation. Cheap to clone; belongs into the route table.
#[derive(Clone, Debug)]
pub struct Operation(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    done: Histogram,
    failed: Durations,
    labels: Labels,
    known_codes: &'static [i32],
    in_flight: Gauge,
}

impl Operation {
    pub(super) fn new(
        durations: &Durations,
        labels: Labels,
        known_codes: &'static [i32],
        in_flight: &Gauge,
    ) -> Self {
        let done = durations.get_or_create_owned(&labelled(&labels, "".into()));
        let (failed, in_flight) = (durations.clone(), in_flight.clone());
        Self(Arc::new(Instruments { done, failed, labels, known_codes, in_flight }))
    }

    /// Counts one in flight from now on, and measures it from `began`.
    pub fn start(&self, began: Instant) -> OperationInFlight {
        self.0.in_flight.inc();
        OperationInFlight { instruments: Arc::clone(&self.0), began, outcome: Outcome::Cancelled }
    }
}

impl Instruments {
    fn observe(&self, outcome: Outcome, took: Duration) {
        let error_type = match outcome {
            Outcome::Done => return self.done.observe(took.as_secs_f64()),
            Outcome::Error(code) if !self.known_codes.contains(&code) => OTHER.into(),
            failed => failed.error_type().unwrap_or_default(),
        };
        let labels = labelled(&self.labels, error_type);
        self.failed.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// One operation under way; one that is only dropped was cancelled.
#[derive(Debug)]
#[must_use = "dropped at once it counts as cancelled"]
pub struct OperationInFlight {
    instruments: Arc<Instruments>,
    began: Instant,
    outcome: Outcome,
}

impl OperationInFlight {
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for OperationInFlight {
    fn drop(&mut self) {
        self.instruments.in_flight.dec();
        self.instruments.observe(self.outcome, self.began.elapsed());
    }
}

fn labelled(labels: &Labels, error_type: Cow<'static, str>) -> Labels {
    labels.iter().cloned().chain([(ERROR_TYPE, error_type)]).collect()
}
