//! From a request to the one who answers it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::MCP_PATH;
use super::discover::{OwnOffer, Standing};
use super::failure::{Failure, TurnedAway, fail, json_response, reject, turn_away};
use super::guard::Guard;
use super::handover::{self, Handover};
use super::identity::Credentials;
use super::limits::{Asked, Left, Limits, Refusal, Room};
use super::listen::Hub;
use super::observe::{Observation, Observer};
use super::proxies::Proxies;
use super::resources;
use super::tools::{Tool, Tools};
use super::upstream::{Known, Upstreams};
use crate::clock::Clock;
use crate::domain::ids::Principal;
use crate::domain::keyring::Keyring;
use crate::mcp::{
    Empty, Envelope, Identity, Incoming, Listed, LogLevel, Method, Rejection, RejectionKind, Reply,
    ServerCapabilities,
};
use crate::serve::{BodyError, Pace, Peer, RequestBody, need_not_come, read_body_into};
use crate::telemetry::{Outcome, TraceContext};

/// How long a client that asks what there is waits for upstreams that have not said it yet.
const INTRODUCTIONS: Duration = Duration::from_secs(1);
/// How fast a body arrives at least: the largest that is allowed by default has a minute.
const BODY_PACE: Pace = Pace {
    at_least: Duration::from_secs(10),
    bytes_per_second: NonZeroU32::new(64 * 1024),
    at_most: Duration::from_mins(1),
};

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
    pub standing: ArcSwap<Standing>,
    /// The tools.
    pub tools: Arc<Tools>,
    /// Who is told of changes.
    pub hub: Arc<Hub>,
    /// What Baton has of its own, as lists have it.
    pub own: OwnOffer,
    /// Other servers.
    pub upstreams: Arc<Upstreams>,
    /// Other replicas, for what waits there.
    pub handover: Handover,
    /// The keys that seal cursors.
    pub keys: Keyring,
    /// The time.
    pub clock: Clock,
    /// Who answers.
    pub identity: Identity,
    /// Calls that outlive their connection.
    pub calls: TaskTracker,
}

/// Who brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Its client.
    Client,
    /// A replica that could not answer it; so it has to be answered here, as well as can be.
    Replica,
}

impl From {
    /// The path of the listener that it came by. A request that was handed over has been counted by another replica.
    pub(super) const fn route(self) -> &'static str {
        match self {
            Self::Client => MCP_PATH,
            Self::Replica => handover::PATH,
        }
    }
}

