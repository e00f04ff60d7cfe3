//! Taking a request over.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode};

use super::letter::{Letter, PROOF};
use crate::gateway::dispatch::{Edge, From};
use crate::mcp::MAX_HEADER_BYTES;
use crate::serve::read_body;

/// What a letter may have beside the message: JSON makes at most two bytes of one of a header's.
const MAX_HEAD: usize = 3 * MAX_HEADER_BYTES;
/// How long one may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(15);
/// Said with each answer to a request that was taken over.
pub(super) const TAKEN: HeaderValue = HeaderValue::from_static("taken");
/// Said with each answer to one that was not: nothing was done.
const REFUSED: HeaderValue = HeaderValue::from_static("refused");

impl Edge {
    /// Who takes requests over here, for those who share this address with others.
    pub(in crate::gateway) fn takes_over_as(&self) -> String {
        self.handover.replica.clone()
    }

    /// Answers a request that another replica hands over, as if its client had come here.
    pub(in crate::gateway) async fn take_over(&self, request: Request<Body>) -> Response<Body> {
        let came = Instant::now();
        let (parts, body) = request.into_parts();
        let Ok(bytes) = read_body(body, self.max_body_bytes + MAX_HEAD, ARRIVAL).await else {
            return refused(
                StatusCode::BAD_REQUEST,
                "the handover did not arrive whole\n".to_owned(),
            );
        };
        let handover = &self.handover;
        let (proof, now) = (parts.headers.get(PROOF), self.clock.now());
        let held = (&handover.keys, &handover.replays);
        let letter = match Letter::open(bytes, proof, &handover.replica, held, now) {
            Ok(letter) => letter,
            Err(reason) => {
                tracing::warn!(%reason, "a handover was not taken");
                return refused(StatusCode::FORBIDDEN, format!("{reason}\n"));
            }
        };
        let Letter { principal, headers, message } = letter;
        let mut room = self.limits.room(principal.tenant_digest());
        // The replica that gave it counts it too. Here it is no reason to refuse: the call goes on nowhere else.
        room.grow_to(u64::try_from(message.len()).unwrap_or(u64::MAX)).ok();
        let answer = self.read(came, headers, principal, (message, room), From::Replica);
        let mut answer = answer.await;
        answer.headers_mut().insert(PROOF, TAKEN);
        answer
    }
}

fn refused(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(PROOF, REFUSED);
    response
}
