//! Handing a request over.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error;
use tokio::time::timeout;

use super::letter::{Letter, PROOF};
use super::{Handover, PATH};
use crate::directory::Replica;
use crate::domain::ids::Principal;
use crate::gateway::dispatch::{Edge, refuse};
use crate::gateway::failure::{Failure, Fault};
use crate::gateway::limits::Slot;
use crate::gateway::observe::Observation;
use crate::mcp::{Envelope, RejectionKind};
use crate::telemetry::Outcome;

/// How long the other replica may take to begin its answer, beyond the time that a call has there of its own. (That it
/// is gone is found out sooner, by probes.)
const BEYOND_THE_CALL: Duration = Duration::from_mins(15);
/// How often a letter is sent to an address that several replicas share, for each of them, and at most: each time a new
/// connection meets one of them, and only the right one takes it.
const TRIES_FOR_EACH: usize = 8;
const MAX_TRIES: usize = 64;
/// What of the answer's head the client is to see; the rest says nothing, or this replica says it.
const PASSED_ON: [HeaderName; 4] =
    [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER, HeaderName::from_static("x-accel-buffering")];

/// Why the other replica gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nobody knows it, or it took nothing.
    #[error("the replica is not there, or did not take the request")]
    NotTaken,
    /// It may have gone on with the call.
    #[error("the replica's answer was lost")]
    Lost(#[source] Option<Error>),
}

impl Edge {
    /// Has the replica answer that holds what the request belongs to.
    pub(in crate::gateway) async fn hand_over(
        &self,
        to: &str,
        (headers, message): (&HeaderMap, Bytes),
        envelope: &Envelope,
        caller: Principal,
        observation: Observation,
    ) -> Response<Body> {
        let slot = match self.admit_call(&caller, envelope, None).await {
            Ok(slot) => slot,
            Err(failure) => return refuse(&failure, envelope, observation),
        };
        let letter = Letter::new(caller, headers, message);
        let within = self.upstreams.longest_call() + BEYOND_THE_CALL;
        match self.handover.send(to, &letter, within).await {
            Ok(answer) => {
                observation.end(Outcome::Done, answer.status());
                pass_on(answer, slot)
            }
            Err(error) => {
                tracing::warn!(replica = to, %error, "a request was not handed over");
                let failure: Failure = match error {
                    NoAnswer::NotTaken => {
                        let message = "the replica on which the call waited for this input is gone: make the call anew, \
                                       without requestState and inputResponses";
                        envelope.reject(RejectionKind::InvalidParams, message).into()
                    }
                    NoAnswer::Lost(_) => {
                        let message = "the replica on which the call waited did not answer: whether it went on is not known";
                        Fault::upstream_outcome_unknown(message.to_owned()).into()
                    }
                };
                refuse(&failure, envelope, observation)
            }
        }
    }
}

impl Handover {
    /// Has a letter taken; its answer begins within this time.
    pub(super) async fn send(
        &self,
        to: &str,
        letter: &Letter,
        within: Duration,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let there = self.there(to).await.ok_or(NoAnswer::NotTaken)?;
        let answer = async {
            match self.fleet.behind(&there.url) {
                0 | 1 => self.send_once(&there, letter, false).await,
                sharing => {
                    let tries = (sharing * TRIES_FOR_EACH).min(MAX_TRIES);
                    for _ in 1..tries {
                        match self.send_once(&there, letter, true).await {
                            // Whoever it was, nothing was done: it may be another one the next time.
                            Err(NoAnswer::NotTaken) => {}
                            answer => return answer,
                        }
                    }
                    self.send_once(&there, letter, true).await
                }
            }
        };
        timeout(within, answer).await.map_err(|_| NoAnswer::Lost(None))?
    }

    /// Sends a letter once; to a shared address by a connection of its own.
    async fn send_once(
        &self,
        there: &Replica,
        letter: &Letter,
        is_shared: bool,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let (bytes, proof) = letter.seal(&there.id, &self.keys, self.clock.now());
        let url = format!("{}{PATH}", there.url.trim_end_matches('/'));
        let mut request = Request::post(url).header(PROOF, proof);
        if is_shared {
            request = request.header(CONNECTION, "close");
        }
        let request = request.body(Full::new(bytes)).map_err(|_| NoAnswer::NotTaken)?;
        match self.http.request(request).await {
            Ok(answer) if answer.headers().contains_key(PROOF) => Ok(answer),
            Ok(_) => Err(NoAnswer::NotTaken),
            Err(error) if error.is_connect() => Err(NoAnswer::NotTaken),
            Err(error) => Err(NoAnswer::Lost(Some(error))),
        }
    }

    /// A replica that has just started is known after another look at the directory.
    async fn there(&self, id: &str) -> Option<Replica> {
        if let Some(known) = self.fleet.replica(id) {
            return Some(known);
        }
        self.fleet.round().await;
        self.fleet.replica(id)
    }
}

/// The answer as it comes in; when the client leaves, so do we, and the other replica learns of it.
fn pass_on(answer: Response<Incoming>, slot: Slot) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let body = body.map_frame(move |frame| {
        let _until_the_end = &slot;
        frame
    });
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    for name in PASSED_ON {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
