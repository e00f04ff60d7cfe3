//! `resources/*`: what Baton has of its own to read, which is the state of each environment.
//!
//! Who may use an environment may read its state: the URI carries the handle, and the answers to handles that are
//! unknown, foreign or expired are those of the tools.

use std::time::Duration;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::dispatch::{Edge, not_served, only_page, trace_headers};
use super::failure::Failure;
use super::observe::Observation;
use super::tools::{Tools, shown};
use crate::domain::ids::{EnvironmentId, Principal};
use crate::mcp::{
    CacheHint, Empty, Envelope, ListResult, Listed, ReadResource, RejectionKind, Reply,
};
use crate::rpc::client::TraceHeaders;

/// What the URI of an environment begins with; its handle follows.
const ENVIRONMENTS: &str = "baton://environments/";
/// What is told of an environment may be another thing at once.
const STALE: CacheHint = CacheHint::private(Duration::ZERO);

/// Which environment of this caller a URI names; `None` if it names none.
pub(super) fn named(tools: &Tools, uri: &str, caller: &Principal) -> Option<EnvironmentId> {
    tools.named(uri.strip_prefix(ENVIRONMENTS)?, caller).ok()
}

/// The templates of what Baton has to read (resources, "Resource Templates").
fn own_templates() -> Vec<Box<RawValue>> {
    vec![raw(&json!({
        "uriTemplate": format!("{ENVIRONMENTS}{{environmentId}}"),
        "name": "environment",
        "title": "State of an environment",
        "description": "What an environment is doing, when it was last used, and when it ends if nobody uses it.",
        "mimeType": "application/json",
    }))]
}

/// The caller's own environments as resources. The anonymous have none of their own.
async fn own_resources(
    tools: &Tools,
    caller: &Principal,
    trace: &TraceHeaders,
) -> Vec<Box<RawValue>> {
    let (environments, _) = tools.own_environments(caller, trace).await;
    let resource = |environment: &serde_json::Value| {
        let handle = environment["environmentId"].as_str().unwrap_or_default();
        let created = environment["createdAt"].as_str().unwrap_or_default();
        raw(&json!({
            "uri": format!("{ENVIRONMENTS}{handle}"),
            "name": handle,
            "title": format!("Environment of {created}"),
            "mimeType": "application/json",
        }))
    };
    environments.iter().map(resource).collect()
}

/// What Baton has to read under a URI; `None` if it is not one of its own.
async fn read_own(
    tools: &Tools,
    uri: &str,
    caller: &Principal,
    trace: &TraceHeaders,
) -> Option<Result<Box<RawValue>, Failure>> {
    let handle = uri.strip_prefix(ENVIRONMENTS)?;
    let environment = tools.environment(handle, caller, trace).await;
    Some(environment.map(|environment| {
        let text = environment.to_string();
        raw(&json!({"uri": uri, "mimeType": "application/json", "text": text}))
    }))
}

fn raw(item: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(item).expect("what was just made is JSON")
}

impl Edge {
    /// `resources/templates/list`.
    pub(super) fn list_templates(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Vec<u8>, Failure> {
        self.admit_resources(envelope, caller)?;
        only_page(envelope)?;
        let fresh = CacheHint::public(super::discover::FRESH_FOR);
        let list = ListResult::new(Listed::ResourceTemplates, own_templates(), fresh);
        Ok(Reply::new(envelope.era(), &self.identity, &list).to(envelope.id()))
    }

    /// `resources/list`: those that the caller could have from `listEnvironments`.
    pub(super) async fn list_resources(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        observation: &Observation,
    ) -> Result<Vec<u8>, Failure> {
        self.admit_resources(envelope, caller)?;
        only_page(envelope)?;
        let _slot = self.limits.slot(caller.tenant_digest()).await?;
        let span = observation.span().start_client(|| "worker list".to_owned());
        let resources = own_resources(&self.tools, caller, &trace_headers(&span)).await;
        span.end();
        let list = ListResult::new(Listed::Resources, resources, STALE);
        Ok(Reply::new(envelope.era(), &self.identity, &list).to(envelope.id()))
    }

    /// `resources/read`.
    pub(super) async fn read_resource(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        observation: &Observation,
    ) -> Result<Vec<u8>, Failure> {
        self.admit_resources(envelope, caller)?;
        let uri = envelope.name().unwrap_or_default();
        let _slot = self.limits.slot(caller.tenant_digest()).await?;
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
    pub(super) fn acknowledge_subscription(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Vec<u8>, Failure> {
        self.admit_resources(envelope, caller)?;
        let uri = envelope.name().unwrap_or_default();
        let Some(handle) = uri.strip_prefix(ENVIRONMENTS) else {
            return Err(missing(envelope, unknown(uri)));
        };
        match self.tools.named(handle, caller) {
            Ok(_) => {
                Ok(Reply::new(envelope.era(), &self.identity, &Empty::default()).to(envelope.id()))
            }
            Err(error) => Err(missing_for(envelope, error.into())),
        }
    }

    fn admit_resources(&self, envelope: &Envelope, caller: &Principal) -> Result<(), Failure> {
        if !self.tools.choice.environments {
            return Err(not_served(envelope).into());
        }
        let tenant = caller.tenant_digest();
        self.limits.admit_tenant(tenant)?;
        Ok(self.limits.admit_method(tenant, envelope.method())?)
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
fn missing(envelope: &Envelope, message: String) -> Failure {
    let uri = envelope.name().unwrap_or_default();
    let rejection = envelope.reject(RejectionKind::InvalidParams, message);
    rejection.with_data(json!({"uri": uri})).into()
}

fn unknown(uri: &str) -> String {
    format!("There is no resource {}.", shown(uri, 128))
}
