//! One sealed call over a pooled HTTP/1.1 connection, and what its failure proves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::response::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::{Instant, timeout_at};

use super::auth::{Link, Outgoing, Sealed};
use super::client::TraceHeaders;
use super::error::WorkerError;
use super::frames::MAX_PAYLOAD;
use super::peer::Keys;
use super::wire::Refusal;
use crate::clock::Clock;
use crate::domain::ids::{Incarnation, Timestamp};
use crate::net::pool::{Body, Bounds, Pool, SendError};
use crate::net::{Connector, Net};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an unused connection is kept; less than what the other side keeps it, so that it is ours to close
/// and a call seldom meets one that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// How many unused connections each thread keeps to one address.
const POOL_IDLE_MAX: usize = 256;
/// Longest head of an answer, and how many fields it may have: ours are short.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 32;
/// Probes that find out that the other machine is gone while a long call is silent.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Longest answer that is not a stream: a task's has the end of an execution in it, which fits into a frame.
const MAX_REPLY: usize = MAX_PAYLOAD + (1 << 20);
/// A refusal counts only if it comes this soon: a copy of a call, sent later by somebody else, is refused too.
const REFUSAL_COUNTS: Duration = Duration::from_secs(5);
/// For how many addresses the offset of their clocks is remembered.
const MAX_OFFSETS: usize = 4096;

/// Sends sealed calls.
#[derive(Clone, Debug)]
pub(super) struct Http1 {
    http: Pool<Connector>,
    clock: Clock,
    offsets: Arc<Mutex<HashMap<String, i64>>>,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) link: Link,
    pub(super) url: &'a str,
    pub(super) path: &'static str,
    pub(super) keys: &'a Keys,
    pub(super) incarnation: Incarnation,
    pub(super) deadline: Duration,
    pub(super) trace: &'a TraceHeaders,
}

/// An answer of status 200, whose body is still to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) sealed: Sealed,
    pub(super) response: Response<Body>,
    pub(super) until: Until,
}

/// When a call's time is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    at: Instant,
    deadline: Duration,
}

impl Until {
    fn from_now(deadline: Duration) -> Self {
        Self { at: Instant::now() + deadline, deadline }
    }

    pub(super) fn bound<T>(
        self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, WorkerError>> {
        // No `async fn`: that would hold the work twice, as what it was given and as what it waits for.
        timeout_at(self.at, work)
            .map(move |it| it.map_err(|_| WorkerError::Deadline(self.deadline)))
    }
}

impl Http1 {
    pub(super) fn new(net: &Net, clock: Clock) -> Self {
        let bounds = Bounds {
            idle: POOL_IDLE,
            idle_most: POOL_IDLE_MAX,
            head: MAX_HEAD,
            headers: MAX_HEADERS,
        };
        let http = Pool::new(net.connector(CONNECT, KEEPALIVE), bounds);
        Self { http, clock, offsets: Arc::default() }
    }

    /// Sends a call and reads the whole answer.
    pub(super) async fn ask<Q: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        call: Call<'_>,
        question: &Q,
    ) -> Result<A, WorkerError> {
        let Answer { sealed, response, until } = self.send(call, question).await?;
        let (head, body) = until.bound(whole(response)).await??;
        sealed.check(head.status, &head.headers, &body)?;
        serde_json::from_slice(&body).map_err(WorkerError::lost)
    }

    /// Sends a call; returns when the head of an answer of status 200 is there. A call that is refused unread, because
    /// the clocks differ or the worker has another of its keys, is sent again with the right time or key: once for the
    /// time, and once for each other key.
    pub(super) async fn send<Q: serde::Serialize>(
        &self,
        call: Call<'_>,
        question: &Q,
    ) -> Result<Answer, WorkerError> {
        let until = Until::from_now(call.deadline);
        let body = Bytes::from(serde_json::to_vec(question).map_err(not_sent)?);
        let mut resends = call.keys.count();
        loop {
            match self.send_once(call, &body, until).await {
                Err(WorkerError::Refused(Refusal::Stale | Refusal::Unproven { .. }))
                    if resends > 0 =>
                {
                    resends -= 1;
                }
                answer => return answer,
            }
        }
    }

