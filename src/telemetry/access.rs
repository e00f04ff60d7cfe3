//! One line per exchange: who asked what, how it ended, how long it took.
//!
//! A tracing event with JSON and a write of its own cost 70 % of a call's CPU. Here the line is put together by hand
//! and goes to a buffer that a thread writes out in large pieces; a log that nobody drains loses lines, not requests.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::logs::LogFormat;

/// Lines wait this long for company.
const GATHER: Duration = Duration::from_millis(50);
/// Unless there is this much of it.
const ENOUGH: usize = 64 * 1024;
/// Bytes that wait at most; lines beyond are counted and dropped.
const MAX_WAITING: usize = 1024 * 1024;
/// The last lines have this long to get out.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// Longer names are cut: they come from outside.
const MAX_NAME: usize = 128;

/// What there is to say about one exchange. No argument and no handle has a place in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange<'a> {
    /// The MCP method, once it is known.
    pub method: Option<&'a str>,
    /// The tool, prompt, resource or task.
    pub name: Option<&'a str>,
    /// The HTTP status; 499 when the client left before there was one.
    pub status: u16,
    /// `error.type` of the span.
    pub error: Option<&'a str>,
    pub duration: Duration,
    pub trace_id: Option<TraceId>,
    /// The short hash of the environment's id.
    pub environment: Option<u64>,
}

/// Where the lines go; clones share it, and the last one writes out what is left when it is dropped.
#[derive(Clone, Debug)]
pub struct AccessLog {
    out: Option<Arc<Out>>,
}

#[derive(Debug)]
struct Out {
    format: LogFormat,
    /// The end of every line, which is the same.
    replica: String,
    waiting: Arc<Waiting>,
}

impl AccessLog {
    /// No lines.
    pub fn off() -> Self {
        Self { out: None }
    }

    /// To standard error, in the name of this replica.
    pub fn to_stderr(format: LogFormat, replica: &str) -> io::Result<Self> {
        Self::to(io::stderr(), format, replica)
    }

    fn to(sink: impl Write + Send + 'static, format: LogFormat, replica: &str) -> io::Result<Self> {
        let replica = match format {
            LogFormat::Json => format!(",\"replica\":{}}}\n", quoted(replica)),
            LogFormat::Text => format!(" replica={}\n", replica.escape_debug()),
        };
        let waiting = Arc::new(Waiting::default());
        let writer = Arc::clone(&waiting);
        // Its own thread, because a write to a pipe nobody reads blocks; `Out` waits for it.
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.write_to(sink))?;
        Ok(Self { out: Some(Arc::new(Out { format, replica, waiting })) })
    }

    /// Writes the line of an exchange that is over.
    pub fn line(&self, exchange: &Exchange<'_>) {
        let Some(out) = &self.out else { return };
        let mut line = String::with_capacity(320);
        // Writing to a string cannot fail, and a clock that cannot be formatted leaves a gap in a line.
        let _complete = match out.format {
            LogFormat::Json => json(&mut line, exchange),
            LogFormat::Text => text(&mut line, exchange),
        };
        line.push_str(&out.replica);
        out.waiting.push(line.as_bytes());
    }

    /// Reads how many lines were lost because nobody took them; does not keep the log open.
    pub fn losses(&self) -> impl Fn() -> u64 + Send + use<> {
        let waiting = self.out.as_ref().map(|out| Arc::clone(&out.waiting));
        move || waiting.as_ref().map_or(0, |waiting| waiting.lines().lost)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.waiting.finish(LAST_WRITE);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    lost: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Writing,
    /// The log is being dropped: what is there is the last piece.
    Finishing,
    Finished,
}