impl Edge {
    /// A POST to the MCP endpoint.
    pub(super) fn post(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>> {
        let came = Instant::now();
        let (parts, body) = request.into_parts();
        async move {
            match self.admit(&parts, body).await {
                Ok((caller, body)) => {
                    self.read(came, parts.headers, caller, body, From::Client).await
                }
                Err(reason) => {
                    let response = turn_away(reason);
                    self.observer.turned_away(came, response.status(), None);
                    response
                }
            }
        }
    }

    /// Host, Origin, who asks, sizes: all that comes before MCP.
    async fn admit(
        &self,
        parts: &Parts,
        body: RequestBody,
    ) -> Result<(Principal, (Bytes, Room)), TurnedAway> {
        self.guard.admit(&parts.headers)?;
        let caller = match self.credentials.authenticate(&parts.headers) {
            Ok(caller) => caller,
            Err(refused) => {
                let connection = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
                let address = connection.map(|it| self.proxies.client(it, &parts.headers));
                self.limits.admit_guess(address)?;
                return Err(refused.into());
            }
        };
        if need_not_come(&parts.headers, &body, self.max_body_bytes) {
            return Err(TurnedAway::TooLarge(self.max_body_bytes));
        }
        let mut room = self.limits.room(caller.tenant_digest());
        let grow = |bytes| {
            let grown = room.grow_to(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.limits.counted(grown).is_ok()
        };
        let bytes = read_body_into(grow, body, self.max_body_bytes, BODY_PACE).await;
        let bytes = bytes.map_err(|error| match error {
            BodyError::TooLarge { max_bytes } => TurnedAway::TooLarge(max_bytes),
            BodyError::NoRoom => TurnedAway::NoRoom,
            BodyError::Slow { .. } => TurnedAway::Slow,
            BodyError::Broken(_) => TurnedAway::Broken,
        })?;
        Ok((caller, (bytes, room)))
    }

    /// What was asked, and by whom it is answered.
    pub(super) async fn read(
        &self,
        came: Instant,
        mut headers: HeaderMap,
        caller: Principal,
        (body, room): (Bytes, Room),
        from: From,
    ) -> Response<Body> {
        let envelope = match Envelope::parse(&headers, &body) {
            // What was read keeps the body; whoever works on it holds its room.
            Ok(Incoming::Request(envelope)) => Arc::new(envelope.keeping(room)),
            Ok(incoming @ (Incoming::Notification(_) | Incoming::Response)) => {
                // Boxed, like others here that are seldom: every request would carry room for it.
                let taking = self.take_in((came, from), (&headers, &body), &incoming, caller);
                return Box::pin(taking).await;
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
        let http = TraceContext::from_headers(&headers);
        let observation = Box::new(self.observer.watch((came, from), &envelope, http, tool));
        let (left, admitted) = match envelope.method() {
            // Never limited: a client that is refused one of these may be legacy for good, or gone.
            Method::Discover | Method::Initialize | Method::Ping => (Left::default(), Ok(())),
            method => {
                let name = envelope.name().filter(|_| method == Method::CallTool);
                let tool = tool.map(Tool::counted_as).or(name);
                self.count(from, &caller, Asked { method: Some(method), tool }).await
            }
        };
        let mut response = if let Err(refusal) = admitted {
            refuse(&refusal.into(), &envelope, *observation)
        } else if from == From::Client
            && let Some(replica) = self.upstreams.waits_elsewhere(&envelope, &caller)
        {
            let came = (&headers, body);
            Box::pin(self.hand_over(&replica, came, &envelope, caller, observation)).await
        } else {
            drop(body);
            // The answer's headers take the room of the request's, and hyper that of the answer's for the next request's.
            headers.clear();
            let mut response = self.dispatch(envelope, caller, tool, observation).await;
            headers.extend(std::mem::take(response.headers_mut()));
            *response.headers_mut() = headers;
            response
        };
        left.tell(response.headers_mut());
        response
    }

    /// Counts a request in the caller's rates. One that was handed over has been counted where it came.
    pub(super) async fn count(
        &self,
        from: From,
        caller: &Principal,
        asked: Asked<'_>,
    ) -> (Left<'_>, Result<(), Refusal>) {
        match from {
            From::Client => self.limits.admit(caller, asked).await,
            From::Replica => (Left::default(), Ok(())),
        }
    }

    /// Every method, and who answers it.
    async fn dispatch(
        &self,
        envelope: Arc<Envelope>,
        caller: Principal,
        tool: Option<Tool>,
        observation: Box<Observation>,
    ) -> Response<Body> {
        let (era, id, method) = (envelope.era(), envelope.id().clone(), envelope.method());
        let answer = match method {
            Method::Discover => Ok(self.introduced().await.discover().to(&id)),
            Method::Initialize => self.initialize(&envelope).await,
            Method::Ping => Ok(Reply::new(era, &self.identity, &Empty::default()).to(&id)),
            Method::ListTools => self.list(Listed::Tools, &envelope, &caller, &observation).await,
            Method::ListPrompts => {
                self.list(Listed::Prompts, &envelope, &caller, &observation).await
            }
            Method::ListResources => {
                self.list(Listed::Resources, &envelope, &caller, &observation).await
            }
            Method::ListResourceTemplates => {
                self.list(Listed::ResourceTemplates, &envelope, &caller, &observation).await
            }
            Method::ReadResource if envelope.name().is_some_and(resources::is_own) => {
                Box::pin(self.read_resource(&envelope, &caller, &observation)).await
            }
            Method::CallTool | Method::GetPrompt | Method::ReadResource | Method::Complete => {
                return match tool {
                    Some(tool) => self.call_own_tool(tool, envelope, caller, observation).await,
                    None => self.forward(envelope, caller, observation).await,
                };
            }
            Method::Subscribe | Method::Unsubscribe => {
                self.acknowledge_subscription(&envelope, &caller).await
            }
            Method::SetLogLevel => self.set_log_level(&envelope).await,
            Method::Listen => return Box::pin(self.listen(envelope, &caller, observation)).await,
            Method::GetTask | Method::UpdateTask | Method::CancelTask | Method::TaskResult => {
                return Box::pin(self.ask_of_task(envelope, caller, observation)).await;
            }
            Method::ListTasks => Err(not_served(&envelope).into()),
        };
        match answer {
            Ok(message) => {
                observation.end(Outcome::Done, StatusCode::OK);
                json_response(StatusCode::OK, message)
            }
            Err(failure) => refuse(&failure, &envelope, *observation),
        }
    }

    async fn initialize(&self, envelope: &Envelope) -> Result<Vec<u8>, Failure> {
        let asked = envelope.text_param("protocolVersion")?;
        Ok(self.introduced().await.initialize(asked.as_deref()).to(envelope.id()))
    }

    /// 2025-11-25 logging, "Setting Log Level". Without a session there is nothing to keep it in: upstreams are asked
    /// for what most of them send unasked, and their messages go to whoever takes a stream.
    async fn set_log_level(&self, envelope: &Envelope) -> Result<Vec<u8>, Failure> {
        let standing = self.standing_where(ServerCapabilities::has_logging).await;
        if !standing.capabilities().has_logging() {
            return Err(not_served(envelope).into());
        }
        let level = envelope.params().get("level").and_then(LogLevel::parse);
        if level.is_none() {
            let message = "params.level is not a log level";
            return Err(envelope.reject(RejectionKind::InvalidParams, message).into());
        }
        Ok(Reply::new(envelope.era(), &self.identity, &Empty::default()).to(envelope.id()))
    }

    /// The standing answers for a request that needs something of what is offered. Only where that is missing are
    /// upstreams waited for: nothing is refused because one of them has not been heard here yet.
    pub(super) async fn standing_where(
        &self,
        offers: impl FnOnce(&ServerCapabilities) -> bool,
    ) -> Arc<Standing> {
        let standing = self.standing();
        if offers(standing.capabilities()) { standing } else { self.introduced().await }
    }

    /// The standing answers for a client that learns from them what there is, so upstreams that were never heard of are
    /// waited for, a little.
    async fn introduced(&self) -> Arc<Standing> {
        if self.upstreams.said().iter().any(Option::is_none) {
            timeout(INTRODUCTIONS, self.upstreams.ask_all()).await.ok();
        }
        self.standing()
    }

    /// The answers that are the same for everyone, with all that upstreams have said of themselves by now.
    pub(super) fn standing(&self) -> Arc<Standing> {
        let standing = self.standing.load_full();
        let version = self.upstreams.version();
        if standing.version() == version {
            return standing;
        }
        let said: Vec<Arc<Known>> = self.upstreams.said().into_iter().flatten().collect();
        let standing = Arc::new(Standing::new(&self.identity, &self.own, &said, version));
        self.standing.store(Arc::clone(&standing));
        standing
    }
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
        Failure::Tool(_) | Failure::Upstream(_) => {
            unreachable!("what makes these answers through `reply`")
        }
    };
    observation.end(Outcome::Error(code.number()), response.status());
    response
}
