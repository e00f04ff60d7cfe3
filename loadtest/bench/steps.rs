//! The steps of a request, each alone: how long it takes and how often it allocates. `cargo bench` runs them, and
//! `cargo bench -- envelope` those with such a name.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::Terms;
use baton::directory::embedded::Embedded;
use baton::domain::handle::Handle;
use baton::domain::ids::{EnvironmentId, Incarnation, Name, Principal, Timestamp, WorkerId};
use baton::domain::keyring::{Keyring, SecretKey};
use baton::domain::placement::{Sighting, WorkerReport, WorkerState, choose};
use baton::gateway::benching::{Admission, Routes};
use baton::gateway::{Rate, RateLimit, Rates, Upstream, UpstreamName};
use baton::mcp::{Envelope, Incoming, Message, Mirror};
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn main() {
    divan::main();
}

/// Headers, `_meta` and body of a small call, read and compared.
#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    let (headers, body) = call(r#"{"text":"hello"}"#);
    bencher.bench(|| Envelope::parse(&headers, &body));
}

/// So many rows of arguments, nearly all of which is for the strict reading.
#[divan::bench(args = [10, 1_000, 10_000])]
fn strict_json(bencher: Bencher<'_, '_>, rows: usize) {
    let (headers, body) = call(&table(rows));
    bencher.counter(BytesCount::new(body.len())).bench(|| Envelope::parse(&headers, &body));
}

/// What an upstream answers with so many rows.
#[divan::bench(args = [10, 1_000, 10_000])]
fn upstream_message(bencher: Bencher<'_, '_>, rows: usize) {
    let result = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}}}"#, table(rows));
    let result = Bytes::from(result);
    bencher.counter(BytesCount::new(result.len())).bench(|| Message::read(&result));
}

#[divan::bench]
fn header_mirror(bencher: Bencher<'_, '_>) {
    let (mut headers, body) = call(r#"{"region":"eu-west","deep":{"level":3}}"#);
    headers.insert("mcp-param-region", HeaderValue::from_static("eu-west"));
    headers.insert("mcp-param-level", HeaderValue::from_static("3"));
    let mirrors = [("region", &["region"][..]), ("level", &["deep", "level"])];
    let mirrors = mirrors.map(|(name, path)| Mirror::new(name, path).expect("a header's name"));
    let envelope = parsed(&headers, &body);
    envelope.check_mirrors(&mirrors).expect("headers and arguments agree");
    bencher.bench(|| envelope.check_mirrors(&mirrors));
}

#[divan::bench]
fn handle_open(bencher: Bencher<'_, '_>) {
    let (keys, owner) = (keys(), caller());
    let token = handle().seal(&owner, &keys);
    let open = || Handle::<EnvironmentId>::open(&token, &owner, &keys, NOW);
    open().expect("it was sealed with this key");
    bencher.bench(open);
}

#[divan::bench]
fn handle_seal(bencher: Bencher<'_, '_>) {
    let (keys, owner, handle) = (keys(), caller(), handle());
    bencher.bench(|| handle.seal(&owner, &keys));
}

/// Which of so many upstreams a call is for: the last one.
#[divan::bench(args = [1, 5, 50])]
fn route_lookup(bencher: Bencher<'_, '_>, upstreams: usize) {
    // Entered and never driven: an upstream is not asked what it is.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _entered = runtime.enter();
    let upstream = |number: usize| {
        let name = UpstreamName::parse(&format!("u{number}")).expect("a name");
        let url = "http://127.0.0.1:1/mcp".parse().expect("a URL");
        Arc::new(Upstream { prefix: format!("u{number}_"), ..Upstream::new(name, vec![url]) })
    };
    let set: Vec<Arc<Upstream>> = (0..upstreams).map(upstream).collect();
    let (routes, caller) = (Routes::new(&set, keys(), Clock::manual(NOW)), caller());
    let (headers, body) = call_of(&format!("u{}_echo", upstreams - 1), "{}");
    let envelope = parsed(&headers, &body);
    let find = || routes.lead_somewhere(&envelope, &caller).now_or_never();
    assert_eq!(find(), Some(true));
    bencher.bench_local(find);
}

/// A request counted in its tenant's, its subject's and its tool's rate.
#[divan::bench]
fn governor(bencher: Bencher<'_, '_>) {
    let often = NonZeroU32::new(1_000_000_000).expect("not zero");
    let limit = RateLimit::shared(Rate::new(Duration::from_micros(1), often));
    let rates = Rates {
        tenant: Some(limit),
        subject: Some(limit),
        methods: Vec::new(),
        tools: vec![("echo".to_owned(), limit)],
    };
    let directory = Arc::new(Embedded::new(Clock::manual(NOW), Terms::default()));
    let (admission, caller) = (Admission::new(rates, directory), caller());
    let (headers, body) = call("{}");
    let envelope = parsed(&headers, &body);
    let admit = || admission.admits(&caller, &envelope).now_or_never();
    assert_eq!(admit(), Some(true));
    bencher.bench(admit);
}

/// Which of so many workers takes a new environment.
#[divan::bench(args = [2, 20, 200])]
fn placement(bencher: Bencher<'_, '_>, workers: u32) {
    let fleet: Vec<Sighting> = (0..workers).map(worker).collect();
    let environment = EnvironmentId::from_bytes([7; 16]);
    bencher.bench(|| choose(environment, &fleet, NOW).len());
}

fn call(arguments: &str) -> (HeaderMap, Bytes) {
    call_of("echo", arguments)
}

/// A call of a tool as a client of the revision sends it.
fn call_of(tool: &str, arguments: &str) -> (HeaderMap, Bytes) {
    let body = format!(
        concat!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","#,
            r#""arguments":{arguments},"_meta":{{"#,
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"#,
            r#""io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        ),
        tool = tool,
        arguments = arguments,
    );
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ];
    let header = |(name, value): (&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
    };
    (headers.into_iter().map(header).collect(), body.into())
}

fn parsed(headers: &HeaderMap, body: &Bytes) -> Envelope {
    match Envelope::parse(headers, body) {
        Ok(Incoming::Request(envelope)) => envelope,
        other => panic!("no request: {other:?}"),
    }
}

/// An object with so many rows of about a hundred bytes.
fn table(rows: usize) -> String {
    let mut text = r#"{"rows":["#.to_owned();
    for row in 0..rows {
        let comma = if row == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"id":{row},"name":"the row with the number {row}","share":0.25,"tags":["one","two"],"kept":true}}"#
        )
        .expect("a string takes everything");
    }
    text + "]}"
}

fn caller() -> Principal {
    let name = |text| Name::parse(text).expect("a name");
    Principal::verified(name("tenant"), name("subject"))
}

fn keys() -> Keyring {
    Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).expect("one key")
}

fn handle() -> Handle<EnvironmentId> {
    Handle::issue(EnvironmentId::from_bytes([7; 16]), 1, NOW.after(HOUR))
}

fn worker(number: u32) -> Sighting {
    let report = WorkerReport {
        worker: WorkerId::parse(&format!("worker-{number}")).expect("an id"),
        incarnation: Incarnation(1),
        url: format!("http://worker-{number}"),
        state: WorkerState::Serving,
        capacity: 100,
        environments: number % 100,
        running: 0,
        list_digest: [0; 16],
    };
    Sighting { report, seen: NOW }
}
