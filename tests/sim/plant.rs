//! A worker with a bug: a wrapper around the real one's rpc that has its key, and does to calls what the bug would.
//! A simulation that finds nothing proves something only if it finds these.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton::clock::Clock;
use baton::domain::ids::EnvironmentId;
use baton::domain::keyring::WorkerKey;
use baton::rpc::auth::Link;
use baton::rpc::client::{Execution, Peer, TraceHeaders, WorkerClient, WorkerError};
use baton::rpc::door::{Admitted, Door};
use baton::rpc::frames::Encoder;
use baton::rpc::keyed::{EXECUTE_KEYED, KeyedRequest};
use baton::rpc::reply;
use baton::rpc::wire::{
    CANCEL, CLOSE, CREATE, EXECUTE, ExecuteRequest, FIND, FindReply, FindRequest, Frame, Job, LIST,
    NotStarted, Refusal,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, serve};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::service_fn;

use crate::dice::Dice;
use crate::history::History;
use crate::network;

/// What is wrong: with the workers, where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Nothing, and there is no wrapper.
    Nothing,
    /// Nothing: the wrapper only looks on.
    Witness,
    /// They forget idempotency keys.
    NoDedupe,
    /// They take calls of any epoch.
    NoEpochCheck,
    /// What is sent once arrives twice, now and then.
    Resend,
    /// They tell who asks again for a call that is done that its key names another.
    ResultsLost,
    /// They know a call with a key by what it runs, in whichever environment.
    OneRoom,
    /// They take no environment.
    TakesNone,
    /// They run what nobody called for.
    Stray,
    /// Gateways take everybody for the same principal.
    OneCaller,
    /// The directory forgets what a key launched.
    LaunchesForgotten,
}

/// The number of a call that nobody makes.
const STRAY: &str = "c999999 0";

impl Plant {
    pub const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Witness,
        Self::NoDedupe,
        Self::NoEpochCheck,
        Self::Resend,
        Self::ResultsLost,
        Self::OneRoom,
        Self::TakesNone,
        Self::Stray,
        Self::OneCaller,
        Self::LaunchesForgotten,
    ];

    /// Its number, for another process.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The plant of a number.
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.number() == number)
    }
}

/// What a gateway asks for.
enum Ask {
    Plain(ExecuteRequest),
    Keyed(KeyedRequest),
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The wrapper.
#[derive(Debug)]
pub struct Wrapper {
    plant: Plant,
    key: WorkerKey,
    door: Door,
    client: WorkerClient,
    history: History,
    dice: Dice,
    /// How calls with a key ended, by what a bug knows them by.
    ended: Mutex<BTreeMap<String, Frame>>,
}

/// Where the real worker listens behind the wrapper.
pub const BEHIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8092);

impl Wrapper {
    pub fn new(plant: Plant, key: WorkerKey, clock: Clock, history: History, dice: Dice) -> Self {
        let door = Door::new(Link::Call, clock.clone());
        let client = WorkerClient::on(&network::net(), clock);
        Self { plant, key, door, client, history, dice, ended: Mutex::default() }
    }

    /// Serves where the worker would, for ever.
    pub async fn run(self, address: SocketAddr) -> io::Result<()> {
        let listener = Listener::bind_on(&network::net(), address)?;
        let this = Arc::new(self);
        let app = service_fn(move |request| Arc::clone(&this).answer(request));
        let drain = Drain::new(DrainTimings::default());
        serve(listener, app, ConnectionLimits::default(), drain).await;
        Ok(())
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let Ok(body) = body.collect().await else { return Ok(Response::new(whole(Bytes::new()))) };
        let body = body.to_bytes();
        let admitted = self.door.admit(&self.key, &Method::POST, path, &head.headers, &body);
        let answer = match admitted {
            Err(shut) => reply::shut(&shut).map(whole),
            Ok(admitted) => self.pass_on(path, &head.headers, &body, &admitted).await,
        };
        Ok(answer)
    }

    async fn pass_on(
        self: &Arc<Self>,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        admitted: &Admitted,
    ) -> Response<Body> {
        let (client, peer) = (&self.client, self.peer(admitted));
        let (deadline, trace) = (admitted.deadline(), TraceHeaders::read(headers));
        match path {
            CREATE if self.plant == Plant::TakesNone => {
                told::<()>(admitted, Err(WorkerError::Refused(Refusal::Stopping)))
            }
            CREATE => told(admitted, client.create(&peer, &read(body), deadline, &trace).await),
            CANCEL => told(admitted, client.cancel(&peer, &read(body), deadline, &trace).await),
            CLOSE => told(admitted, client.close(&peer, &read(body), deadline, &trace).await),
            FIND => told(admitted, client.find(&peer, &read(body), deadline, &trace).await),
            LIST => told(admitted, client.list(&peer, &read(body), deadline, &trace).await),
            EXECUTE => self.execute(Ask::Plain(read(body)), peer, admitted).await,
            EXECUTE_KEYED => self.execute(Ask::Keyed(read(body)), peer, admitted).await,
            other => panic!("nobody asks for {other}"),
        }
    }

    fn peer(&self, admitted: &Admitted) -> Peer {
        let url = format!("http://127.0.0.1:{}", BEHIND.port());
        Peer::new(url, self.key.clone(), admitted.incarnation())
    }

