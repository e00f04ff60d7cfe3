//! What a request asks of workers and upstreams on its way, as spans and metrics see it.

use std::time::Instant;

use super::failure::Failure;
use super::observe::{self, Observer};
use super::reply::Answer;
use super::tools::Tool;
use super::upstream::UpstreamName;
use crate::mcp::Method;
use crate::rpc::client::TraceHeaders;
use crate::telemetry::{OperationInFlight, Span};

/// One request that goes on from here; dropped without an end, its client has left.
#[derive(Debug)]
pub(super) struct Outgoing {
    span: Span,
    operation: Option<OperationInFlight>,
}

impl Outgoing {
    /// The calls to workers that a tool makes, which the worker measures; the samples make none.
    pub(super) fn to_workers(served: &Span, tool: Tool) -> Self {
        let span = if tool.is_sample() {
            Span::none()
        } else {
            served.start_client(|| format!("worker {}", tool.name()))
        };
        Self { span, operation: None }
    }

    /// What the next hop is told.
    pub(super) fn trace(&self) -> TraceHeaders {
        trace_headers(&self.span)
    }

    /// It came to this.
    pub(super) fn end(mut self, result: &Result<Answer, Failure>) {
        let outcome = observe::outcome(result);
        if let Some(error) = outcome.error_type() {
            self.span.fail(&error);
        }
        self.span.end();
        if let Some(operation) = self.operation {
            operation.end(outcome);
        }
    }
}

impl Observer {
    /// A request to an upstream (`mcp.client.operation.duration`).
    pub(super) fn to_upstream(
        &self,
        served: &Span,
        method: Method,
        upstream: &UpstreamName,
    ) -> Outgoing {
        let span = served.start_client(|| format!("upstream {upstream}"));
        let operation = self.upstream(method, upstream).start(Instant::now());
        Outgoing { span, operation: Some(operation) }
    }
}

/// What the next hop is told of a span.
pub(super) fn trace_headers(span: &Span) -> TraceHeaders {
    let Some(context) = span.context() else { return TraceHeaders::default() };
    TraceHeaders {
        traceparent: context.traceparent(),
        tracestate: context.tracestate().map(str::to_owned),
        baggage: context.baggage().map(str::to_owned),
    }
}
