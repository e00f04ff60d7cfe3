//! Whether other MCP servers answer from here, in which era, and what they offer.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::gateway::{EraChoice, LinkError, Upstream, UpstreamLink, UpstreamSet};
use crate::mcp::EventReader;

use super::finding::{Finding, Report, causes};

const NAME: &str = "upstream";
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const SESSION: &str = "mcp-session-id";
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How many endpoints are asked at once.
const AT_ONCE: usize = 8;
/// Errors that only a modern server has (2026-07-28, streamable-http, "Backward Compatibility").
const MODERN_ERRORS: [i64; 3] = [-32020, -32021, -32022];

/// One line for each endpoint.
pub(super) async fn check(report: &mut Report<'_>, upstreams: &UpstreamSet) {
    let endpoints = upstreams.iter().flat_map(|upstream| {
        upstream.endpoints.iter().map(|url| Probe::new(upstream, url).examine())
    });
    let mut findings = stream::iter(endpoints).buffered(AT_ONCE);
    while let Some(finding) = findings.next().await {
        report.add(finding);
    }
}

/// One endpoint of one upstream, and how it is asked.
struct Probe {
    upstream: Upstream,
    link: UpstreamLink,
    /// As findings call it. The rest of the URL may hold a secret.
    shown: String,
}

/// What was said of an endpoint that is not well.
struct Trouble {
    what: String,
    mend: String,
}

impl Trouble {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

/// An answer: its status, its session if it has begun one, and its message if it is one.
struct Answer {
    status: StatusCode,
    session: Option<http::HeaderValue>,
    message: Option<Value>,
}

impl Probe {
    fn new(upstream: &Upstream, url: &Uri) -> Self {
        let upstream = Upstream { endpoints: vec![url.clone()], ..upstream.clone() };
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let shown = format!("{} at {authority}", upstream.name);
        Self { link: UpstreamLink::new(&upstream), upstream, shown }
    }

    async fn examine(self) -> Finding {
        let said = match self.upstream.era {
            EraChoice::Modern => self.modern().await.and_then(|said| {
                let mend = "write era = \"auto\", or \"legacy\"";
                said.ok_or_else(|| Trouble::new(format!("it does not speak {MODERN}"), mend))
            }),
            EraChoice::Legacy => self.legacy().await,
            EraChoice::Auto => match self.modern().await {
                Ok(Some(said)) => Ok(said),
                Ok(None) => self.legacy().await,
                Err(trouble) => Err(trouble),
            },
        };
        match said {
            Ok(said) => Finding::good(NAME, format!("{} {said}", self.shown)),
            Err(Trouble { what, mend }) => {
                Finding::bad(NAME, format!("{}: {what}", self.shown), mend)
            }
        }
    }

    /// What a modern server says of itself; none if it is not one (2026-07-28, server/discover).
    async fn modern(&self) -> Result<Option<String>, Trouble> {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "_meta": meta });
        let headers = [("mcp-protocol-version", MODERN), ("mcp-method", "server/discover")];
        let answer = self.ask("server/discover", &params, &headers).await?;
        self.allowed(&answer)?;
        let message = answer.message.unwrap_or_default();
        if message["result"]["supportedVersions"].is_array() {
            let info = &message["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
            return Ok(Some(described(MODERN, info, &message["result"]["capabilities"])));
        }
        let error = &message["error"];
        match error["code"].as_i64().filter(|code| MODERN_ERRORS.contains(code)) {
            None => Ok(None),
            Some(code) => {
                let what = format!(
                    "it is modern and refuses {MODERN} ({code}: {})",
                    text(&error["message"])
                );
                Err(Trouble::new(what, "ask its operator for an endpoint of that revision"))
            }
        }
    }

    /// What a legacy server says of itself (2025-11-25, basic/lifecycle). A session that it begins is ended.
    async fn legacy(&self) -> Result<String, Trouble> {
        let params =
            json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client_info() });
        let answer = self.ask("initialize", &params, &[]).await?;
        self.allowed(&answer)?;
        let message = answer.message.unwrap_or_default();
        let result = &message["result"];
        let Some(version) = result["protocolVersion"].as_str() else {
            let what = format!("it answers (HTTP {}) and is no MCP server", answer.status);
            return Err(Trouble::new(what, "correct its url: it is the MCP endpoint, often /mcp"));
        };
        if let Some(session) = answer.session {
            let mut end = self.request(Method::DELETE, Bytes::new());
            end.headers_mut().insert(SESSION, session);
            if let Ok(version) = version.parse() {
                end.headers_mut().insert("mcp-protocol-version", version);
            }
            // Servers may refuse to, and forget the session by themselves.
            drop(self.link.send(end, self.deadline()).await);
        }
        let version = version.chars().take(16).collect::<String>();
        Ok(described(&version, &result["serverInfo"], &result["capabilities"]))
    }

    fn allowed(&self, answer: &Answer) -> Result<(), Trouble> {
        if !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(());
        }
        let mend = if self.upstream.headers.is_empty() {
            "give it a credential: headers = { Authorization = \"env:VARIABLE\" }"
        } else {
            "correct the credential in its headers"
        };
        Err(Trouble::new(format!("it does not let the gateway in (HTTP {})", answer.status), mend))
    }

    async fn ask(
        &self,
        method: &str,
        params: &Value,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Answer, Trouble> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self.request(Method::POST, body.to_string().into());
        for (name, value) in headers {
            request.headers_mut().insert(*name, http::HeaderValue::from_static(value));
        }
        let deadline = self.deadline();
        let response = self.link.send(request, deadline).await.map_err(|error| {
            let mend = match &error {
                LinkError::Send(error) => error.mend(),
                LinkError::Broken(_) => "start it, or correct its url",
            };
            Trouble::new(causes(&error), mend)
        })?;
        let (status, session) = (response.1.status(), response.1.headers().get(SESSION).cloned());
        let message = timeout_at(deadline, message(response.1)).await.map_err(|_| {
            Trouble::new("its answer did not end in time", "raise list_timeout_seconds")
        })?;
        Ok(Answer { status, session, message })
    }

    fn request(&self, method: Method, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let headers = request.headers_mut();
        headers
            .extend(self.upstream.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
        let accept = "application/json, text/event-stream";
        headers.insert(ACCEPT, http::HeaderValue::from_static(accept));
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        request
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.upstream.timeouts.connect + self.upstream.timeouts.list
    }
}

