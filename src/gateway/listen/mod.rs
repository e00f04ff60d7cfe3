//! `subscriptions/listen`: a client is told of changes for as long as it keeps the stream open.
//!
//! The [`Hub`] knows who listens at this replica, and tells the other replicas what changed through this one
//! ([`outbox`]). A [`listener`] holds what its client has not been told yet, so nothing waits that is not different
//! from what waits already. What upstreams and the workers of tasks tell ([`sources`]) comes as [`extra`] events. The
//! [`stream`] is the response's body: no task of its own, and nothing but what the
//! subscription needs.

mod extra;
mod honour;
mod hub;
mod listener;
mod outbox;
mod sources;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use http::Response;

pub(super) use hub::Hub;

use super::dispatch::{Edge, refuse};
use super::failure::Failure;
use super::observe::Observation;
use super::outgoing::trace_headers;
use super::upstream::Ask;
use super::{reply, resources};
use crate::domain::ids::Principal;
use crate::mcp::{Envelope, ListenFilter, ServerCapabilities, Subscription};
use hub::Listening;
use stream::Stream;

/// How many streams may be open at this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listens {
    /// Streams in all.
    pub streams: usize,
    /// Streams of one tenant.
    pub streams_per_tenant: usize,
}

impl Edge {
    /// `subscriptions/listen`: what is honoured of it, a place among the listeners, what others tell, the stream.
    pub(super) async fn listen(
        &self,
        envelope: Arc<Envelope>,
        caller: &Principal,
        observation: Box<Observation>,
    ) -> Response<Body> {
        let (listening, honoured, rest) = match self.begin_listening(&envelope, caller).await {
            Ok(begun) => begun,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let subscription = Subscription::new(envelope.id().clone());
        let trace = trace_headers(observation.span());
        let ask = Ask {
            envelope,
            caller: caller.clone(),
            name: None,
            replacing: Vec::new(),
            mirrored: Vec::new(),
            trace,
        };
        let extra = self.extra_events(ask, rest).await;
        let stream = Stream::begin(listening, subscription, self.identity.clone(), honoured, extra);
        reply::event_stream(Body::from_stream(stream.watched_by(observation)))
    }

    /// What is honoured by the hub alone, and what else is asked for: of upstreams, and of tasks.
    async fn begin_listening(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<(Listening, ListenFilter, ListenFilter), Failure> {
        let asked = envelope.listen_filter()?;
        let mut rest = ListenFilter { lists: Vec::new(), ..asked.clone() };
        rest.resources.retain(|uri| !resources::is_own(uri));
        let all = |can: &ServerCapabilities| asked.lists.iter().all(|it| can.tells_changes(*it));
        let standing = self.standing_where(all).await;
        let named = |uri: &str| resources::named(&self.tools, uri, caller);
        let (honoured, interest) = honour::honour(asked, standing.capabilities(), named);
        Ok((self.hub.join(caller, interest)?, honoured, rest))
    }
}
