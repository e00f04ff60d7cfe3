//! Handing a request over.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error;
use tokio::time::timeout;

use super::letter::{Letter, PROOF};
use super::take::TAKEN;
use super::{Handover, Http, PATH};
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
        observation: Box<Observation>,
    ) -> Response<Body> {
        let slot = match self.admit_call(&caller, envelope, None).await {
            Ok(slot) => slot,
            Err(failure) => return refuse(&failure, envelope, *observation),
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
                refuse(&failure, envelope, *observation)
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
                0 | 1 => self.send_by(&self.http, &there, letter).await,
                sharing => self.send_behind(&there, sharing, letter).await,
            }
        };
        timeout(within, answer).await.map_err(|_| NoAnswer::Lost(None))?
    }

    /// Sends a letter once. Only a replica of ours that says so has not taken it.
    pub(super) async fn send_by(
        &self,
        http: &Http,
        there: &Replica,
        letter: &Letter,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let (bytes, proof) = letter.seal(&there.id, &self.keys, self.clock.now());
        let request = Request::post(url(there)).header(PROOF, proof).body(Full::new(bytes));
        let request = request.map_err(|_| NoAnswer::NotTaken)?;
        match http.request(request).await {
            Ok(answer) => match answer.headers().get(PROOF) {
                Some(said) if said == TAKEN => Ok(answer),
                Some(_) => Err(NoAnswer::NotTaken),
                None => Err(NoAnswer::Lost(None)),
            },
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

/// Where a replica takes letters.
pub(super) fn url(there: &Replica) -> String {
    format!("{}{PATH}", there.url.trim_end_matches('/'))
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