    async fn execute(
        self: &Arc<Self>,
        mut ask: Ask,
        peer: Peer,
        admitted: &Admitted,
    ) -> Response<Body> {
        let request = ask.request();
        if let Job::Python { code } | Job::Shell { command: code } = &request.job
            && let Some(call) = code.split(' ').next().and_then(|call| call[1..].parse().ok())
        {
            let environment = EnvironmentId::from_hex(&request.target.environment);
            self.history.asked(call, environment.expect("an id"), request.target.epoch);
        }
        let known_as = self.known_as(&ask);
        let ended = known_as.as_ref().and_then(|name| self.ended().get(name).cloned());
        if let Some(frame) = ended {
            return at_once(&frame, Encoder::new(admitted.stream()));
        }
        let (deadline, trace) = (admitted.deadline(), TraceHeaders::default());
        match self.plant {
            Plant::NoDedupe => ask.forget_key(),
            Plant::NoEpochCheck => {
                let request = ask.request();
                let asked = FindRequest { environment: request.target.environment.clone() };
                let found = self.client.find(&peer, &asked, deadline, &trace).await;
                if let Ok(FindReply::Held { claim }) = found {
                    request.target.epoch = claim.epoch;
                }
            }
            Plant::Resend if self.dice.percent(20) => {
                if let Ok(mut lost) = ask.send(&self.client, &peer, deadline).await {
                    while let Ok(Frame::Stdout(_) | Frame::Stderr(_)) = lost.next().await {}
                }
            }
            Plant::Stray => {
                let (Job::Python { code } | Job::Shell { command: code }) = &mut ask.request().job
                else {
                    panic!("nobody runs programs")
                };
                STRAY.clone_into(code);
            }
            _ => {}
        }
        match ask.send(&self.client, &peer, deadline).await {
            Ok(execution) => {
                let this = Arc::clone(self);
                streamed(execution, Encoder::new(admitted.stream()), move |last| {
                    this.remember(known_as, last);
                })
            }
            Err(error) => told::<()>(admitted, Err(error)),
        }
    }

    /// By what a bug knows a call again.
    fn known_as(&self, ask: &Ask) -> Option<String> {
        match (self.plant, ask) {
            (Plant::ResultsLost, Ask::Keyed(keyed)) => Some(keyed.execute.execution.clone()),
            (Plant::OneRoom, Ask::Keyed(keyed)) => Some(keyed.arguments.clone()),
            _ => None,
        }
    }

    /// What repeats are told from now on, where it has ended.
    fn remember(&self, known_as: Option<String>, last: &Frame) {
        if let (Some(name), Frame::Ended(_)) = (known_as, last) {
            let repeat = match self.plant {
                Plant::ResultsLost => Frame::NotStarted(NotStarted::KeyConflict),
                _ => last.clone(),
            };
            self.ended().insert(name, repeat);
        }
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, Frame>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask {
    fn request(&mut self) -> &mut ExecuteRequest {
        match self {
            Self::Plain(request) => request,
            Self::Keyed(keyed) => &mut keyed.execute,
        }
    }

    /// Makes it a call of its own.
    fn forget_key(&mut self) {
        if let Self::Keyed(KeyedRequest { execute, caller, .. }) = self {
            *self = Self::Plain(ExecuteRequest { execution: caller.clone(), ..execute.clone() });
        }
    }

    async fn send(
        &self,
        client: &WorkerClient,
        peer: &Peer,
        deadline: Duration,
    ) -> Result<Execution, WorkerError> {
        let trace = TraceHeaders::default();
        match self {
            Self::Plain(request) => client.execute(peer, request, deadline, &trace).await,
            Self::Keyed(keyed) => client.execute_keyed(peer, keyed, deadline, &trace).await,
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("a gateway wrote it")
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The worker's answer as it is; if there is none, the connection breaks off.
fn told<T: Serialize>(admitted: &Admitted, answer: Result<T, WorkerError>) -> Response<Body> {
    match answer {
        Ok(answer) => reply::sealed(admitted, StatusCode::OK, &answer).map(whole),
        Err(WorkerError::Refused(refusal)) => {
            reply::sealed(admitted, StatusCode::CONFLICT, &refusal).map(whole)
        }
        Err(error) => {
            let broken: io::Result<hyper::body::Frame<Bytes>> = Err(io::Error::other(error));
            let pieces = stream::iter([broken]);
            Response::new(StreamBody::new(pieces).boxed_unsync())
        }
    }
}

/// An answer of one frame.
fn at_once(frame: &Frame, encoder: Encoder) -> Response<Body> {
    Response::new(whole(encoder.last(frame).expect("it was a frame before")))
}

/// The worker's frames as they come; `then` sees the last.
fn streamed(
    execution: Execution,
    encoder: Encoder,
    then: impl FnOnce(&Frame) + Send + 'static,
) -> Response<Body> {
    let pieces = stream::unfold(Some((execution, encoder, then)), async |under_way| {
        let (mut execution, mut encoder, then) = under_way?;
        match execution.next().await {
            Ok(frame @ (Frame::Stdout(_) | Frame::Stderr(_))) => {
                let piece = encoder.output(&frame).map_err(io::Error::other);
                Some((piece.map(hyper::body::Frame::data), Some((execution, encoder, then))))
            }
            Ok(frame) => {
                then(&frame);
                let piece = encoder.last(&frame).map_err(io::Error::other);
                Some((piece.map(hyper::body::Frame::data), None))
            }
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}