impl Waiting {
    fn push(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.bytes.len() + line.len() > MAX_WAITING {
            lines.lost += 1;
            return;
        }
        let before = lines.bytes.len();
        lines.bytes.extend_from_slice(line);
        let after = lines.bytes.len();
        drop(lines);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.changed.notify_one();
        }
    }

    /// Gives up after `patience`: perhaps nobody reads standard error.
    fn finish(&self, patience: Duration) {
        let mut lines = self.lines();
        if lines.state == State::Writing {
            lines.state = State::Finishing;
            self.changed.notify_all();
        }
        let unfinished = |lines: &mut Lines| lines.state != State::Finished;
        drop(self.changed.wait_timeout_while(lines, patience, unfinished));
    }

    fn write_to(&self, mut sink: impl Write) {
        let mut piece = Vec::new();
        loop {
            let idle = |lines: &mut Lines| lines.bytes.is_empty() && lines.state == State::Writing;
            let lines = self.changed.wait_while(self.lines(), idle);
            let lines = lines.unwrap_or_else(PoisonError::into_inner);
            let gathering =
                |lines: &mut Lines| lines.bytes.len() < ENOUGH && lines.state == State::Writing;
            let gathered = self.changed.wait_timeout_while(lines, GATHER, gathering);
            let (mut lines, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut lines.bytes, &mut piece);
            let last = lines.state == State::Finishing;
            drop(lines);
            if sink.write_all(&piece).and_then(|()| sink.flush()).is_err() || last {
                break;
            }
            piece.clear();
        }
        self.lines().state = State::Finished;
        self.changed.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json(line: &mut String, exchange: &Exchange<'_>) -> std::fmt::Result {
    line.push_str("{\"timestamp\":\"");
    SystemTime.format_time(&mut Writer::new(line))?;
    line.push_str("\",\"level\":\"INFO\",\"target\":\"access\"");
    for (key, value) in
        [("method", exchange.method), ("name", exchange.name), ("error", exchange.error)]
    {
        if let Some(value) = value {
            write!(line, ",\"{key}\":{}", quoted(cut(value)))?;
        }
    }
    write!(
        line,
        ",\"status\":{},\"duration_us\":{}",
        exchange.status,
        exchange.duration.as_micros()
    )?;
    if let Some(trace_id) = exchange.trace_id {
        write!(line, ",\"trace_id\":\"{trace_id:032x}\"")?;
    }
    if let Some(environment) = exchange.environment {
        write!(line, ",\"environment\":\"{environment:016x}\"")?;
    }
    Ok(())
}

fn text(line: &mut String, exchange: &Exchange<'_>) -> std::fmt::Result {
    SystemTime.format_time(&mut Writer::new(line))?;
    line.push_str(" access:");
    for (key, value) in
        [("method", exchange.method), ("name", exchange.name), ("error", exchange.error)]
    {
        if let Some(value) = value {
            write!(line, " {key}={}", cut(value).escape_debug())?;
        }
    }
    write!(line, " status={} duration={:?}", exchange.status, exchange.duration)?;
    if let Some(trace_id) = exchange.trace_id {
        write!(line, " trace_id={trace_id:032x}")?;
    }
    if let Some(environment) = exchange.environment {
        write!(line, " environment={environment:016x}")?;
    }
    Ok(())
}

/// A JSON string.
fn quoted(value: &str) -> String {
    serde_json::to_string(value).expect("a string is always JSON")
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, exchanges: &[Exchange<'_>]) -> String {
        let sink = Sink::default();
        let log = AccessLog::to(sink.clone(), format, "g-1").unwrap();
        for exchange in exchanges {
            log.line(exchange);
        }
        drop(log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const CALL: Exchange<'static> = Exchange {
        method: Some("tools/call"),
        name: Some("run\n\"x\""),
        status: 200,
        error: None,
        duration: Duration::from_micros(1234),
        trace_id: Some(TraceId::from_bytes([7; 16])),
        environment: Some(0xabc),
    };

    #[test]
    fn a_json_line_is_one_object_whatever_a_name_holds() {
        let lines =
            written(LogFormat::Json, &[CALL, Exchange { status: 401, ..Exchange::default() }]);
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["name"], "run\n\"x\"");
        assert_eq!(lines[0]["duration_us"], 1234);
        assert_eq!(lines[0]["trace_id"], "07".repeat(16));
        assert_eq!(lines[0]["environment"], "0000000000000abc");
        assert_eq!(lines[0]["replica"], "g-1");
        assert_eq!(lines[1]["status"], 401);
        assert_eq!(lines[1].get("method"), None);
    }

    #[test]
    fn a_text_line_is_one_line_whatever_a_name_holds() {
        let lines = written(LogFormat::Text, &[CALL]);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(
            lines.contains(" method=tools/call name=run\\n\\\"x\\\" status=200 duration=1.234ms ")
        );
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "ä".repeat(MAX_NAME);
        let lines = written(LogFormat::Text, &[Exchange { name: Some(&name), ..CALL }]);
        assert!(lines.contains(&format!("name={} status", "ä".repeat(MAX_NAME / 2))));
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_the_rest_waits() {
        let waiting = Waiting::default();
        let line = [b'x'; 1000];
        (0..1050).for_each(|_| waiting.push(&line));
        let lines = waiting.lines();
        assert_eq!((lines.bytes.len(), lines.lost), (1_048_000, 2));
    }
}
