//! A request that needs something from its client first (mrtr, "`InputRequiredResult`").
//!
//! An upstream's own such result is passed on as it is but for its `requestState`. What is written here is made of the
//! requests that an upstream of the legacy era sends to its client.

use serde::Serialize;
use serde::ser::SerializeMap;

use super::client::ClientCapabilities;
use super::era::Era;
use super::json::{Json, JsonBuf};
use super::object::Object;
use super::reply::{Identity, ResultBody};
use super::result_type::ResultType;

/// An upstream that wants more at once is refused.
const MAX_REQUESTS: usize = 64;

/// What a server may ask of a client (mrtr, "`InputRequests`"); nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Elicitation,
    Sampling,
    Roots,
}

/// One thing that a client is asked for, its params as they came.
#[derive(Debug, Clone)]
pub struct InputRequest {
    asked: Asked,
    params: Option<JsonBuf>,
}

/// Why an upstream's result asks for no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInputRequired {
    #[error(
        "inputRequests is not an object of at most {MAX_REQUESTS} requests that a client may be sent"
    )]
    Requests,
    #[error("requestState is not a string")]
    State,
    #[error("it has neither inputRequests nor requestState")]
    Empty,
}

/// The result that ends a request for now: its client is to bring what is asked for, and to ask again.
#[derive(Debug, Clone, Default)]
pub struct InputRequired {
    requests: Vec<(String, InputRequest)>,
    state: Option<String>,
}

impl Asked {
    const ALL: [Self; 3] = [Self::Elicitation, Self::Sampling, Self::Roots];

    fn method(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }
}

impl InputRequest {
    /// `None` if a client may not be asked this.
    pub fn new(method: &str, params: Option<Json<'_>>) -> Option<Self> {
        let asked = Asked::ALL.into_iter().find(|asked| asked.method() == method)?;
        // A copy: it is held while a client makes up its mind.
        Some(Self { asked, params: params.map(Json::to_buf) })
    }

    /// The method's name on the wire.
    pub fn method(&self) -> &'static str {
        self.asked.method()
    }

    /// Its params, as they came.
    pub fn params(&self) -> Option<Json<'_>> {
        self.params.as_ref().map(JsonBuf::json)
    }

    /// May this client be asked? MUST NOT otherwise (mrtr, "Server Requirements" 7).
    pub fn is_declared(&self, client: &ClientCapabilities) -> bool {
        let has = |key| self.param(key).is_some_and(|param| !param.is_null());
        match self.asked {
            Asked::Elicitation => {
                // elicitation, "Capabilities": nothing named is the form.
                let is_url = self.param("mode").and_then(Json::string).as_deref() == Some("url");
                let [form, url] =
                    ["form", "url"].map(|mode| client.declares_part("elicitation", mode));
                client.declares("elicitation") && if is_url { url } else { form || !url }
            }
            // sampling, "Capabilities".
            Asked::Sampling if has("tools") || has("toolChoice") => {
                client.declares_part("sampling", "tools")
            }
            Asked::Sampling => client.declares("sampling"),
            Asked::Roots => client.declares("roots"),
        }
    }

    fn read(raw: Json<'_>) -> Option<Self> {
        let request = Object::read(raw)?;
        let params = request.get("params").filter(|params| !params.is_null());
        if params.is_some_and(|params| !params.is_object()) {
            return None;
        }
        Self::new(&request.text("method")?, params)
    }

    fn param(&self, key: &str) -> Option<Json<'_>> {
        self.params.as_ref().map(JsonBuf::json).and_then(|params| params.member(key))
    }
}

impl InputRequired {
    /// Asks for one thing, under a key that the client repeats with its answer.
    pub fn asking(key: &str, request: InputRequest) -> Self {
        Self { requests: vec![(key.to_owned(), request)], state: None }
    }

    /// Asks for another thing, under another key.
    #[must_use]
    pub fn and_asking(mut self, key: &str, request: InputRequest) -> Self {
        self.requests.push((key.to_owned(), request));
        self
    }

    /// What the client is to hand back untouched. Seal it: it comes back from a stranger ("Server Requirements" 4).
    #[must_use]
    pub fn with_state(self, state: String) -> Self {
        Self { state: Some(state), ..self }
    }

    /// What an upstream's result asks for, to be judged; it is the result itself that is passed on.
    pub fn read(result: &Object<'_>) -> Result<Self, NotInputRequired> {
        let requests = result.get("inputRequests").map(requests).transpose()?;
        let state = result.get("requestState");
        let state = state.map(|state| state.string().ok_or(NotInputRequired::State));
        let state = state.transpose()?.map(String::from);
        // "Server Requirements" 6: at least one of both.
        if requests.is_none() && state.is_none() {
            return Err(NotInputRequired::Empty);
        }
        Ok(Self { requests: requests.unwrap_or_default(), state })
    }

    /// What is asked for, each by its key.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &InputRequest)> {
        self.requests.iter().map(|(key, request)| (key.as_str(), request))
    }

    /// What the client is to hand back.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