/// The answer to a request, out of a document or a stream; none if there is none within bounds.
async fn message(response: Response<impl Body<Data = Bytes> + Unpin>) -> Option<Value> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let streams = kind.is_some_and(|it| it.starts_with("text/event-stream"));
    let (mut body, mut whole) = (response.into_body(), Vec::new());
    let mut events = EventReader::new(MAX_ANSWER_BYTES);
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        read += bytes.len();
        if read > MAX_ANSWER_BYTES {
            return None;
        }
        if !streams {
            whole.extend_from_slice(&bytes);
            continue;
        }
        events.feed(&bytes);
        while let Some(event) = events.event().ok()? {
            if let Ok(message) = serde_json::from_slice::<Value>(&event.data)
                && message["method"].is_null()
            {
                return Some(message);
            }
        }
    }
    serde_json::from_slice(&whole).ok()
}

fn client_info() -> Value {
    json!({ "name": "baton-doctor", "version": env!("CARGO_PKG_VERSION") })
}

fn described(version: &str, info: &Value, capabilities: &Value) -> String {
    let offers: Vec<&str> = ["tools", "prompts", "resources", "completions"]
        .into_iter()
        .filter(|it| capabilities[*it].is_object())
        .collect();
    let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
    let name = [text(&info["name"]), text(&info["version"])].join(" ");
    let name = name.trim();
    let name = if name.is_empty() { "it does not say its name" } else { name };
    format!("speaks {version} ({name}) and offers {offers}")
}

/// Foreign text: its beginning, without what terminals obey.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::console::recorder::Recorder;
    use crate::gateway::{Network, UpstreamName};

    fn http(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// What the doctor says of a server that gives these answers, and the requests that it saw.
    async fn examined(era: EraChoice, answers: &[String]) -> (String, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hunter2", listener.local_addr().unwrap());
        let named = Upstream::new(UpstreamName::parse("u").unwrap(), vec![url.parse().unwrap()]);
        let upstream =
            Upstream { era, private_networks: vec![Network::parse("127.0.0.1").unwrap()], ..named };
        let server = async {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap();
                request.truncate(length);
                requests.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            drop(listener);
            requests
        };
        let mut console = Recorder::default();
        let asking = async {
            check(&mut Report::new(&mut console), &vec![upstream.into()].into()).await;
        };
        let ((), requests) = tokio::join!(asking, server);
        assert!(!console.out.contains("hunter2"), "{}", console.out);
        (console.out, requests)
    }

    #[tokio::test]
    async fn a_modern_server_says_what_it_is() {
        let result = json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {}, "resources": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "files\n", "version": "1" } },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
        let answer = http("200 OK", "content-type: application/json\r\n", &body);
        let (text, requests) = examined(EraChoice::Auto, &[answer]).await;
        let expected = "speaks 2026-07-28 (files\\n 1) and offers tools, resources\n";
        assert!(
            text.starts_with("ok   upstream: u at 127.0.0.1:") && text.ends_with(expected),
            "{text}"
        );
        assert!(requests[0].contains("mcp-method: server/discover"), "{}", requests[0]);
    }

    #[tokio::test]
    async fn a_legacy_server_is_asked_again_and_its_session_is_ended() {
        let refusal = http("400 Bad Request", "", "no session");
        let result = json!({ "protocolVersion": "2025-06-18", "serverInfo": {}, "capabilities": { "prompts": {} } });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "result": result });
        let event = format!("event: message\ndata: {message}\n\n");
        let began =
            http("200 OK", "content-type: text/event-stream\r\nmcp-session-id: s1\r\n", &event);
        let ended = http("200 OK", "", "");
        let (text, requests) = examined(EraChoice::Auto, &[refusal, began, ended]).await;
        let expected = "speaks 2025-06-18 (it does not say its name) and offers prompts\n";
        assert!(text.starts_with("ok ") && text.ends_with(expected), "{text}");
        assert!(requests[2].starts_with("DELETE ") && requests[2].contains("mcp-session-id: s1"));
    }

    #[tokio::test]
    async fn what_is_not_well_has_a_mend() {
        let unknown =
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32022, "message": "no" } });
        for (era, answers, expected) in [
            (
                EraChoice::Auto,
                vec![http("401 Unauthorized", "", "")],
                "→ give it a credential: headers",
            ),
            (EraChoice::Modern, vec![http("404 Not Found", "", "")], "→ write era = \"auto\""),
            (
                EraChoice::Legacy,
                vec![http("200 OK", "", "<html>")],
                "is no MCP server → correct its url",
            ),
            (
                EraChoice::Auto,
                vec![http("400 Bad Request", "", &unknown.to_string())],
                "refuses 2026-07-28 (-32022: no)",
            ),
            (EraChoice::Auto, vec![], "→ start it, or correct its url"),
        ] {
            let (text, _) = examined(era, &answers).await;
            assert!(
                text.starts_with("FAIL upstream: u at ") && text.contains(expected),
                "{expected}: {text}"
            );
        }
    }
}
