//! From a request to the one who answers it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use tokio_util::task::TaskTracker;

use super::discover::Standing;
use super::failure::{Failure, TurnedAway, accepted, fail, json_response, reject, turn_away};
use super::feed;
use super::guard::Guard;
use super::identity::Credentials;
use super::limits::{Limits, Slot};
use super::listen::Hub;
use super::observe::{self, Observation, Observer};
use super::proxies::Proxies;
use super::reply::{self, Asker, Work};
use super::tools::{Call, Tool, ToolAnswer, Tools, shown};
use crate::domain::ids::Principal;
use crate::mcp::{
    Empty, Envelope, Era, Identity, Incoming, Method, Rejection, RejectionKind, Reply,
};
use crate::rpc::client::TraceHeaders;
use crate::serve::{BodyError, Peer, read_body};
use crate::telemetry::{Outcome, Span, TraceContext};

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Everything a request meets on its way, in the order in which it does.
#[derive(Debug)]
pub(super) struct Edge {
    /// Hosts and origins.
    pub guard: Guard,
    /// Whose address counts.
    pub(super) proxies: Proxies,
    /// Bytes of a body.
    pub max_body_bytes: usize,
    /// Who asks.
    pub credentials: Credentials,
    /// How much of it.
    pub limits: Limits,
    /// What is seen of it.
    pub observer: Observer,
    /// The answers that are the same for everyone.
    pub standing: Standing,
    /// The tools.
    pub tools: Arc<Tools>,
    /// Who is told of changes.
    pub hub: Arc<Hub>,
    /// Who answers.
    pub identity: Identity,
    /// Calls that outlive their connection.
    pub calls: TaskTracker,
}

impl Edge {
    /// A POST to the MCP endpoint.
    pub(super) async fn post(&self, request: Request<Body>) -> Response<Body> {
        let came = Instant::now();
        let (parts, body) = request.into_parts();
        match self.admit(&parts, body).await {
            Ok((caller, body)) => self.read(came, &parts, caller, &body).await,
            Err(reason) => {
                let response = turn_away(reason);
                self.observer.turned_away(came, response.status(), None);
                response
            }
        }
    }

