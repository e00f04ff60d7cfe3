//! Settings that more than one role has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::value;

/// Logs and traces.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySettings {
    /// A filter that `EnvFilter` has accepted.
    pub log: String,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// Where traces go; absent: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Share of traces without a parent that are kept, 0 to 1.
    pub trace_sample_ratio: f64,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl TelemetrySettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        // The variable that every OpenTelemetry library knows stands behind ours.
        let standard = || read.around.variables().get("OTEL_EXPORTER_OTLP_ENDPOINT").cloned();
        Self {
            log: read.one("log", value::log_filter),
            log_format: read.one("log-format", |text| value::choice(text, &formats)),
            otlp_endpoint: read.perhaps("otlp-endpoint", value::http_url).or_else(standard),
            trace_sample_ratio: read.one("trace-sample-ratio", value::ratio),
        }
    }
}

/// What every listener grants its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// From accept to the first byte.
    pub first_byte: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// How long a client may refuse to take bytes.
    pub write_stall: Duration,
    /// How old a connection grows.
    pub age: Duration,
}

impl ConnectionSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        Self {
            connections: read.number("max-connections"),
            connections_per_address: read.number("max-connections-per-address"),
            first_byte: read.seconds("first-byte-seconds"),
            head: read.seconds("head-seconds"),
            keep_alive: read.seconds("keep-alive-seconds"),
            write_stall: read.seconds("write-stall-seconds"),
            age: read.seconds("max-connection-age-seconds"),
        }
    }
}

/// Where a process listens, what it keeps and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// For clients; a worker: its rpc.
    pub listen: SocketAddr,
    /// For operations; a gateway: also for heartbeats.
    pub internal_listen: SocketAddr,
    /// What outlives a restart.
    pub data_dir: PathBuf,
    /// How long calls in flight may go on after SIGTERM.
    pub drain: Duration,
    /// Bounds of each listener.
    pub connections: ConnectionSettings,
}

impl ProcessSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let settings = Self {
            listen: read.one("listen", value::address),
            internal_listen: read.one("internal-listen", value::address),
            data_dir: read.one("data-dir", value::path),
            drain: read.seconds("drain-seconds"),
            connections: ConnectionSettings::read(read),
        };
        let apart = settings.listen != settings.internal_listen || settings.listen.port() == 0;
        read.rule(
            &["internal-listen", "listen"],
            apart,
            "the same address as --listen",
            "give it another port: the internal listener is not for clients",
        );
        settings
    }
}

/// How others reach a listener: a wildcard is no address that anybody could be told.
pub(super) fn advertise(read: &Reader<'_>, flag: &str, listener: SocketAddr) -> Option<String> {
    let url = read.perhaps("advertise", value::http_url);
    read.rule(
        &["advertise", flag],
        url.is_some() || !listener.ip().is_unspecified(),
        &format!("is needed, for --{flag} is a wildcard"),
        &format!("write --advertise http://THIS-HOST:{}", listener.port()),
    );
    url
}
