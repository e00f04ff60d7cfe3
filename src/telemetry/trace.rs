//! Spans: whose child, recorded or not, and what goes on to the next hop.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::context::{Position, TraceContext};
use super::export::Queue;
use super::sampler::Sampler;
use super::wall_clock;

/// The attribute names of the semantic conventions for MCP, and of those for HTTP that name a request where a backend
/// knows only HTTP.
pub mod attribute {
    pub const METHOD: &str = "mcp.method.name";
    pub const PROTOCOL_VERSION: &str = "mcp.protocol.version";
    pub const RESOURCE_URI: &str = "mcp.resource.uri";
    pub const REQUEST_ID: &str = "jsonrpc.request.id";
    pub const TOOL: &str = "gen_ai.tool.name";
    pub const PROMPT: &str = "gen_ai.prompt.name";
    /// `execute_tool` for `tools/call`.
    pub const OPERATION: &str = "gen_ai.operation.name";
    /// The JSON-RPC code, as a string.
    pub const STATUS_CODE: &str = "rpc.response.status_code";
    pub const HTTP_METHOD: &str = "http.request.method";
    /// The path that the request was routed by, of a few.
    pub const HTTP_ROUTE: &str = "http.route";
    /// A number; absent where the client left before there was one.
    pub const HTTP_STATUS: &str = "http.response.status_code";
    pub const NETWORK_PROTOCOL: &str = "network.protocol.name";
    pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
    pub const NETWORK_TRANSPORT: &str = "network.transport";
    pub const CLIENT_ADDRESS: &str = "client.address";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    /// The short hash of the environment's id; never the handle.
    pub const ENVIRONMENT: &str = "baton.environment.hash";
    pub(in super::super) const ERROR_TYPE: &str = "error.type";
}

/// What a span says of work that was dropped before it ended: its client went away.
const CANCELLED: &str = "cancelled";

/// The span name of an MCP operation: `{mcp.method.name} {gen_ai.tool.name}`. Give it only names that are in the
/// tables: a client must not be able to invent span names.
pub fn operation_name(method: &str, target: Option<&str>) -> String {
    match target {
        Some(target) => format!("{method} {target}"),
        None => method.to_owned(),
    }
}

/// The contexts a request brought.
#[derive(Clone, Debug, Default)]
pub struct ParentChoice {
    /// From `params._meta`.
    pub meta: Option<TraceContext>,
    /// From the HTTP headers.
    pub http: Option<TraceContext>,
}

impl ParentChoice {
    /// `_meta` is the parent and HTTP is linked; without `_meta`, HTTP is the parent. Baggage that only HTTP has
    /// stays, as with any propagator that reads `_meta` on top of it.
    fn decide(self) -> Chosen {
        let (meta, meta_baggage) = self.meta.map(TraceContext::into_parts).unwrap_or_default();
        let (http, http_baggage) = self.http.map(TraceContext::into_parts).unwrap_or_default();
        let baggage = meta_baggage.or(http_baggage);
        let (parent, linked) = match (meta, http) {
            (Some(meta), Some(http)) if meta.is_same_span(&http) => (Some(meta), None),
            (Some(meta), http) => (Some(meta), http),
            (None, http) => (http, None),
        };
        Chosen { parent, linked, baggage }
    }
}

struct Chosen {
    parent: Option<Position>,
    linked: Option<Position>,
    baggage: Option<Arc<str>>,
}

/// Starts the spans of one role.
#[derive(Clone, Debug)]
pub struct Tracer {
    recorder: Option<Arc<Recorder>>,
}

#[derive(Debug)]
struct Recorder {
    sampler: Sampler,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
}

impl Tracer {
    /// Records nothing and passes on what came in: a span nobody exports would only break the caller's chain.
    pub fn off() -> Self {
        Self { recorder: None }
    }

    pub(super) fn new(sampler: Sampler, queue: Arc<Queue>) -> Self {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let recorder = Recorder { sampler, ids: RandomIdGenerator::default(), scope, queue };
        Self { recorder: Some(Arc::new(recorder)) }
    }

    /// The span of a request we serve. `name` is only asked for when the span is recorded.
    pub fn start_server(&self, parent: ParentChoice, name: impl FnOnce() -> String) -> Span {
        let Chosen { parent, linked, baggage } = parent.decide();
        let Some(recorder) = &self.recorder else {
            return Span { context: TraceContext::new(parent, baggage), recording: None };
        };
        let span_id = recorder.ids.new_span_id();
        let trace_id = parent.as_ref().map_or_else(|| recorder.ids.new_trace_id(), |p| p.trace_id);
        let sampled = recorder.sampler.samples(parent.as_ref(), trace_id);
        let position = match &parent {
            Some(parent) => parent.child(span_id, sampled),
            None => Position::root(trace_id, span_id, sampled),
        };
        let recording = sampled.then(|| {
            let parent = Parent {
                span_id: parent.map_or(SpanId::INVALID, |parent| parent.span_id),
                is_remote: true,
            };
            let mut data = recorder.data(&position, &parent, SpanKind::Server, name());
            if let Some(linked) = linked {
                data.links.links.push(Link::with_context(linked.span_context(true)));
            }
            Box::new(Recording { data, began: Instant::now(), recorder: Arc::clone(recorder) })
        });
        Span { context: TraceContext::new(Some(position), baggage), recording }
    }
}