    async fn send_once(
        &self,
        call: Call<'_>,
        body: &Bytes,
        until: Until,
    ) -> Result<Answer, WorkerError> {
        let started = Instant::now();
        let (sealed, request) = self.seal(call, body)?;
        let response = until.bound(self.http.send(request)).await?.map_err(classify)?;
        if response.status() == StatusCode::OK {
            return Ok(Answer { sealed, response, until });
        }
        let (head, body) = until.bound(whole(response)).await??;
        let (status, headers) = (head.status, &head.headers);
        let refusal = || serde_json::from_slice(&body).map_err(WorkerError::lost);
        let refusal = match sealed.check(status, headers, &body) {
            Ok(time) => {
                let refusal = refusal()?;
                if refusal == Refusal::Stale {
                    self.learn(call.url, time);
                }
                refusal
            }
            // Nobody on the way can make this one up: it is about these bytes, and under a key that we know.
            Err(wrong) => {
                let says = |key: &_| sealed.check_unproven(key, status, headers, &body).is_ok();
                let place = call.keys.find(says).ok_or(wrong)?;
                unproven(call, place, refusal()?)
            }
        };
        if started.elapsed() > REFUSAL_COUNTS {
            return Err(WorkerError::lost("a refusal came too late to be about this call"));
        }
        Err(WorkerError::Refused(refusal))
    }

    fn seal(
        &self,
        call: Call<'_>,
        body: &Bytes,
    ) -> Result<(Sealed, Request<Full<Bytes>>), WorkerError> {
        let url = format!("{}{}", call.url.trim_end_matches('/'), call.path);
        let uri: Uri = url.parse().map_err(not_sent)?;
        let outgoing = Outgoing {
            link: call.link,
            key: call.keys.present(),
            incarnation: call.incarnation,
            method: &Method::POST,
            path: uri.path(),
            deadline: call.deadline,
            body,
        };
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        call.trace.write(request.headers_mut());
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let sealed = outgoing.seal(request.headers_mut(), self.time_at(call.url));
        *request.uri_mut() = uri;
        Ok((sealed, request))
    }

    /// What the clock at an address shows, as far as we know.
    fn time_at(&self, url: &str) -> Timestamp {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = offsets.get(url).copied().unwrap_or(0);
        Timestamp::from_millis(self.clock.now().as_millis().saturating_add_signed(offset))
    }

    fn learn(&self, url: &str, their_time: Timestamp) {
        let offset = their_time.as_millis().wrapping_sub(self.clock.now().as_millis());
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if offsets.len() >= MAX_OFFSETS {
            offsets.clear();
        }
        offsets.insert(url.to_owned(), offset.cast_signed());
    }
}

/// What it means that a worker has another key than the call was sealed with. The start of it that the call was for
/// has had that key all the time, so it never could act on the call. Of another start only its incarnation counts: the
/// call may have met the one before, and a copy this one.
fn unproven(call: Call<'_>, place: usize, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unproven { incarnation } if incarnation != call.incarnation.0 => {
            Refusal::WrongIncarnation { incarnation }
        }
        refusal => {
            tracing::debug!(worker = call.url, "has a key of another root");
            call.keys.turn_to(place);
            refusal
        }
    }
}

/// Reads a whole answer.
async fn whole(response: Response<Body>) -> Result<(Parts, Bytes), WorkerError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_REPLY).collect().await;
    let body = body.map_err(|source| WorkerError::OutcomeUnknown { source })?.to_bytes();
    Ok((head, body))
}

fn not_sent(source: impl Into<super::error::Cause>) -> WorkerError {
    WorkerError::NotSent { source: source.into() }
}

fn classify(error: SendError) -> WorkerError {
    match error {
        SendError::NotSent(source) => not_sent(source),
        SendError::Lost(source) => WorkerError::lost(source),
    }
}
