//! One exchange as spans, metrics and the access log see it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use http::StatusCode;

use super::dispatch::From;
use super::failure::Failure;
use super::reply::Answer;
use super::tools::Tool;
use super::upstream::UpstreamName;
use crate::mcp::{Envelope, ErrorCode, Method};
use crate::telemetry::{
    AccessLog, Exchange, Metrics, Operation, OperationInFlight, Outcome, ParentChoice, Span,
    TraceContext, Tracer, attribute, operation_name,
};

/// Every error number there is, for labels.
pub(super) const KNOWN_CODES: &[i32] = &[
    ErrorCode::ParseError as i32,
    ErrorCode::InvalidRequest as i32,
    ErrorCode::MethodNotFound as i32,
    ErrorCode::InvalidParams as i32,
    ErrorCode::InternalError as i32,
    ErrorCode::HeaderMismatch as i32,
    ErrorCode::MissingRequiredClientCapability as i32,
    ErrorCode::UnsupportedProtocolVersion as i32,
    ErrorCode::KeyConflict as i32,
    ErrorCode::RateLimited as i32,
    ErrorCode::QuotaExceeded as i32,
    ErrorCode::OutcomeUnknown as i32,
    ErrorCode::Overloaded as i32,
    ErrorCode::WorkerUnreachable as i32,
    ErrorCode::DirectoryAway as i32,
    ErrorCode::UpstreamUnavailable as i32,
    ErrorCode::DeadlineExceeded as i32,
];
/// What the log says of a client that left before there was a status.
const CLIENT_LEFT: u16 = 499;

/// Watches exchanges.
#[derive(Debug)]
pub(super) struct Observer {
    tracer: Tracer,
    log: AccessLog,
    metrics: Arc<Metrics>,
    /// By method, in the order of the table of methods.
    methods: Vec<Operation>,
    tools: HashMap<Tool, Operation>,
    /// Of every upstream that was ever configured and asked.
    upstreams: RwLock<HashMap<UpstreamName, HashMap<Method, Operation>>>,
}

impl Observer {
    /// An observer with its instruments found once.
    pub(super) fn new(
        tracer: Tracer,
        log: AccessLog,
        metrics: &Arc<Metrics>,
        tools: &[Tool],
    ) -> Self {
        let method = |method: Method| metrics.operation(method.as_str(), None);
        let tool =
            |tool: Tool| (tool, metrics.operation(Method::CallTool.as_str(), Some(tool.name())));
        Self {
            tracer,
            log,
            methods: Method::all().map(method).collect(),
            tools: tools.iter().copied().map(tool).collect(),
            metrics: Arc::clone(metrics),
            upstreams: RwLock::default(),
        }
    }

    /// The instruments of one method at one upstream; found once.
    pub(super) fn upstream(&self, method: Method, upstream: &UpstreamName) -> Operation {
        let known = self.upstreams.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(operation) = known.get(upstream).and_then(|methods| methods.get(&method)) {
            return operation.clone();
        }
        drop(known);
        let operation = self.metrics.upstream(method.as_str(), upstream.as_str());
        let mut known = self.upstreams.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(upstream.clone()).or_default().entry(method).or_insert(operation).clone()
    }

    /// Begins to watch a request that has been understood.
    pub(super) fn watch(
        &self,
        (came, from): (Instant, From),
        envelope: &Envelope,
        http: Option<TraceContext>,
        tool: Option<Tool>,
    ) -> Observation {
        let method = envelope.method();
        let wire = envelope.meta().trace();
        let meta = TraceContext::from_parts(wire.traceparent(), wire.tracestate(), wire.baggage());
        let name = || operation_name(method.as_str(), tool.map(Tool::name));
        let mut span = self.tracer.start_server(ParentChoice { meta, http }, name);
        if span.is_recording() {
            span.since(came);
            span.set(attribute::METHOD, method.as_str());
            span.set(attribute::PROTOCOL_VERSION, envelope.era().version());
            span.set(attribute::REQUEST_ID, envelope.id().as_json().trim_matches('"'));
            // The conventions for MCP name the span; who counts requests by path finds them by these.
            span.set(attribute::HTTP_METHOD, http::Method::POST.as_str());
            span.set(attribute::HTTP_ROUTE, from.route());
            span.set(attribute::NETWORK_PROTOCOL, "http");
            span.set(attribute::NETWORK_TRANSPORT, "tcp");
            if let Some(tool) = tool {
                span.set(attribute::TOOL, tool.name());
                span.set(attribute::OPERATION, "execute_tool");
            }
        }
        let operation =
            tool.and_then(|it| self.tools.get(&it)).or_else(|| self.methods.get(method as usize));
        let operation = operation.map(|it| it.start(came));
        Observation { came, method, tool, span, operation, log: self.log.clone(), ended: false }
    }

    /// Notes a request that was turned away before it was understood.
    pub(super) fn turned_away(&self, came: Instant, status: StatusCode, code: Option<ErrorCode>) {
        let error = code.map(|code| code.number().to_string());
        self.log.line(&Exchange {
            status: status.as_u16(),
            error: error.as_deref(),
            duration: came.elapsed(),
            ..Exchange::default()
        });
    }
}

/// One exchange under way; dropped without an end, its client has left.
#[derive(Debug)]
pub(super) struct Observation {
    came: Instant,
    method: Method,
    tool: Option<Tool>,
    span: Span,
    operation: Option<OperationInFlight>,
    log: AccessLog,
    ended: bool,
}

impl Observation {
    /// The span, for what is called on its behalf.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// It ended with this status on the wire.
    pub(super) fn end(mut self, outcome: Outcome, status: StatusCode) {
        self.span.set_number(attribute::HTTP_STATUS, status.as_u16().into());
        self.finish(outcome, status.as_u16());
    }

    fn finish(&mut self, outcome: Outcome, status: u16) {
        self.ended = true;
        let error = outcome.error_type();
        let mut span = std::mem::replace(&mut self.span, Span::none());
        if let Outcome::Error(code) = outcome {
            span.set(attribute::STATUS_CODE, &code.to_string());
        }
        if let Some(error) = &error {
            span.fail(error);
        }
        self.log.line(&Exchange {
            method: Some(self.method.as_str()),
            name: self.tool.map(Tool::name),
            status,
            error: error.as_deref(),
            duration: self.came.elapsed(),
            trace_id: span.context().and_then(TraceContext::trace_id),
            environment: None,
        });
        if let Some(operation) = self.operation.take() {
            operation.end(outcome);
        }
        span.end();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Outcome::Cancelled, CLIENT_LEFT);
        }
    }
}

/// How a call ended, as telemetry tells it.
pub(super) fn outcome(result: &Result<Answer, Failure>) -> Outcome {
    match result {
        Ok(answer) if answer.is_error() => Outcome::ToolError,
        Ok(_) => Outcome::Done,
        Err(Failure::Tool(_)) => Outcome::ToolError,
        Err(Failure::Rejected(rejection)) => Outcome::Error(rejection.code().number()),
        Err(Failure::Fault(fault)) => Outcome::Error(fault.code().number()),
        Err(Failure::Upstream(error)) => {
            Outcome::Error(error.code().try_into().unwrap_or(i32::MAX))
        }
    }
}
