//! What the `--otlp-endpoint` setting and the `OTEL_*` variables say.
//!
//! Read here: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT` and `…PROTOCOL`,
//! `OTEL_TRACES_SAMPLER[_ARG]`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_MAX_QUEUE_SIZE`,
//! `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, `OTEL_BSP_SCHEDULE_DELAY`. The exporter itself reads
//! `OTEL_EXPORTER_OTLP_[TRACES_]HEADERS`, `…TIMEOUT` and `…COMPRESSION` from the process.

use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;

use super::Identity;
use super::sampler::Sampler;

const TRACES_PATH: &str = "/v1/traces";
const DEFAULT_QUEUE: usize = 2048;
const DEFAULT_BATCH: usize = 512;
const DEFAULT_DELAY: Duration = Duration::from_secs(5);

/// Why traces cannot be exported as asked.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "the OTLP endpoint {endpoint:?} is not an http:// URL (for TLS, export to a collector beside us)"
    )]
    Endpoint { endpoint: String },
    #[error("the span exporter could not be made")]
    Exporter(#[source] ExporterBuildError),
}

/// Reads one variable of this process, for [`Telemetry::start`](super::Telemetry::start).
#[expect(
    clippy::disallowed_methods,
    reason = "the OTEL_* names are not ours: no flag and no file has them"
)]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where spans go, which, and as whose.
#[derive(Debug)]
pub(super) struct ExportSettings {
    pub(super) endpoint: String,
    pub(super) sampler: Sampler,
    pub(super) resource: Resource,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

impl ExportSettings {
    /// `None` means that nothing is exported.
    pub(super) fn resolve(
        identity: &Identity,
        otlp_endpoint: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TelemetryError> {
        // An empty variable is an unset one, says the specification of the environment variables.
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let is = |name: &str, value: &str| {
            environment(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some(endpoint) = endpoint(otlp_endpoint, &environment)? else { return Ok(None) };
        let number = |name: &str, default: usize| {
            environment(name)
                .and_then(|text| text.parse().ok())
                .filter(|n| *n > 0)
                .unwrap_or(default)
        };
        let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE);
        let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", DEFAULT_BATCH).min(queue);
        let delay = environment("OTEL_BSP_SCHEDULE_DELAY").and_then(|text| text.parse().ok());
        Ok(Some(Self {
            endpoint,
            sampler: sampler(&environment),
            resource: resource(identity, &environment),
            queue,
            batch,
            delay: delay.map_or(DEFAULT_DELAY, Duration::from_millis),
        }))
    }
}

/// Ours first, then the variable for traces, which is taken as it is, then the one for all signals.
fn endpoint(
    setting: Option<&str>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, TelemetryError> {
    if let Some(endpoint) = setting {
        let has_path = checked(endpoint)?.path() != "/";
        return Ok(Some(if has_path { endpoint.to_owned() } else { with_traces_path(endpoint) }));
    }
    let of_traces = environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let of_all = || environment("OTEL_EXPORTER_OTLP_ENDPOINT").map(|url| with_traces_path(&url));
    let Some(endpoint) = of_traces.or_else(of_all) else { return Ok(None) };
    let protocol = environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| environment("OTEL_EXPORTER_OTLP_PROTOCOL"));
    // A platform that sets these for everybody must not keep us from starting.
    if protocol.is_some_and(|protocol| protocol != "http/protobuf") {
        tracing::warn!(endpoint, "no spans are exported: we speak OTLP over http/protobuf only");
        return Ok(None);
    }
    checked(&endpoint)?;
    Ok(Some(endpoint))
}

fn with_traces_path(url: &str) -> String {
    format!("{}{TRACES_PATH}", url.trim_end_matches('/'))
}

fn checked(endpoint: &str) -> Result<Uri, TelemetryError> {
    let parsed = endpoint.parse::<Uri>().ok();
    parsed
        .filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
        .ok_or_else(|| TelemetryError::Endpoint { endpoint: endpoint.to_owned() })
}

fn sampler(environment: &dyn Fn(&str) -> Option<String>) -> Sampler {
    let Some(name) = environment("OTEL_TRACES_SAMPLER") else { return Sampler::PARENT_OR_ALL };
    let argument = environment("OTEL_TRACES_SAMPLER_ARG");
    Sampler::parse(&name, argument.as_deref()).unwrap_or_else(|| {
        tracing::warn!(name, argument, "no such sampler: parentbased_always_on is used");
        Sampler::PARENT_OR_ALL
    })
}

fn resource(identity: &Identity, environment: &dyn Fn(&str) -> Option<String>) -> Resource {
    let given = environment("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let given = given.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some(KeyValue::new(key.trim().to_owned(), percent_decoded(value.trim())?))
    });
    // The later of two equal keys wins. The instance is ours to say: in `dev` two of them share the variables.
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", identity.service))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(given)
        .with_attributes(
            environment("OTEL_SERVICE_NAME").map(|name| KeyValue::new("service.name", name)),
        )
        .with_attribute(KeyValue::new("service.instance.id", identity.instance.clone()))
        .build()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    fn settings(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<ExportSettings> {
        let identity = Identity { service: "baton-gateway", instance: "g-1".to_owned() };
        let environment = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        ExportSettings::resolve(&identity, flag, &environment).unwrap()
    }

    #[test]
    fn the_setting_goes_before_the_variables() {
        let check = |flag, variables: &[(&str, &str)], expected: Option<&str>| {
            let endpoint = settings(flag, variables).map(|settings| settings.endpoint);
            assert_eq!(endpoint.as_deref(), expected, "{flag:?} {variables:?}");
        };
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/x");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        check(None, &[], None);
        check(Some("http://c:4318"), &[all, traces, grpc], Some("http://c:4318/v1/traces"));
        check(Some("http://c:4318/"), &[], Some("http://c:4318/v1/traces"));
        check(Some("http://c:4318/otlp/v1/traces"), &[], Some("http://c:4318/otlp/v1/traces"));
        check(None, &[all], Some("http://all:4318/v1/traces"));
        check(None, &[all, traces], Some("http://traces:4318/x"));
        check(None, &[all, grpc], None);
        check(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None);
        check(Some("http://c:4318"), &[("OTEL_SDK_DISABLED", "true")], None);
        check(Some("http://c:4318"), &[("OTEL_TRACES_EXPORTER", "none")], None);
    }

    #[test]
    fn an_endpoint_we_cannot_speak_to_stops_the_start() {
        let identity = Identity { service: "s", instance: "i".to_owned() };
        for endpoint in ["https://c:4318", "c:4318", "", "http://", "grpc://c:4317"] {
            let resolved = ExportSettings::resolve(&identity, Some(endpoint), &|_| None);
            assert!(matches!(resolved, Err(TelemetryError::Endpoint { .. })), "{endpoint}");
        }
    }

    #[test]
    fn the_resource_is_the_role_unless_the_operator_names_another() {
        let check = |variables: &[(&str, &str)], key: &'static str, expected: Option<&str>| {
            let resource = settings(Some("http://c"), variables).unwrap().resource;
            let value = resource.get(&Key::from_static_str(key)).map(|value| value.to_string());
            assert_eq!(value.as_deref(), expected, "{variables:?} {key}");
        };
        let given =
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, team=b%20c ,bad,service.instance.id=x");
        check(&[], "service.name", Some("baton-gateway"));
        check(&[], "service.instance.id", Some("g-1"));
        check(&[given], "service.name", Some("a"));
        check(&[given], "team", Some("b c"));
        check(&[given], "service.instance.id", Some("g-1"));
        check(&[given, ("OTEL_SERVICE_NAME", "z")], "service.name", Some("z"));
    }

    #[test]
    fn the_batch_is_never_larger_than_the_queue() {
        let small = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
        let settings = settings(Some("http://c"), &small).unwrap();
        assert_eq!((settings.queue, settings.batch), (10, 10));
        assert_eq!(settings.delay, Duration::from_millis(50));
    }

    #[test]
    fn an_unknown_sampler_is_the_default_one() {
        let check = |variables: &[(&str, &str)], expected| {
            assert_eq!(settings(Some("http://c"), variables).unwrap().sampler, expected);
        };
        check(&[], Sampler::PARENT_OR_ALL);
        check(&[("OTEL_TRACES_SAMPLER", "xray")], Sampler::PARENT_OR_ALL);
        let none = Sampler::parse("always_off", None).unwrap();
        check(&[("OTEL_TRACES_SAMPLER", "always_off")], none);
    }
}
