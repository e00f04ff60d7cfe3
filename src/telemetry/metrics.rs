//! Every instrument there is. Labels come from tables, never from requests.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::operation::{Durations, Labels, Operation};
use super::{AccessLog, SpanCounts};

/// Seconds; the bounds that the semantic conventions for MCP ask for.
const OPERATION_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Seconds; our own hop is a thousand times shorter than what runs behind it.
const RPC_BOUNDS: [f64; 12] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0, 10.0, 100.0];

/// The connections of one listener, read when metrics are rendered.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionReading {
    pub open: u64,
    pub refused_in_all: u64,
    pub refused_by_address: u64,
    pub too_slow: u64,
}

/// The instruments of one role. Ask for a handle once, keep it, and use it on the way of a request.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Codes that get a label of their own; an upstream may answer with any number.
    known_codes: &'static [i32],
    server: Durations,
    upstream: Durations,
    rpc: Durations,
    in_flight: Family<Labels, Gauge>,
    environments: Family<Labels, Gauge>,
    capacity: Family<Labels, Gauge>,
    workers: Family<Labels, Gauge>,
    refusals: Family<Labels, Counter>,
    connections: Family<Labels, Gauge>,
    closed: Family<Labels, Counter>,
    spans: Family<Labels, Counter>,
    lost_lines: Counter,
    tasks: Gauge,
    readings: Mutex<Readings>,
}

impl Metrics {
    /// `instance` is the replica's or worker's id, `known_codes` the protocol's error codes.
    pub fn new(instance: &str, known_codes: &'static [i32]) -> Self {
        let operations = || Histogram::new(OPERATION_BOUNDS);
        let rpcs = || Histogram::new(RPC_BOUNDS);
        let mut new = Self {
            registry: Registry::default(),
            known_codes,
            server: Family::new_with_constructor(operations),
            upstream: Family::new_with_constructor(operations),
            rpc: Family::new_with_constructor(rpcs),
            in_flight: Family::default(),
            environments: Family::default(),
            capacity: Family::default(),
            workers: Family::default(),
            refusals: Family::default(),
            connections: Family::default(),
            closed: Family::default(),
            spans: Family::default(),
            lost_lines: Counter::default(),
            tasks: Gauge::default(),
            readings: Mutex::default(),
        };
        new.register(instance);
        new
    }

