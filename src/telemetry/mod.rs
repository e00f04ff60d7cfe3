//! Logs, metrics and traces of every role.
//!
//! A process may hold two roles (`dev`), so nothing but the log subscriber is global: each role has its own
//! [`Telemetry`] and [`Metrics`]. The sampling decision comes before anything is built, so a span nobody will see
//! costs its ids and no more.
//!
//! In reading order: [`logs`] once per process, [`AccessLog`], [`TraceContext`] in and out, [`Tracer`] and [`Span`],
//! what the `OTEL_*` variables say, the export of spans, and every instrument in `metrics`.

mod access;
mod context;
mod export;
pub mod logs;
mod metrics;
mod operation;
mod otel;
mod sampler;
#[cfg(test)]
mod tests;
mod trace;

use std::time::{Duration, SystemTime};

pub use access::{AccessLog, Exchange};
pub use context::TraceContext;
pub use export::SpanCounts;
pub use metrics::{ConnectionReading, Metrics};
pub use operation::{Operation, OperationInFlight, Outcome};
pub use otel::{TelemetryError, process_environment};
pub use prometheus_client::metrics::counter::Counter;
pub use trace::{ParentChoice, Span, Tracer, attribute, operation_name};

use otel::ExportSettings;

/// Who exports: the resource of every span.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `service.name`, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another.
    pub service: &'static str,
    /// `service.instance.id`: the replica's or the worker's id.
    pub instance: String,
}

/// The tracing of one role: its [`Tracer`] and the task that exports what it records.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Tracer,
    exporter: Option<export::Exporter>,
}

impl Telemetry {
    /// Exports spans to `otlp_endpoint`, else to where the `OTEL_*` variables in `environment` say, else nowhere.
    /// Must run inside a tokio runtime.
    pub fn start(
        identity: &Identity,
        otlp_endpoint: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TelemetryError> {
        let Some(settings) = ExportSettings::resolve(identity, otlp_endpoint, environment)? else {
            return Ok(Self::off());
        };
        let sampler = settings.sampler;
        let exporter = export::Exporter::start(settings)?;
        Ok(Self { tracer: Tracer::new(sampler, exporter.queue()), exporter: Some(exporter) })
    }

    /// Records and exports nothing; contexts that come in go on as they came.
    pub fn off() -> Self {
        Self { tracer: Tracer::off(), exporter: None }
    }

    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// What became of the recorded spans; all zero when export is off.
    pub fn span_counts(&self) -> SpanCounts {
        self.exporter.as_ref().map(export::Exporter::counts).unwrap_or_default()
    }

    /// Exports what is still queued, within `deadline`; the rest is lost.
    pub async fn shutdown(self, deadline: Duration) {
        if let Some(exporter) = self.exporter {
            exporter.shutdown(deadline).await;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a record says when it was made; nothing is decided by it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
