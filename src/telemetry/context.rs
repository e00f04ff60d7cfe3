//! Where a request stands in its caller's trace: W3C `traceparent`, `tracestate` and `baggage`, in and out.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Longer ones are dropped whole. The specifications want at least 512 and 8,192 bytes passed on.
const MAX_TRACESTATE: usize = 2048;
const MAX_BAGGAGE: usize = 8192;

/// Bytes of a `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
const TRACEPARENT_LENGTH: usize = 55;
/// The flags with a meaning; others are sent as zero (Trace Context §3.2.2.5).
const SAMPLED: u8 = 0x01;
const RANDOM_TRACE_ID: u8 = 0x02;

/// What a carrier said about the trace it belongs to, checked; at least one part is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    position: Option<Position>,
    baggage: Option<Arc<str>>,
}

/// One span of one trace. `tracestate` means nothing without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    flags: u8,
    tracestate: Option<Arc<str>>,
}

impl TraceContext {
    /// Reads the three HTTP headers; `None` when none of them says anything valid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        // Nearly all requests have none: three look-ups and no allocation.
        let mut parents = headers.get_all(&TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok(),
            // Two parents are none (Trace Context §3.2.1); a caller may have one.
            _ => None,
        };
        let state = joined(headers, &TRACESTATE);
        let baggage = joined(headers, &BAGGAGE);
        Self::from_parts(parent, state.as_deref(), baggage.as_deref())
    }

    /// Reads the same three from `_meta`, where they have no prefix.
    pub fn from_parts(
        traceparent: Option<&str>,
        tracestate: Option<&str>,
        baggage: Option<&str>,
    ) -> Option<Self> {
        let position = traceparent.and_then(|text| Position::parse(text, tracestate));
        let baggage = passed_on(baggage, MAX_BAGGAGE);
        (position.is_some() || baggage.is_some()).then_some(Self { position, baggage })
    }

    /// 32 hexadecimal digits, for a log line.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.position.as_ref().map(|position| position.trace_id)
    }

    pub fn span_id(&self) -> Option<SpanId> {
        self.position.as_ref().map(|position| position.span_id)
    }

    pub fn is_sampled(&self) -> bool {
        self.position.as_ref().is_some_and(Position::is_sampled)
    }

    pub fn traceparent(&self) -> Option<String> {
        let parent = self.position.as_ref()?.traceparent();
        str::from_utf8(&parent).ok().map(str::to_owned)
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.position.as_ref()?.tracestate.as_deref()
    }

    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }

    /// Writes the headers of an outgoing request, in place of any that were there.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let parent = self
            .position
            .as_ref()
            .and_then(|position| HeaderValue::from_bytes(&position.traceparent()).ok());
        let text = |text: Option<&str>| text.and_then(|text| HeaderValue::from_str(text).ok());
        let values = [
            (TRACEPARENT, parent),
            (TRACESTATE, text(self.tracestate())),
            (BAGGAGE, text(self.baggage())),
        ];
        for (name, value) in values {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
    }

    pub(super) fn new(position: Option<Position>, baggage: Option<Arc<str>>) -> Option<Self> {
        (position.is_some() || baggage.is_some()).then_some(Self { position, baggage })
    }

    pub(super) fn into_parts(self) -> (Option<Position>, Option<Arc<str>>) {
        (self.position, self.baggage)
    }
}

impl Position {
    /// The first span of a new trace.
    pub(super) fn root(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Self {
        Self { trace_id, span_id, flags: u8::from(sampled) * SAMPLED, tracestate: None }
    }

    /// A span below this one.
    pub(super) fn child(&self, span_id: SpanId, sampled: bool) -> Self {
        let flags = (self.flags & RANDOM_TRACE_ID) | (u8::from(sampled) * SAMPLED);
        Self { trace_id: self.trace_id, span_id, flags, tracestate: self.tracestate.clone() }
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn is_same_span(&self, other: &Self) -> bool {
        (self.trace_id, self.span_id) == (other.trace_id, other.span_id)
    }

    /// As the exporter wants it; only sampled spans pay for it.
    pub(super) fn span_context(&self, is_remote: bool) -> SpanContext {
        let state = self.tracestate.as_deref().and_then(|text| text.parse::<TraceState>().ok());
        let flags = TraceFlags::new(self.flags);
        SpanContext::new(self.trace_id, self.span_id, flags, is_remote, state.unwrap_or_default())
    }

    /// Trace Context §3.2 and, for versions to come, §4.3.
    fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let (known, more) = traceparent.as_bytes().split_at_checked(TRACEPARENT_LENGTH)?;
        let [version @ .., b'-'] = &known[..3] else { return None };
        let [trace_id @ .., b'-'] = &known[3..36] else { return None };
        let [span_id @ .., b'-'] = &known[36..53] else { return None };
        let version = hex(version)?;
        let extended = version > 0 && more.first() == Some(&b'-');
        if version == 0xff || !(more.is_empty() || extended) {
            return None;
        }
        let trace_id = TraceId::from(hex(trace_id)?);
        let span_id = SpanId::from(u64::try_from(hex(span_id)?).ok()?);
        let flags = u8::try_from(hex(&known[53..])?).ok()? & (SAMPLED | RANDOM_TRACE_ID);
        if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
            return None;
        }
        Some(Self { trace_id, span_id, flags, tracestate: passed_on(tracestate, MAX_TRACESTATE) })
    }