    /// The table of names: what `/metrics` shows.
    fn register(&mut self, instance: &str) {
        let build = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("instance", instance.to_owned()),
        ];
        let table = &mut self.registry;
        table.register("baton_build", "What runs here", Info::new(build));
        in_seconds(table, "mcp_server_operation_duration", "MCP requests served", &self.server);
        in_seconds(
            table,
            "mcp_client_operation_duration",
            "MCP requests to upstreams",
            &self.upstream,
        );
        in_seconds(table, "baton_rpc_duration", "Calls served by a worker", &self.rpc);
        plain(table, "baton_in_flight", "Operations under way, by kind", &self.in_flight);
        plain(table, "baton_environments", "Environments, by state", &self.environments);
        plain(table, "baton_capacity", "How many a worker holds at most", &self.capacity);
        plain(table, "baton_workers", "Workers, by state", &self.workers);
        plain(
            table,
            "baton_refusals",
            "Requests refused for their rate or our load",
            &self.refusals,
        );
        plain(table, "baton_connections", "Open connections", &self.connections);
        plain(table, "baton_connections_closed", "Connections closed on our side", &self.closed);
        plain(table, "baton_spans", "Recorded spans, by what became of them", &self.spans);
        plain(table, "baton_access_lines_lost", "Access-log lines nobody took", &self.lost_lines);
        plain(table, "baton_tasks", "Tasks of the process's runtime", &self.tasks);
    }

    /// `mcp.server.operation.duration` of one method, and of one tool of the table.
    pub fn operation(&self, method: &'static str, tool: Option<&str>) -> Operation {
        let tool = tool.unwrap_or_default().to_owned().into();
        let labels = vec![("mcp_method_name", method.into()), ("gen_ai_tool_name", tool)];
        // A stream that waits for changes is no load; what scales by load must be able to leave it out.
        let kind = if method == "subscriptions/listen" { "listen" } else { "server" };
        Operation::new(&self.server, labels, self.known_codes, &self.in_flight(kind))
    }

    /// `mcp.client.operation.duration` of one method at one configured upstream.
    pub fn upstream(&self, method: &'static str, upstream: &str) -> Operation {
        let upstream = upstream.to_owned().into();
        let labels = vec![("mcp_method_name", method.into()), ("upstream", upstream)];
        Operation::new(&self.upstream, labels, self.known_codes, &self.in_flight("upstream"))
    }

    /// Calls of one verb of the worker's wire, as the worker serves them.
    pub fn rpc(&self, verb: &'static str) -> Operation {
        let labels = vec![("verb", verb.into())];
        Operation::new(&self.rpc, labels, self.known_codes, &self.in_flight("rpc"))
    }

    /// Requests turned away for one reason, such as `rate_tenant` or `overloaded`.
    pub fn refusals(&self, reason: &'static str) -> Counter {
        self.refusals.get_or_create_owned(&label("reason", reason))
    }

    pub fn environments(&self, state: &'static str) -> Gauge {
        self.environments.get_or_create_owned(&label("state", state))
    }

    /// The most that there may be of something, such as `environments`.
    pub fn capacity(&self, of: &'static str) -> Gauge {
        self.capacity.get_or_create_owned(&label("of", of))
    }

    pub fn workers(&self, state: &'static str) -> Gauge {
        self.workers.get_or_create_owned(&label("state", state))
    }

    /// Shows a listener's connections, read at each rendering.
    pub fn show_connections(
        &self,
        listener: &'static str,
        read: impl Fn() -> ConnectionReading + Send + 'static,
    ) {
        let open = self.connections.get_or_create_owned(&label("listener", listener));
        let closed = |reason: &'static str| {
            let labels = vec![("listener", listener.into()), ("reason", reason.into())];
            self.closed.get_or_create_owned(&labels)
        };
        let (full, share, slow) = (closed("full"), closed("address_share"), closed("too_slow"));
        self.at_rendering(move || {
            let now = read();
            open.set(now.open.try_into().unwrap_or(i64::MAX));
            set(&full, now.refused_in_all);
            set(&share, now.refused_by_address);
            set(&slow, now.too_slow);
        });
    }

    /// Shows what became of the recorded spans.
    pub fn show_spans(&self, counts: SpanCounts) {
        let spans = |fate| self.spans.get_or_create_owned(&label("fate", fate));
        let (exported, dropped, failed) = (spans("exported"), spans("dropped"), spans("failed"));
        self.at_rendering(move || {
            set(&exported, counts.exported());
            set(&dropped, counts.dropped());
            set(&failed, counts.failed());
        });
    }

    /// Shows how many access lines were lost.
    pub fn show_access_log(&self, log: &AccessLog) {
        let (lost, losses) = (self.lost_lines.clone(), log.losses());
        self.at_rendering(move || set(&lost, losses()));
    }

    /// Runs `read` before each rendering, for gauges of what something else counts already.
    pub fn at_rendering(&self, read: impl Fn() + Send + 'static) {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.0.push(Box::new(read));
    }

    /// The body of `/metrics`, whose type is [`CONTENT_TYPE`](Self::CONTENT_TYPE).
    pub fn render(&self) -> String {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.0.iter().for_each(|read| read());
        drop(readings);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.set(runtime.metrics().num_alive_tasks().try_into().unwrap_or(i64::MAX));
        }
        encoded(&self.registry)
    }

    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    fn in_flight(&self, kind: &'static str) -> Gauge {
        self.in_flight.get_or_create_owned(&label("kind", kind))
    }
}

#[derive(Default)]
struct Readings(Vec<Box<dyn Fn() + Send>>);

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} readings", self.0.len())
    }
}

fn encoded(table: &Registry) -> String {
    let mut body = String::new();
    text::encode(&mut body, table).expect("a string takes everything");
    body
}

fn in_seconds(table: &mut Registry, name: &str, help: &str, durations: &Durations) {
    table.register_with_unit(name, help, Unit::Seconds, durations.clone());
}

