//! Cross-origin resource sharing: tells browsers what pages of an allowed origin may send and read (Fetch standard,
//! "CORS protocol").
//!
//! It grants nothing: [`super::guard`] decides who is served, and a foreign origin gets its 403 without a word from here.
//! Browsers' own credentials (cookies, client certificates) mean nothing to Baton, so they are never asked for; the
//! header of "Private Network Access" is not sent, for browsers now ask the user instead of the server.

use std::time::Duration;

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::guard::Guard;

/// What a page may send: all that MCP clients of any era do, credentials, and what links a request to a trace.
const SENT: [&str; 13] = [
    "content-type",
    "accept",
    "authorization",
    super::identity::PLATFORM_KEY_HEADER,
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "mcp-session-id",
    "last-event-id",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "baggage",
];
/// The protocol's own headers begin so; `Mcp-Param-*` has as many names as tools have parameters.
const PROTOCOL: &str = "mcp-";
/// What a page may read beside what every page may.
const READ: [&str; 5] =
    ["baton-replica", "ratelimit", "ratelimit-policy", "retry-after", "www-authenticate"];
/// GET and DELETE only meet a 405, but clients of the older revisions know what that means, and nothing of a network error.
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, DELETE");
/// Requested names that are looked at; no request may have more headers.
const MAX_REQUESTED: usize = 64;

/// What pages of allowed origins may do beside what every MCP client needs.
#[derive(Clone, Debug)]
pub struct CorsPolicy {
    /// More headers that they may send.
    pub allowed_headers: Vec<HeaderName>,
    /// More headers that they may read.
    pub exposed_headers: Vec<HeaderName>,
    /// How long browsers may keep the answer to a preflight.
    pub max_age: Duration,
}

impl Default for CorsPolicy {
    fn default() -> Self {
        let max_age = Duration::from_hours(2);
        Self { allowed_headers: Vec::new(), exposed_headers: Vec::new(), max_age }
    }
}

/// The policy for the origins that a guard allows by name, rendered once.
#[derive(Debug)]
pub(super) struct Cors {
    guard: Guard,
    sent: String,
    read: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Absent where no origin is allowed by name, and so no browser is to be told anything.
    pub(super) fn new(guard: &Guard, policy: &CorsPolicy) -> Option<Self> {
        let more = |names: &[HeaderName]| -> String {
            names.iter().flat_map(|name| [", ", name.as_str()]).collect()
        };
        let read = READ.join(", ") + &more(&policy.exposed_headers);
        guard.names_origins().then(|| Self {
            guard: guard.clone(),
            sent: SENT.join(", ") + &more(&policy.allowed_headers),
            read: HeaderValue::try_from(read).expect("header names are header values"),
            max_age: policy.max_age.as_secs().into(),
        })
    }

    /// The one origin of a request, if it is allowed by name.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.guard.named_origin(headers).cloned()
    }

    /// The answer to a request that only asks what an allowed origin may do.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let headers = request.headers();
        let is_meant = self.is_admitted_preflight(request);
        (is_meant && self.guard.named_origin(headers).is_some()).then(|| self.permission(headers))
    }

    /// Adds what a browser must read to an answer.
    pub(super) fn tell(&self, origin: Option<HeaderValue>, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.read.clone());
        }
    }

    /// Fetch standard, "CORS protocol": an OPTIONS that says which method is meant. The `Host` of one is held to the
    /// same rules as any other's.
    fn is_admitted_preflight<B>(&self, request: &Request<B>) -> bool {
        request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.guard.admit(request.headers()).is_ok()
    }

    /// Before any credential is asked for: browsers send none with a preflight.
    fn permission(&self, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        for name in [ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
            answer.append(VARY, name.into());
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.allowed(headers));
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        response
    }

    /// All that may be sent, so that one preflight serves for every request, and of what is asked for the protocol's
    /// own: a `*` would not cover `Authorization`, and no list covers `Mcp-Param-*`.
    fn allowed(&self, headers: &HeaderMap) -> HeaderValue {
        let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS);
        let asked = asked.iter().filter_map(|value| value.to_str().ok());
        let names = asked.flat_map(|value| value.split(',')).take(MAX_REQUESTED);
        let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
        let more = names
            .filter(|name| name.as_str().starts_with(PROTOCOL) && !SENT.contains(&name.as_str()));
        let mut all = self.sent.clone();
        more.for_each(|name| all.extend([", ", name.as_str()]));
        HeaderValue::try_from(all).expect("header names are header values")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Option<Cors> {
        let origins: Vec<String> = origins.iter().map(|it| (*it).to_owned()).collect();
        let guard = Guard::new("127.0.0.1:1".parse().unwrap(), &[], &origins);
        let policy = CorsPolicy {
            allowed_headers: vec![HeaderName::from_static("x-tenant")],
            ..CorsPolicy::default()
        };
        Cors::new(&guard, &policy)
    }

    fn allowed(asked: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(asked));
        let answer = cors(&["https://app.example"]).unwrap().allowed(&headers);
        answer.to_str().unwrap().to_owned()
    }

    #[test]
    fn browsers_are_told_nothing_where_no_origin_is_named() {
        assert!(cors(&[]).is_none());
    }

    #[test]
    fn what_is_asked_for_is_allowed_if_it_is_the_protocols() {
        let usual = allowed("content-type");
        assert_eq!(usual, format!("{}, x-tenant", SENT.join(", ")));
        for (asked, more) in [
            ("mcp-param-region,Mcp-Param-City", ", mcp-param-region, mcp-param-city"),
            ("mcp-name, x-secret, mcp-new", ", mcp-new"),
            ("", ""),
            ("*", ""),
            ("mcp-a b, mcp-a:, mcp-new, mcp-name", ", mcp-new"),
        ] {
            assert_eq!(allowed(asked).strip_prefix(&usual), Some(more), "{asked}");
        }
    }

    #[test]
    fn so_many_names_are_looked_at_and_no_more() {
        let asked: Vec<String> = (0..1000).map(|number| format!("mcp-param-{number}")).collect();
        let allowed = allowed(asked.join(",").leak());
        assert!(allowed.ends_with(", mcp-param-63"), "{allowed}");
    }
}
