//! A collector in this process, and gateways and a worker whose spans come to it.

#![expect(clippy::unwrap_used, reason = "a test whose span lacks a member has failed")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use baton::gateway::Config;
use baton::serve::{
    ConnectionLimits, Drain, DrainTimings, Drained, Listener, RequestBody, read_body, serve,
};
use baton::telemetry::{Identity, Telemetry};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{ALICE, ANYWHERE, Cluster, RunningWorker};
use crate::mcp_client::McpClient;

const PATIENCE: Duration = Duration::from_secs(20);

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub service: String,
    pub instance: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub links: Vec<(String, String)>,
    pub state: String,
    pub error: Option<String>,
    pub code: Option<String>,
    /// All of them, as texts.
    pub attributes: BTreeMap<String, String>,
}

/// A collector on a free port.
pub struct Collector {
    pub url: String,
    seen: watch::Receiver<Vec<Seen>>,
    raw: watch::Receiver<Vec<u8>>,
    _server: JoinSet<Drained>,
}

impl Collector {
    pub fn start() -> Self {
        let (tell, seen) = watch::channel(Vec::new());
        let (keep, raw) = watch::channel(Vec::new());
        let app = tower::service_fn(move |request: Request<RequestBody>| {
            let (tell, keep) = (tell.clone(), keep.clone());
            async move {
                assert_eq!(request.uri().path(), "/v1/traces");
                let body = read_body(request.into_body(), usize::MAX, PATIENCE).await.unwrap();
                keep.send_modify(|all: &mut Vec<u8>| all.extend_from_slice(&body));
                let batch = ExportTraceServiceRequest::decode(body).unwrap();
                tell.send_modify(|all| all.extend(spans(batch)));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let listener = Listener::bind(ANYWHERE).unwrap();
        let url = format!("http://{}", listener.local_addr());
        let (mut server, drain) = (JoinSet::new(), Drain::new(DrainTimings::default()));
        server.spawn(serve(listener, app, ConnectionLimits::default(), drain));
        Self { url, seen, raw, _server: server }
    }

    /// The tracing of one role that reports here.
    pub fn telemetry(&self, service: &'static str, instance: &str) -> Telemetry {
        let identity = Identity { service, instance: instance.to_owned() };
        let soon = |name: &str| (name == "OTEL_BSP_SCHEDULE_DELAY").then(|| "20".to_owned());
        Telemetry::start(&identity, Some(&self.url), &soon).unwrap()
    }

    /// All bytes that came.
    pub fn raw(&self) -> Vec<u8> {
        self.raw.borrow().clone()
    }

    /// All spans, as soon as one of them fits.
    pub async fn until(&self, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        let found =
            tokio::time::timeout(PATIENCE, seen.wait_for(|all| all.iter().any(&fits))).await;
        found.unwrap_or_else(|_| panic!("no such span: {:#?}", self.seen.borrow())).unwrap().clone()
    }

    /// The spans of the trace that this `traceparent` began, the first of whose children is that request's own.
    pub async fn trace(&self, traceparent: &str, count: usize) -> Vec<Seen> {
        let trace = &traceparent[3..35];
        let mut seen = self.seen.clone();
        let of = |all: &Vec<Seen>| all.iter().filter(|it| it.trace == trace).count();
        let enough = tokio::time::timeout(PATIENCE, seen.wait_for(|all| of(all) >= count)).await;
        let all = enough.unwrap_or_else(|_| panic!("{:#?}", self.seen.borrow())).unwrap().clone();
        let spans: Vec<Seen> = all.into_iter().filter(|it| it.trace == trace).collect();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

fn spans(batch: ExportTraceServiceRequest) -> Vec<Seen> {
    let mut all = Vec::new();
    for of_role in batch.resource_spans {
        let resource = of_role.resource.unwrap().attributes;
        for span in of_role.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let failed = span.status.clone().unwrap_or_default().code() == StatusCode::Error;
            let error = text(&span.attributes, "error.type");
            assert_eq!(failed, error.is_some(), "the status is an error just when there is one");
            all.push(Seen {
                service: text(&resource, "service.name").unwrap(),
                instance: text(&resource, "service.instance.id").unwrap(),
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|it| (hex(&it.trace_id), hex(&it.span_id))).collect(),
                state: span.trace_state,
                error,
                code: text(&span.attributes, "rpc.response.status_code"),
                attributes: texts(&span.attributes),
                name: span.name,
            });
        }
    }
    all
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    texts(attributes).remove(key)
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        any_value::Value::IntValue(number) => Some((attribute.key.clone(), number.to_string())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Gateways and a worker that report to a collector.
pub struct Traced {
    pub cluster: Cluster,
    pub collector: Collector,
    pub exporters: Vec<Telemetry>,
}

impl Traced {
    pub async fn start(gateways: usize) -> Self {
        Self::start_with(gateways, |_| {}).await
    }

    /// Likewise; `bend` may change each gateway's configuration.
    pub async fn start_with(gateways: usize, bend: impl Fn(&mut Config)) -> Self {
        let collector = Collector::start();
        let exporters = RefCell::new(Vec::new());
        let mut cluster = Cluster::start(gateways, 0, |config| {
            let telemetry = collector.telemetry("baton-gateway", &config.replica);
            config.tracer = telemetry.tracer();
            exporters.borrow_mut().push(telemetry);
            bend(config);
        })
        .await;
        let telemetry = collector.telemetry("baton-worker", "w1");
        let mut worker = cluster.worker_config("w1");
        worker.tracer = telemetry.tracer();
        cluster.workers.push(RunningWorker::start(worker).await);
        cluster.ready(1).await;
        let mut exporters = exporters.into_inner();
        exporters.push(telemetry);
        Self { cluster, collector, exporters }
    }

    pub fn client(&self, replica: usize) -> McpClient {
        self.cluster.client(replica, ALICE)
    }

    /// All spans, when no more will come: the exporters have sent theirs and ended.
    pub async fn all(&mut self) -> Vec<Seen> {
        for exporter in self.exporters.drain(..) {
            exporter.shutdown(PATIENCE).await;
        }
        self.collector.seen.borrow().clone()
    }
}
