//! What travels on an event stream: framed messages, comments, notifications about one request.

use serde::Serialize;

use super::json::Json;
use super::jsonrpc::to_json;
use super::meta::{LogLevel, ProgressToken};

/// No final event may be larger: a widespread client gives up at 1 MiB.
pub const MAX_FINAL_EVENT: usize = 1_000_000;

/// A comment, which tells proxies and clients that the stream lives (streamable-http, "Receiving
/// Messages").
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Frames one message. It has no `id:`, for streams cannot be resumed and clients would try.
pub fn event(message: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(message.len() + 23);
    event.extend_from_slice(b"event: message\ndata: ");
    let start = event.len();
    event.extend_from_slice(message);
    // A line break ends the data. JSON has them only between its tokens, from a schema or a
    // result that was passed on as it was written.
    for byte in &mut event[start..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    event.extend_from_slice(b"\n\n");
    event
}

/// The progress of one request, which only ever grows (progress, "Progress Flow").
#[derive(Debug)]
pub struct ProgressReporter {
    token: ProgressToken,
    last: f64,
}

impl ProgressReporter {
    /// Reports under the token that the request brought.
    pub fn new(token: ProgressToken) -> Self {
        Self { token, last: f64::NEG_INFINITY }
    }

    /// The notification, or nothing if it would not be progress: each value MUST be larger than
    /// the one before.
    pub fn report(
        &mut self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
    ) -> Option<Vec<u8>> {
        let total = total.filter(|total| total.is_finite());
        self.advance(progress, total, message, None)
    }

    /// The notification of output that has just been written, with the stream it was written to in
    /// its `_meta`; the progress is how many bytes of output there were so far.
    pub fn report_output(&mut self, bytes: f64, text: &str, stream: &str) -> Option<Vec<u8>> {
        self.advance(bytes, None, Some(text), Some(OutputMeta { stream }))
    }

    fn advance(
        &mut self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
        meta: Option<OutputMeta<'_>>,
    ) -> Option<Vec<u8>> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(rename = "progressToken")]
            token: &'a ProgressToken,
            progress: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
            meta: Option<OutputMeta<'a>>,
        }
        if !progress.is_finite() || progress <= self.last {
            return None;
        }
        self.last = progress;
        let params = Params { token: &self.token, progress, total, message, meta };
        Some(notification("notifications/progress", &params))
    }
}

#[derive(Serialize)]
struct OutputMeta<'a> {
    #[serde(rename = "dev.baton/stream")]
    stream: &'a str,
}

/// A `notifications/message`. Only for a request whose log level admits `level` (logging,
/// "Per-request log level").
pub fn log_message(level: LogLevel, logger: Option<&str>, data: Json<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Message<'a> {
        level: LogLevel,
        #[serde(skip_serializing_if = "Option::is_none")]
        logger: Option<&'a str>,
        data: Json<'a>,
    }
    notification("notifications/message", &Message { level, logger, data })
}

fn notification(method: &'static str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, P> {
        jsonrpc: &'static str,
        method: &'static str,
        params: &'a P,
    }
    to_json(&Notification { jsonrpc: "2.0", method, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter(token: &str) -> ProgressReporter {
        ProgressReporter::new(ProgressToken::read(Json::checked(token)).unwrap())
    }

    // streamable-http, "Receiving Messages": streams cannot be resumed, so there is no `id:`.
    #[test]
    fn an_event_has_a_type_and_one_line_of_data() {
        assert_eq!(event(b"{}"), b"event: message\ndata: {}\n\n");
        assert_eq!(event(b"{\n\r\n}"), b"event: message\ndata: {   }\n\n");
        assert!(KEEP_ALIVE.starts_with(b":") && KEEP_ALIVE.ends_with(b"\n\n"));
    }

    // progress, "Progress Flow".
    #[test]
    fn progress_carries_the_token_as_it_came() {
        assert_eq!(
            reporter("9007199254740993").report(0.0, Some(100.0), Some("go")).unwrap(),
            br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9007199254740993,"progress":0.0,"total":100.0,"message":"go"}}"#
        );
        assert_eq!(
            reporter(r#""1""#).report(0.5, None, None).unwrap(),
            br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"1","progress":0.5}}"#
        );
    }

    // The same section: the value MUST increase with each notification.
    #[test]
    fn progress_only_grows() {
        let mut reporter = reporter("1");
        let sent = [0.0, 50.0, 50.0, 49.0, f64::NAN, f64::INFINITY, 50.5]
            .map(|progress| reporter.report(progress, None, None).is_some());
        assert_eq!(sent, [true, true, false, false, false, false, true]);
    }

    // logging, "Log Message Notifications".
    #[test]
    fn a_log_message_has_its_level_and_data() {
        assert_eq!(
            log_message(LogLevel::Warning, Some("worker"), Json::checked(r#"{"a":1}"#)),
            br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","logger":"worker","data":{"a":1}}}"#
        );
    }
}