fn plain(table: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    table.register(name, help, metric.clone());
}

fn label(name: &'static str, value: &'static str) -> Labels {
    vec![(name, Cow::Borrowed(value))]
}

/// Copies a count that is kept elsewhere.
fn set(counter: &Counter, to: u64) {
    counter.inner().store(to, Relaxed);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Outcome;
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new("g-1", &[-32602])
    }

    fn check(metrics: &Metrics, line: &str) {
        let body = metrics.render();
        assert!(body.lines().any(|has| has == line), "{line}\nis not in\n{body}");
    }

    const NAME: &str = "mcp_server_operation_duration_seconds";

    #[test]
    fn an_operation_is_in_flight_and_then_in_its_bucket() {
        let metrics = metrics();
        let call = metrics.operation("tools/call", Some("whoami")).start(Instant::now());
        check(&metrics, "baton_in_flight{kind=\"server\"} 1");
        call.end(Outcome::Done);
        check(&metrics, "baton_in_flight{kind=\"server\"} 0");
        let labels = "mcp_method_name=\"tools/call\",gen_ai_tool_name=\"whoami\",error_type=\"\"";
        check(&metrics, &format!("{NAME}_bucket{{le=\"0.01\",{labels}}} 1"));
        check(&metrics, &format!("{NAME}_bucket{{le=\"300.0\",{labels}}} 1"));
    }

    #[test]
    fn failures_are_counted_by_type_and_unknown_codes_together() {
        let metrics = metrics();
        let list = metrics.operation("tools/list", None);
        for outcome in
            [Outcome::Error(-32602), Outcome::Error(7), Outcome::Error(8), Outcome::ToolError]
        {
            list.start(Instant::now()).end(outcome);
        }
        drop(list.start(Instant::now()));
        for (error, count) in [("-32602", 1), ("_OTHER", 2), ("tool_error", 1), ("cancelled", 1)] {
            let labels = "mcp_method_name=\"tools/list\",gen_ai_tool_name=\"\"";
            check(&metrics, &format!("{NAME}_count{{{labels},error_type=\"{error}\"}} {count}"));
        }
    }

    #[test]
    fn counts_kept_elsewhere_are_read_at_each_rendering() {
        let metrics = metrics();
        metrics.show_connections("gateway", || ConnectionReading {
            open: 3,
            too_slow: 2,
            ..Default::default()
        });
        check(&metrics, "baton_connections{listener=\"gateway\"} 3");
        check(
            &metrics,
            "baton_connections_closed_total{listener=\"gateway\",reason=\"too_slow\"} 2",
        );
        check(&metrics, "baton_connections_closed_total{listener=\"gateway\",reason=\"full\"} 0");
    }

    #[test]
    fn every_instrument_has_its_name() {
        let metrics = metrics();
        metrics.refusals("rate_tenant").inc();
        metrics.environments("running").set(2);
        metrics.workers("ready").set(1);
        metrics.capacity("environments").set(9);
        metrics.show_access_log(&AccessLog::off());
        metrics.show_spans(SpanCounts::default());
        metrics.rpc("exec").start(Instant::now()).end(Outcome::Done);
        metrics.upstream("tools/call", "files").start(Instant::now()).end(Outcome::Done);
        check(&metrics, "baton_refusals_total{reason=\"rate_tenant\"} 1");
        check(&metrics, "baton_environments{state=\"running\"} 2");
        check(&metrics, "baton_capacity{of=\"environments\"} 9");
        check(&metrics, "baton_workers{state=\"ready\"} 1");
        check(&metrics, "baton_access_lines_lost_total 0");
        check(&metrics, "baton_spans_total{fate=\"dropped\"} 0");
        check(&metrics, "baton_rpc_duration_seconds_count{verb=\"exec\",error_type=\"\"} 1");
        let upstream = "mcp_method_name=\"tools/call\",upstream=\"files\",error_type=\"\"";
        check(&metrics, &format!("mcp_client_operation_duration_seconds_count{{{upstream}}} 1"));
        check(&metrics, "# EOF");
    }
}
