//! Which traces are recorded, decided from the trace id and the parent alone, before a span is built.

use opentelemetry::trace::TraceId;

use super::context::Position;

/// The samplers of `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    /// A trace is in when the low 63 bits of its id, as OpenTelemetry's SDKs cut them, are below this.
    threshold: u64,
    follows_parent: bool,
}

const ALL: u64 = 1 << 63;

impl Sampler {
    /// OpenTelemetry's default.
    pub(super) const PARENT_OR_ALL: Self = Self { threshold: ALL, follows_parent: true };

    /// `None` for a name we do not know or a ratio that is none.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Option<Self> {
        let (follows_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let threshold = match root {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => threshold(argument.map_or(Ok(1.0), str::parse).ok()?)?,
            _ => return None,
        };
        Some(Self { threshold, follows_parent })
    }

    pub(super) fn samples(self, parent: Option<&Position>, trace_id: TraceId) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.is_sampled(),
            _ => {
                let id = u128::from_be_bytes(trace_id.to_bytes());
                (id & u128::from(u64::MAX)) >> 1 < u128::from(self.threshold)
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a ratio within 0 and 1 scales into 0 to 2^63"
)]
fn threshold(ratio: f64) -> Option<u64> {
    (0.0..=1.0).contains(&ratio).then_some((ratio * ALL as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::TraceContext;
    use super::*;

    const LOW: TraceId = TraceId::from_bytes([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0, 0, 0, 0, 0, 0,
    ]);
    const HIGH: TraceId = TraceId::from_bytes([0xff; 16]);

    fn check(
        name: &str,
        argument: Option<&str>,
        parent: Option<&str>,
        id: TraceId,
        expected: Option<bool>,
    ) {
        let parent = parent.map(|flags| format!("00-{}-b7ad6b7169203331-{flags}", "12".repeat(16)));
        let parent = TraceContext::from_parts(parent.as_deref(), None, None);
        let position = parent.and_then(|parent| parent.into_parts().0);
        let samples =
            Sampler::parse(name, argument).map(|sampler| sampler.samples(position.as_ref(), id));
        assert_eq!(samples, expected, "{name} {argument:?} {position:?} {id}");
    }

    #[test]
    fn roots_are_sampled_by_their_trace_id() {
        check("always_on", None, None, HIGH, Some(true));
        check("always_off", None, None, LOW, Some(false));
        check("traceidratio", None, None, HIGH, Some(true));
        check("traceidratio", Some("0.01"), None, LOW, Some(true));
        check("traceidratio", Some("0.01"), None, HIGH, Some(false));
        check("traceidratio", Some("0"), None, LOW, Some(false));
        check("parentbased_traceidratio", Some("0.01"), None, LOW, Some(true));
        check("parentbased_always_on", None, None, HIGH, Some(true));
    }

    #[test]
    fn a_parent_decides_only_if_it_is_asked() {
        check("parentbased_always_on", None, Some("00"), HIGH, Some(false));
        check("parentbased_always_off", None, Some("01"), HIGH, Some(true));
        check("parentbased_always_off", None, Some("03"), HIGH, Some(true));
        check("parentbased_traceidratio", Some("1"), Some("02"), HIGH, Some(false));
        check("always_on", None, Some("00"), HIGH, Some(true));
        check("traceidratio", Some("0"), Some("01"), LOW, Some(false));
    }

    #[test]
    fn unknown_names_and_ratios_are_no_sampler() {
        check("jaeger_remote", None, None, LOW, None);
        check("parentbased_", None, None, LOW, None);
        check("traceidratio", Some("1.5"), None, LOW, None);
        check("traceidratio", Some("NaN"), None, LOW, None);
        check("traceidratio", Some("-0.1"), None, LOW, None);
        check("traceidratio", Some("few"), None, LOW, None);
    }
}