    /// Host, Origin, who asks, sizes: all that comes before MCP.
    async fn admit(
        &self,
        parts: &Parts,
        body: Body,
    ) -> Result<(Principal, bytes::Bytes), TurnedAway> {
        self.guard.admit(&parts.headers)?;
        let caller = match self.credentials.authenticate(&parts.headers) {
            Ok(caller) => caller,
            Err(refused) => {
                let connection = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
                let address = connection.map(|it| self.proxies.client(it, &parts.headers));
                self.limits.admit_guess(address).map_err(|_| TurnedAway::Guessing)?;
                return Err(refused.into());
            }
        };
        let body = read_body(body, self.max_body_bytes, BODY_DEADLINE).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge { max_bytes } => TurnedAway::TooLarge(max_bytes),
            BodyError::Slow { .. } => TurnedAway::Slow,
            BodyError::Broken(_) => TurnedAway::Broken,
        })?;
        Ok((caller, body))
    }

    async fn read(
        &self,
        came: Instant,
        parts: &Parts,
        caller: Principal,
        body: &[u8],
    ) -> Response<Body> {
        let envelope = match Envelope::parse(&parts.headers, body) {
            Ok(Incoming::Request(envelope)) => envelope,
            Ok(Incoming::Notification(_) | Incoming::Response) => {
                self.observer.turned_away(came, StatusCode::ACCEPTED, None);
                return accepted();
            }
            Err(rejection) => {
                let response = reject(&rejection);
                self.observer.turned_away(came, response.status(), Some(rejection.code()));
                return response;
            }
        };
        let tool = match envelope.method() {
            Method::CallTool => envelope.name().and_then(|name| self.tools.find(name)),
            _ => None,
        };
        let http = TraceContext::from_headers(&parts.headers);
        let observation = self.observer.watch(came, &envelope, http, tool);
        self.dispatch(envelope, caller, tool, observation).await
    }

    /// Every method, and who answers it.
    async fn dispatch(
        &self,
        envelope: Envelope,
        caller: Principal,
        tool: Option<Tool>,
        observation: Observation,
    ) -> Response<Body> {
        let (era, id, method) = (envelope.era(), envelope.id().clone(), envelope.method());
        let answer = match method {
            // Never limited: a client that is refused one of these may be legacy for good, or gone.
            Method::Discover => Ok(self.standing.discover().to(&id)),
            Method::Initialize => self.initialize(&envelope),
            Method::Ping => Ok(Reply::new(era, &self.identity, &Empty::default()).to(&id)),
            Method::ListTools => self.list_tools(&envelope, &caller),
            Method::CallTool => return self.call_tool(envelope, caller, tool, observation).await,
            Method::ListResources => self.list_resources(&envelope, &caller, &observation).await,
            Method::ListResourceTemplates => self.list_templates(&envelope, &caller),
            Method::ReadResource => self.read_resource(&envelope, &caller, &observation).await,
            Method::Subscribe | Method::Unsubscribe => {
                self.acknowledge_subscription(&envelope, &caller)
            }
            Method::Listen => return self.listen(&envelope, &caller, observation),
            Method::ListPrompts
            | Method::GetPrompt
            | Method::Complete
            | Method::GetTask
            | Method::UpdateTask
            | Method::CancelTask
            | Method::TaskResult
            | Method::ListTasks
            | Method::SetLogLevel => Err(not_served(&envelope).into()),
        };
        match answer {
            Ok(message) => {
                observation.end(Outcome::Done, StatusCode::OK);
                json_response(StatusCode::OK, message)
            }
            Err(failure) => refuse(&failure, &envelope, observation),
        }
    }

    fn initialize(&self, envelope: &Envelope) -> Result<Vec<u8>, Failure> {
        let asked = envelope.text_param("protocolVersion")?;
        Ok(self.standing.initialize(asked.as_deref()).to(envelope.id()))
    }

    fn list_tools(&self, envelope: &Envelope, caller: &Principal) -> Result<Vec<u8>, Failure> {
        let tenant = caller.tenant_digest();
        self.limits.admit_tenant(tenant)?;
        self.limits.admit_method(tenant, envelope.method())?;
        only_page(envelope)?;
        Ok(self.standing.tools(envelope.era()).to(envelope.id()))
    }

    /// `tools/call`: which tool, may they now, do it; the answer is JSON or a stream.
    async fn call_tool(
        &self,
        envelope: Envelope,
        caller: Principal,
        tool: Option<Tool>,
        observation: Observation,
    ) -> Response<Body> {
        let Some(tool) = tool else {
            let name = envelope.name().unwrap_or_default();
            let message = format!("Unknown tool: {}", shown(name, 128));
            let failure = envelope.reject(RejectionKind::InvalidParams, message).into();
            return refuse(&failure, &envelope, observation);
        };
        let slot = match self.admit_call(&caller, tool).await {
            Ok(slot) => slot,
            Err(failure) => return refuse(&failure, &envelope, observation),
        };
        let asker = Asker {
            era: envelope.era(),
            id: envelope.id().clone(),
            accepts_sse: envelope.accepts_sse(),
        };
        let (feed, events) = feed::feed(envelope.meta().progress_token(), asker.accepts_sse);
        let span = worker_span(observation.span(), tool);
        let arguments = envelope.arguments().map(ToOwned::to_owned);
        let call = Call { caller, arguments, feed, trace: trace_headers(&span) };
        let tools = Arc::clone(&self.tools);
        let work = async move {
            let result = tools.call(tool, &call).await;
            end_client_span(span, &result);
            drop(slot);
            result
        };
        let work: Work = match asker.era {
            // streamable-http, "Cancellation": when the client leaves, the work is dropped with its future.
            Era::Modern => Box::pin(work),
            // There a disconnect is no cancel: the call runs to its end.
            Era::Legacy(_) => {
                let running = self.calls.spawn(work);
                Box::pin(async move { running.await.unwrap_or_else(|_| Err(reply::broken())) })
            }
        };
        reply::answer(asker, self.identity.clone(), work, events, observation).await
    }

    async fn admit_call(&self, caller: &Principal, tool: Tool) -> Result<Slot, Failure> {
        let tenant = caller.tenant_digest();
        self.limits.admit_tenant(tenant)?;
        self.limits.admit_method(tenant, Method::CallTool)?;
        self.limits.admit_tool(tenant, tool)?;
        Ok(self.limits.slot(tenant).await?)
    }
}

/// pagination, "Error Handling": an invalid cursor is -32602. There is one page, so none is valid.
pub(super) fn only_page(envelope: &Envelope) -> Result<(), Failure> {
    if envelope.text_param("cursor")?.is_some() {
        let message = "there is no such cursor: the list has one page";
        return Err(envelope.reject(RejectionKind::InvalidParams, message).into());
    }
    Ok(())
}

/// The refusal of a method that nobody here answers.
pub(super) fn not_served(envelope: &Envelope) -> Rejection {
    let message = format!("{} is not served here", envelope.method().as_str());
    envelope.reject(RejectionKind::MethodNotFound, message)
}

/// The response of a request that was refused before any work.
pub(super) fn refuse(
    failure: &Failure,
    envelope: &Envelope,
    observation: Observation,
) -> Response<Body> {
    let (response, code) = match failure {
        Failure::Rejected(rejection) => (reject(rejection), rejection.code()),
        Failure::Fault(fault) => (fail(fault, envelope.era(), envelope.id()), fault.code()),
        Failure::Tool(_) => {
            unreachable!("only tools make tool errors, and they answer through `reply`")
        }
    };
    observation.end(Outcome::Error(code.number()), response.status());
    response
}

/// The span of the calls to workers that a tool makes; the samples make none.
fn worker_span(served: &Span, tool: Tool) -> Span {
    if tool.is_sample() {
        return Span::none();
    }
    served.start_client(|| format!("worker {}", tool.name()))
}

/// What the next hop is told of a span.
pub(super) fn trace_headers(span: &Span) -> TraceHeaders {
    let Some(context) = span.context() else { return TraceHeaders::default() };
    TraceHeaders {
        traceparent: context.traceparent(),
        tracestate: context.tracestate().map(str::to_owned),
        baggage: context.baggage().map(str::to_owned),
    }
}

fn end_client_span(mut span: Span, result: &Result<ToolAnswer, Failure>) {
    if let Some(error) = observe::outcome(result).error_type() {
        span.fail(&error);
    }
    span.end();
}