fn requests(raw: Json<'_>) -> Result<Vec<(String, InputRequest)>, NotInputRequired> {
    let map = Object::read(raw).ok_or(NotInputRequired::Requests)?;
    let read = |(key, raw): (&str, Json<'_>)| Some((key.to_owned(), InputRequest::read(raw)?));
    let requests: Option<Vec<_>> = map.iter().take(MAX_REQUESTS + 1).map(read).collect();
    requests.filter(|requests| requests.len() <= MAX_REQUESTS).ok_or(NotInputRequired::Requests)
}

impl ResultBody for InputRequired {
    fn write<M: SerializeMap>(&self, _: Era, _: &Identity, result: &mut M) -> Result<(), M::Error> {
        if !self.requests.is_empty() {
            result.serialize_entry("inputRequests", &Requests(&self.requests))?;
        }
        match &self.state {
            Some(state) => result.serialize_entry("requestState", state),
            None => Ok(()),
        }
    }

    fn result_type(&self) -> ResultType {
        ResultType::InputRequired
    }
}

struct Requests<'a>(&'a [(String, InputRequest)]);

impl Serialize for Requests<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, request)| (key, request)))
    }
}

impl Serialize for InputRequest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("method", self.method())?;
        if let Some(params) = &self.params {
            members.serialize_entry("params", params)?;
        }
        members.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::json::Json;
    use crate::mcp::{Reply, RequestId};

    fn raw(text: &str) -> JsonBuf {
        JsonBuf::parse(text).unwrap()
    }

    fn client(capabilities: &str) -> ClientCapabilities {
        ClientCapabilities::read(Some(Json::checked(capabilities))).unwrap()
    }

    fn request(method: &str, params: &str) -> InputRequest {
        InputRequest::new(method, Some(Json::checked(params))).unwrap()
    }

    fn read(result: &str) -> Result<InputRequired, NotInputRequired> {
        InputRequired::read(&Object::read(&raw(result)).unwrap())
    }

    // mrtr, "InputRequiredResult".
    #[test]
    fn it_is_written_with_its_requests_and_its_state() {
        let result =
            InputRequired::asking("a", request("elicitation/create", r#"{"message": "?"}"#))
                .and_asking("b", InputRequest::new("roots/list", None).unwrap())
                .with_state("bts_x".to_owned());
        let identity = Identity::new("baton", "1", "r1");
        let sent = Reply::new(Era::Modern, &identity, &result).to(&RequestId::from(1));
        let sent = String::from_utf8(sent).unwrap();
        let members = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message": "?"}},"b":{"method":"roots/list"}},"requestState":"bts_x","_meta":{"#;
        assert!(sent.contains(members), "{sent}");
    }

    #[test]
    fn what_an_upstream_asks_is_read() {
        let asked = read(r#"{"inputRequests":{"a":{"method":"roots/list","x":1},"b":{"method":"sampling/createMessage","params":{}}},"requestState":"\u0061","x":1}"#).unwrap();
        let methods: Vec<_> = asked.requests().map(|(key, it)| (key, it.method())).collect();
        assert_eq!(methods, [("a", "roots/list"), ("b", "sampling/createMessage")]);
        assert_eq!(asked.state(), Some("a"));
        assert_eq!(read(r#"{"requestState":""}"#).unwrap().state(), Some(""));
    }

    #[test]
    fn what_asks_for_nothing_a_client_may_be_asked_is_refused() {
        use NotInputRequired::{Empty, Requests, State};
        let many: Vec<_> =
            (0..=MAX_REQUESTS).map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#)).collect();
        let many = format!(r#"{{"inputRequests":{{{}}}}}"#, many.join(","));
        for (result, fault) in [
            ("{}", Empty),
            (r#"{"requestState":null}"#, State),
            (r#"{"inputRequests":[]}"#, Requests),
            (r#"{"inputRequests":{"a":{"method":"ping"}}}"#, Requests),
            (r#"{"inputRequests":{"a":{"method":"roots/list","params":[]}}}"#, Requests),
            (r#"{"inputRequests":{"a":7}}"#, Requests),
            (&many, Requests),
        ] {
            assert_eq!(read(result).err(), Some(fault), "{result}");
        }
    }

    fn declared(method: &str, params: &str, capabilities: &str) -> bool {
        request(method, params).is_declared(&client(capabilities))
    }

    // mrtr, "Server Requirements" 7; elicitation, "Capabilities"; sampling, "Capabilities".
    #[test]
    fn a_client_is_asked_only_what_it_declared() {
        let elicit = |params, capabilities| declared("elicitation/create", params, capabilities);
        assert!(elicit("{}", r#"{"elicitation":{}}"#));
        assert!(elicit(r#"{"mode":"form"}"#, r#"{"elicitation":{"form":{},"url":{}}}"#));
        assert!(elicit(r#"{"mode":"url"}"#, r#"{"elicitation":{"url":{}}}"#));
        assert!(!elicit(r#"{"mode":"url"}"#, r#"{"elicitation":{}}"#));
        assert!(!elicit("{}", r#"{"elicitation":{"url":{}}}"#));
        assert!(!elicit("{}", r#"{"sampling":{}}"#));
        let sample =
            |params, capabilities| declared("sampling/createMessage", params, capabilities);
        assert!(sample(r#"{"tools":null}"#, r#"{"sampling":{}}"#));
        assert!(sample(r#"{"tools":[]}"#, r#"{"sampling":{"tools":{}}}"#));
        assert!(!sample(r#"{"toolChoice":{}}"#, r#"{"sampling":{}}"#));
        assert!(declared("roots/list", "{}", r#"{"roots":{}}"#));
        assert!(!declared("roots/list", "{}", "{}"));
        assert!(InputRequest::new("ping", None).is_none());
    }
}