struct Parent {
    span_id: SpanId,
    is_remote: bool,
}

impl Recorder {
    fn data(&self, position: &Position, parent: &Parent, kind: SpanKind, name: String) -> SpanData {
        let now = wall_clock();
        SpanData {
            span_context: position.span_context(false),
            parent_span_id: parent.span_id,
            parent_span_is_remote: parent.is_remote && parent.span_id != SpanId::INVALID,
            span_kind: kind,
            name: name.into(),
            start_time: now,
            end_time: now,
            attributes: Vec::with_capacity(12),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// Work in progress. Say how it went and [`end`](Span::end) it; a span that is only dropped was cancelled.
#[derive(Debug)]
#[must_use = "a span that is dropped at once says `cancelled`"]
pub struct Span {
    context: Option<TraceContext>,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    data: SpanData,
    began: Instant,
    recorder: Arc<Recorder>,
}

impl Span {
    /// A span of nothing, for code that must have one.
    pub fn none() -> Self {
        Self { context: None, recording: None }
    }

    /// What the next hop is told; `None` when export is off and nothing came in.
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Writes [`context`](Span::context) into the headers of an outgoing request.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.context {
            context.inject(headers);
        }
    }

    /// Whether anybody will see it: attributes that cost something to make need not be made otherwise.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Sets one of [`attribute`]; copies nothing when nobody will see it.
    pub fn set(&mut self, attribute: &'static str, value: &str) {
        if let Some(recording) = &mut self.recording {
            recording.data.attributes.push(KeyValue::new(attribute, value.to_owned()));
        }
    }

    /// Sets one of [`attribute`] that is a number.
    pub fn set_number(&mut self, attribute: &'static str, value: i64) {
        if let Some(recording) = &mut self.recording {
            recording.data.attributes.push(KeyValue::new(attribute, value));
        }
    }

    /// Moves the start back to when the request came, for work done before its span was known.
    pub fn since(&mut self, came: Instant) {
        if let Some(recording) = &mut self.recording {
            recording.began_at(came);
        }
    }

    /// Sets `error.type` and with it the status, which is ERROR exactly then.
    pub fn fail(&mut self, error_type: &str) {
        if let Some(recording) = &mut self.recording {
            recording.fail(error_type);
        }
    }

    /// The span of a request we send, below this one. Send [`Span::context`] of the new span with it.
    pub fn start_client(&self, name: impl FnOnce() -> String) -> Self {
        let (Some(recording), Some(context)) = (&self.recording, &self.context) else {
            return Self { context: self.context.clone(), recording: None };
        };
        let (own, baggage) = context.clone().into_parts();
        let recorder = &recording.recorder;
        let position = own.map(|own| own.child(recorder.ids.new_span_id(), true));
        let child = position.as_ref().map(|position| {
            let parent =
                Parent { span_id: recording.data.span_context.span_id(), is_remote: false };
            let data = recorder.data(position, &parent, SpanKind::Client, name());
            Box::new(Recording { data, began: Instant::now(), recorder: Arc::clone(recorder) })
        });
        Self { context: TraceContext::new(position, baggage), recording: child }
    }

    /// The work is done; what [`fail`](Span::fail) did not say went well.
    pub fn end(mut self) {
        if let Some(recording) = self.recording.take() {
            recording.end();
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut recording) = self.recording.take() {
            recording.fail(CANCELLED);
            recording.end();
        }
    }
}

impl Recording {
    fn began_at(&mut self, came: Instant) {
        let before = self.began.saturating_duration_since(came);
        self.data.start_time = earlier(self.data.start_time, before);
        self.began = came.min(self.began);
    }

    fn fail(&mut self, error_type: &str) {
        self.data.status = Status::error("");
        let attributes = &mut self.data.attributes;
        attributes.retain(|attribute| attribute.key.as_str() != attribute::ERROR_TYPE);
        attributes.push(KeyValue::new(attribute::ERROR_TYPE, error_type.to_owned()));
    }

    fn end(mut self: Box<Self>) {
        // The monotonic clock measures; the wall clock only says where it began.
        self.data.end_time = self.data.start_time + self.began.elapsed();
        self.recorder.queue.push(self.data);
    }
}

fn earlier(time: SystemTime, by: std::time::Duration) -> SystemTime {
    time.checked_sub(by).unwrap_or(time)
}
