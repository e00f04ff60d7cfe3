//! Spans from `start` to a collector, over OTLP.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{
    Span as Exported, span::SpanKind, status::StatusCode as Status,
};
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tower::service_fn;

use super::*;
use crate::serve::{
    ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, read_body, serve,
};

const PATIENCE: Duration = Duration::from_secs(5);
const META: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const HTTP: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector on a free port that answers every batch with `status`.
struct Collector {
    url: String,
    batches: UnboundedReceiver<ExportTraceServiceRequest>,
    _server: JoinSet<crate::serve::Drained>,
}

fn collector(status: StatusCode) -> Collector {
    let (tell, batches) = unbounded_channel();
    let app = service_fn(move |request: Request<RequestBody>| {
        let tell = tell.clone();
        async move {
            assert_eq!(request.uri().path(), "/v1/traces");
            let body = read_body(request.into_body(), usize::MAX, PATIENCE).await.unwrap();
            tell.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", listener.local_addr());
    let mut server = JoinSet::new();
    let drain = Drain::new(DrainTimings::default());
    server.spawn(serve(listener, app, ConnectionLimits::default(), drain));
    Collector { url, batches, _server: server }
}

fn telemetry(collector: &Collector, variables: &'static [(&str, &str)]) -> Telemetry {
    let identity = Identity { service: "baton-gateway", instance: "replica-7".to_owned() };
    let environment = |name: &str| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Telemetry::start(&identity, Some(&collector.url), &environment).unwrap()
}

fn context(traceparent: &str) -> Option<TraceContext> {
    TraceContext::from_parts(Some(traceparent), Some("vendor=1"), Some("user=a"))
}

fn both() -> ParentChoice {
    ParentChoice { meta: context(META), http: TraceContext::from_parts(Some(HTTP), None, None) }
}

impl Collector {
    async fn batch(&mut self) -> ExportTraceServiceRequest {
        tokio::time::timeout(PATIENCE, self.batches.recv()).await.expect("no batch").unwrap()
    }

    /// The spans of one batch, as name and span.
    async fn spans(&mut self) -> Vec<Exported> {
        let batch = self.batch().await;
        let scopes = batch.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_collector_sees_parent_link_attributes_and_resource() {
    let mut collector = collector(StatusCode::OK);
    let telemetry = telemetry(&collector, &[]);
    let name = || operation_name("tools/call", Some("whoami"));
    let mut server = telemetry.tracer().start_server(both(), name);
    server.set(attribute::METHOD, "tools/call");
    server.since(Instant::now().checked_sub(Duration::from_secs(3)).unwrap());
    let mut client = server.start_client(|| "exec".to_owned());
    client.fail("50302");
    let sent = client.context().unwrap().clone();
    client.end();
    server.end();
    let counts = telemetry.span_counts();
    telemetry.shutdown(PATIENCE).await;

    let batch = collector.batch().await;
    let resource = &batch.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(value(resource, "service.name"), Some("baton-gateway"));
    assert_eq!(value(resource, "service.instance.id"), Some("replica-7"));
    assert_eq!(batch.resource_spans[0].scope_spans.len(), 1, "one role, one scope");
    let [client, server] = &batch.resource_spans[0].scope_spans[0].spans[..] else { panic!() };

    assert_eq!((server.name.as_str(), server.kind()), ("tools/call whoami", SpanKind::Server));
    assert_eq!(hex(&server.trace_id), META[3..35]);
    assert_eq!(hex(&server.parent_span_id), META[36..52]);
    assert_eq!(server.trace_state, "vendor=1");
    let [link] = &server.links[..] else { panic!("{:?}", server.links) };
    assert_eq!(
        (hex(&link.trace_id).as_str(), hex(&link.span_id).as_str()),
        (&HTTP[3..35], &HTTP[36..52])
    );
    assert_eq!(value(&server.attributes, "mcp.method.name"), Some("tools/call"));
    assert_eq!(server.status.clone().unwrap_or_default().code(), Status::Unset);
    let took = server.end_time_unix_nano - server.start_time_unix_nano;
    assert!((3_000_000_000..10_000_000_000).contains(&took), "{took} ns");

    assert_eq!((client.name.as_str(), client.kind()), ("exec", SpanKind::Client));
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(
        sent.traceparent().unwrap(),
        format!("00-{}-{}-01", &META[3..35], hex(&client.span_id))
    );
    assert_eq!((sent.tracestate(), sent.baggage()), (Some("vendor=1"), Some("user=a")));
    assert_eq!(value(&client.attributes, "error.type"), Some("50302"));
    assert_eq!(client.status.as_ref().unwrap().code(), Status::Error);
    assert_eq!((counts.exported(), counts.dropped(), counts.failed()), (2, 0, 0));
}

#[tokio::test]
async fn the_link_rule() {
    let mut collector = collector(StatusCode::OK);
    let telemetry = telemetry(&collector, &[]);
    let tracer = telemetry.tracer();
    let cases = [
        ("both", both()),
        ("meta", ParentChoice { meta: context(META), http: None }),
        ("http", ParentChoice { meta: None, http: context(HTTP) }),
        ("same", ParentChoice { meta: context(META), http: context(META) }),
        ("none", ParentChoice::default()),
    ];
    for (name, parents) in cases {
        tracer.start_server(parents, || name.to_owned()).end();
    }
    telemetry.shutdown(PATIENCE).await;
    let seen: Vec<_> = collector
        .spans()
        .await
        .iter()
        .map(|span| (span.name.clone(), hex(&span.parent_span_id), span.links.len()))
        .collect();
    let expected = [
        ("both", &META[36..52], 1),
        ("meta", &META[36..52], 0),
        ("http", &HTTP[36..52], 0),
        ("same", &META[36..52], 0),
        ("none", "", 0),
    ];
    assert_eq!(
        seen,
        expected.map(|(name, parent, links)| (name.to_owned(), parent.to_owned(), links))
    );
}

#[tokio::test]
async fn a_span_that_is_only_dropped_was_cancelled() {
    let mut collector = collector(StatusCode::OK);
    let telemetry = telemetry(&collector, &[]);
    drop(telemetry.tracer().start_server(both(), || "gone".to_owned()));
    telemetry.shutdown(PATIENCE).await;
    let span = &collector.spans().await[0];
    assert_eq!(value(&span.attributes, "error.type"), Some("cancelled"));
}

#[tokio::test]
async fn a_full_queue_drops_spans_and_says_so() {
    let collector = collector(StatusCode::OK);
    let variables = &[("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
    let telemetry = telemetry(&collector, variables);
    for _ in 0..5 {
        // The exporter runs on this thread: nothing is taken before the first await.
        telemetry.tracer().start_server(both(), || "x".to_owned()).end();
    }
    let counts = telemetry.span_counts();
    telemetry.shutdown(PATIENCE).await;
    assert_eq!((counts.exported(), counts.dropped()), (2, 3));
}

#[tokio::test]
async fn a_full_batch_is_sent_before_its_time() {
    let mut collector = collector(StatusCode::OK);
    let telemetry = telemetry(&collector, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")]);
    for _ in 0..2 {
        telemetry.tracer().start_server(both(), || "x".to_owned()).end();
    }
    // Five seconds is the delay of a batch that is not full.
    let early = tokio::time::timeout(Duration::from_secs(2), collector.spans());
    assert_eq!(early.await.expect("too late").len(), 2);
}

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_and_nothing_else() {
    let collector = collector(StatusCode::BAD_REQUEST);
    let telemetry = telemetry(&collector, &[]);
    telemetry.tracer().start_server(both(), || "x".to_owned()).end();
    let counts = telemetry.span_counts();
    telemetry.shutdown(PATIENCE).await;
    assert_eq!((counts.exported(), counts.failed()), (0, 1));
}

#[tokio::test]
async fn an_unsampled_span_asks_for_no_name_and_still_has_its_place() {
    let collector = collector(StatusCode::OK);
    let telemetry = telemetry(&collector, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    let span = telemetry.tracer().start_server(both(), || panic!("nobody will see it"));
    assert!(!span.is_recording());
    let client = span.start_client(|| panic!("nor this"));
    let sent = client.context().unwrap();
    let traceparent = sent.traceparent().unwrap();
    assert_eq!((&traceparent[..36], &traceparent[52..]), (&META[..36], "-00"));
    assert_ne!(traceparent[36..52], META[36..52]);
    assert_eq!((sent.tracestate(), sent.baggage()), (Some("vendor=1"), Some("user=a")));

    let root = telemetry.tracer().start_server(ParentChoice::default(), || panic!("nor this"));
    assert!(root.context().unwrap().traceparent().unwrap().ends_with("-00"));
}

#[test]
fn with_export_off_contexts_go_on_as_they_came() {
    let tracer = Telemetry::off().tracer();
    let sent = |parents| {
        let span = tracer.start_server(parents, || panic!("nobody will see it"));
        let mut headers = HeaderMap::new();
        span.start_client(|| panic!("nor this")).inject(&mut headers);
        headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(sent(both()).as_deref(), Some(META));
    assert_eq!(sent(ParentChoice { meta: None, http: context(HTTP) }).as_deref(), Some(HTTP));
    assert_eq!(sent(ParentChoice::default()), None);
}

#[test]
fn baggage_is_that_of_meta_and_else_that_of_http() {
    let tracer = Tracer::off();
    let baggage = |meta: Option<&str>, http: Option<&str>| {
        let context = |baggage| TraceContext::from_parts(None, None, baggage);
        let parents = ParentChoice { meta: context(meta), http: context(http) };
        let span = tracer.start_server(parents, || panic!("nobody will see it"));
        span.context().and_then(TraceContext::baggage).map(str::to_owned)
    };
    assert_eq!(baggage(Some("a=1"), Some("b=2")).as_deref(), Some("a=1"));
    assert_eq!(baggage(None, Some("b=2")).as_deref(), Some("b=2"));
    assert_eq!(baggage(None, None), None);
}