    fn traceparent(&self) -> [u8; TRACEPARENT_LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace_id.to_bytes());
        write_hex(&mut text[36..52], &self.span_id.to_bytes());
        write_hex(&mut text[53..], &[self.flags]);
        text
    }
}

/// Untouched, if it can travel in a header and is not longer than `max`.
fn passed_on(text: Option<&str>, max: usize) -> Option<Arc<str>> {
    let visible = |byte| matches!(byte, b'\t' | b' '..=b'~');
    text.filter(|text| !text.is_empty() && text.len() <= max && text.bytes().all(visible))
        .map(Arc::from)
}

/// Several headers of one name are one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let mut list = values.next()?.to_str().ok()?.to_owned();
    for value in values {
        list.push(',');
        list.push_str(value.to_str().ok()?);
    }
    Some(list)
}

/// Lower case only: upper case is invalid.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What goes on when `traceparent` came in.
    fn check(traceparent: &str, expected: Option<&str>) {
        let context = TraceContext::from_parts(Some(traceparent), None, None);
        let sent = context.and_then(|context| context.traceparent());
        assert_eq!(sent.as_deref(), expected, "{traceparent}");
    }

    fn edited(range: std::ops::Range<usize>, with: &str) -> String {
        let mut text = PARENT.to_owned();
        text.replace_range(range, with);
        text
    }

    #[test]
    fn a_valid_parent_goes_on_as_it_came() {
        check(PARENT, Some(PARENT));
        check(&edited(53..55, "00"), Some(&edited(53..55, "00")));
    }

    #[test]
    fn flags_are_bits_and_unknown_ones_stay_here() {
        check(&edited(53..55, "03"), Some(&edited(53..55, "03")));
        check(&edited(53..55, "02"), Some(&edited(53..55, "02")));
        check(&edited(53..55, "ff"), Some(&edited(53..55, "03")));
        check(&edited(53..55, "04"), Some(&edited(53..55, "00")));
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        check(&edited(0..2, "01"), Some(PARENT));
        check(&edited(0..2, "cc"), Some(PARENT));
        check(&format!("{}-what-ever", edited(0..2, "01")), Some(PARENT));
        check(&format!("{}.what", edited(0..2, "01")), None);
        check(&edited(0..2, "ff"), None);
    }

    #[test]
    fn anything_else_is_no_parent() {
        let bad = [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}-00"),
            &format!(" {PARENT}"),
            &PARENT.to_uppercase(),
            &edited(3..35, "00000000000000000000000000000000"),
            &edited(36..52, "0000000000000000"),
            &edited(3..4, "g"),
            &edited(36..37, "A"),
            &edited(53..55, "0g"),
            &edited(2..3, "_"),
            &edited(35..36, "0"),
            &edited(52..53, "0"),
            &edited(3..5, "ä"),
            &edited(53..55, "ä"),
        ];
        for text in bad {
            check(text, None);
        }
    }

    #[test]
    fn tracestate_and_baggage_go_on_untouched() {
        let (state, baggage) = ("a=1,b@c= x ,,", "user=%20a;p=1, b=2");
        let context = TraceContext::from_parts(Some(PARENT), Some(state), Some(baggage)).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("old=1"));
        context.inject(&mut headers);
        assert_eq!(headers[TRACEPARENT], PARENT);
        assert_eq!(headers[TRACESTATE], state);
        assert_eq!(headers[BAGGAGE], baggage);
        assert_eq!(TraceContext::from_headers(&headers), Some(context));
    }

    #[test]
    fn several_headers_are_one_list_but_two_parents_are_none() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let context = TraceContext::from_headers(&headers).unwrap();
        assert_eq!(context.tracestate(), Some("a=1,b=2"));
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(TraceContext::from_headers(&headers), None);
    }

    #[test]
    fn what_is_too_long_or_cannot_travel_is_dropped_alone() {
        let long = format!("a={}", "x".repeat(MAX_BAGGAGE));
        let state = |state| {
            let context = TraceContext::from_parts(Some(PARENT), Some(state), None);
            context.unwrap().tracestate().map(str::to_owned)
        };
        assert_eq!(state(&long[..MAX_TRACESTATE]).as_deref(), Some(&long[..MAX_TRACESTATE]));
        assert_eq!(state(&long[..=MAX_TRACESTATE]), None);
        assert_eq!(state("a=1\r\nx: y"), None);
        assert_eq!(TraceContext::from_parts(None, None, Some(&long)), None);
    }

    #[test]
    fn tracestate_needs_a_parent_and_baggage_does_not() {
        assert_eq!(TraceContext::from_parts(None, Some("a=1"), None), None);
        let context = TraceContext::from_parts(Some("nonsense"), Some("a=1"), Some("b=2")).unwrap();
        assert_eq!((context.tracestate(), context.baggage()), (None, Some("b=2")));
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        context.inject(&mut headers);
        assert_eq!((headers.len(), &headers[BAGGAGE]), (1, &HeaderValue::from_static("b=2")));
    }
}
