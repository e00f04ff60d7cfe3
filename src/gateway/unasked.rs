//! What is posted and not replied to: notifications, and what clients of the legacy era answer.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};

use super::dispatch::{Edge, From};
use super::failure::{accepted, fail_unasked};
use super::limits::{Asked, Refusal};
use crate::domain::ids::Principal;
use crate::mcp::Incoming;

impl Edge {
    /// Takes it in. It counts like a request: who may post what is not replied to without end keeps a replica busy.
    pub(super) async fn take_in(
        &self,
        (came, from): (Instant, From),
        (headers, body): (&HeaderMap, &Bytes),
        incoming: &Incoming,
        caller: Principal,
    ) -> Response<Body> {
        let (left, admitted) = self.count(from, &caller, Asked::default()).await;
        let fault = admitted.err().map(Refusal::fault);
        let mut response = match &fault {
            Some(fault) => fail_unasked(fault),
            None => accepted(),
        };
        left.tell(response.headers_mut());
        if fault.is_none() && matches!(incoming, Incoming::Response) {
            self.bring_answer((headers, body), caller, from).await;
        }
        self.observer.turned_away(came, response.status(), fault.map(|it| it.code()));
        response
    }
}
