//! `resources/*`: what Baton has of its own to read, which is the state of each environment.
//!
//! Who may use an environment may read its state: the URI carries the handle, and the answers to handles that are
//! unknown, foreign or expired are those of the tools.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::dispatch::Edge;
use super::failure::Failure;
use super::limits::Class;
use super::lists::{FRESH_FOR, Own, OwnItem};
use super::observe::Observation;
use super::outgoing::trace_headers;
use super::tools::{Tools, shown};
use crate::domain::ids::{EnvironmentId, Principal};
use crate::mcp::{CacheHint, Empty, Envelope, JsonBuf, ReadResource, RejectionKind, Reply};
use crate::rpc::client::TraceHeaders;

/// What the URI of an environment begins with; its handle follows.
const ENVIRONMENTS: &str = "baton://environments/";
/// What is told of an environment may be another thing at once.
const STALE: CacheHint = CacheHint::private(Duration::ZERO);

/// Which environment of this caller a URI names; `None` if it names none.
pub(super) fn named(tools: &Tools, uri: &str, caller: &Principal) -> Option<EnvironmentId> {
    tools.named(handle_in(tools, uri)?, caller).ok()
}

/// Whether a URI is one of Baton's own, whoever's it is: it goes to no upstream, for it has a handle in it, also where
/// no environments are served any more.
pub(super) fn is_own(uri: &str) -> bool {
    uri.starts_with(ENVIRONMENTS)
}

/// The handle in a URI of Baton's own; `None` where no environments are served.
fn handle_in<'a>(tools: &Tools, uri: &'a str) -> Option<&'a str> {
    uri.strip_prefix(ENVIRONMENTS).filter(|_| tools.choice.environments)
}

/// What Baton has to read under a URI; `None` if it is not one of its own.
async fn read_own(
    tools: &Tools,
    uri: &str,
    caller: &Principal,
    trace: &TraceHeaders,
) -> Option<Result<JsonBuf, Failure>> {
    let handle = handle_in(tools, uri)?;
    let environment = tools.environment(handle, caller, trace).await;
    Some(environment.map(|environment| {
        let text = environment.to_string();
        JsonBuf::of(&json!({"uri": uri, "mimeType": "application/json", "text": text}))
    }))
}

impl Edge {
    /// The templates of what Baton has to read (resources, "Resource Templates").
    pub(super) fn own_templates(&self) -> Own {
        if !self.tools.choice.environments {
            return Own::default();
        }
        let template = format!("{ENVIRONMENTS}{{environmentId}}");
        let definition = JsonBuf::of(&json!({
            "uriTemplate": template,
            "name": "environment",
            "title": "State of an environment",
            "description": "What an environment is doing, when it was last used, and when it ends if nobody uses it.",
            "mimeType": "application/json",
        }));
        let items = Arc::new([OwnItem { key: template, definition }]);
        Own { items, fresh_for: FRESH_FOR, private: false }
    }

    /// The caller's own environments as resources: those of `listEnvironments`. The anonymous have none of their own.
    pub(super) async fn own_resources(&self, caller: &Principal, observation: &Observation) -> Own {
        if !self.tools.choice.environments {
            return Own::default();
        }
        let span = observation.span().start_client(|| "worker list".to_owned());
        let (environments, _) = self.tools.own_environments(caller, &trace_headers(&span)).await;
        span.end();
        let resource = |environment: &serde_json::Value| {
            let handle = environment["environmentId"].as_str().unwrap_or_default();
            let created = environment["createdAt"].as_str().unwrap_or_default();
            let key = format!("{ENVIRONMENTS}{handle}");
            let definition = JsonBuf::of(&json!({
                "uri": key,
                "name": handle,
                "title": format!("Environment of {created}"),
                "mimeType": "application/json",
            }));
            OwnItem { key, definition }
        };
        let items = environments.iter().map(resource).collect();
        Own { items, fresh_for: Duration::ZERO, private: true }
    }

    /// `resources/read`.
    pub(super) async fn read_resource(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        observation: &Observation,
    ) -> Result<Vec<u8>, Failure> {
        let uri = envelope.name().unwrap_or_default();
        let _slot = self.limits.slot(Class::Execute, caller.tenant_digest()).await?;
        let span = observation.span().start_client(|| "worker list".to_owned());
        let read = read_own(&self.tools, uri, caller, &trace_headers(&span)).await;
        span.end();
        match read {
            Some(Ok(content)) => {
                let result = ReadResource::new(vec![content], STALE);
                Ok(Reply::new(envelope.era(), &self.identity, &result).to(envelope.id()))
            }
            Some(Err(failure)) => Err(missing_for(envelope, failure)),
            None => Err(missing(envelope, unknown(uri))),
        }
    }

    /// `resources/subscribe` and `resources/unsubscribe` of the legacy era: acknowledged for what there is. Without a
    /// session there is no stream on which anything would follow.
    pub(super) async fn acknowledge_subscription(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Vec<u8>, Failure> {
        let uri = envelope.name().unwrap_or_default();
        if let Some(handle) = handle_in(&self.tools, uri) {
            let named = self.tools.named(handle, caller);
            named.map_err(|error| missing_for(envelope, error.into()))?;
            return Ok(
                Reply::new(envelope.era(), &self.identity, &Empty::default()).to(envelope.id())
            );
        }
        let _slot = self.limits.slot(Class::List, caller.tenant_digest()).await?;
        if !self.upstreams.has_resource(uri, caller).await {
            return Err(missing(envelope, unknown(uri)));
        }
        Ok(Reply::new(envelope.era(), &self.identity, &Empty::default()).to(envelope.id()))
    }
}

/// What a tool says of a handle is a wrong param here.
fn missing_for(envelope: &Envelope, failure: Failure) -> Failure {
    match failure {
        Failure::Tool(error) => missing(envelope, error.text().to_owned()),
        other => other,
    }
}

/// resources, "Error Handling": a resource that is not there is -32602, with its URI.
pub(super) fn missing(envelope: &Envelope, message: String) -> Failure {
    let uri = envelope.name().unwrap_or_default();
    let rejection = envelope.reject(RejectionKind::InvalidParams, message);
    rejection.with_data(json!({"uri": uri})).into()
}

pub(super) fn unknown(uri: &str) -> String {
    format!("There is no resource {}.", shown(uri, 128))
}
