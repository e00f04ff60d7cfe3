//! The stream of notifications of one upstream, in either era.

use super::Wanted;
use crate::gateway::upstream::ask::{Ask, next_number};
use crate::gateway::upstream::discovery::Spoken;
use crate::gateway::upstream::exchange::{Exchange, Until};
use crate::gateway::upstream::legacy;
use crate::gateway::upstream::modern::{self, Post};
use crate::gateway::upstream::server::Server;
use crate::gateway::upstream::translate::modern_params;
use crate::gateway::upstream::trouble::Trouble;
use crate::gateway::upstream::watch::{MAX_TOLD, STREAM_LIFE};
use crate::mcp::{JsonBuf, ListenFilter, Message, Method};

/// What a subscription of which nothing is honoured is.
pub(super) const NOTHING: Trouble = Trouble::Protocol("it honours nothing of the subscription");

/// An open stream. Dropped, it is closed.
#[derive(Debug)]
pub(super) enum Stream {
    /// Of this listener alone.
    Modern(Box<Exchange>),
    /// A place at the session's.
    Legacy(legacy::Subscribed),
}

impl Stream {
    /// The next notification; `None` when the upstream closed the stream in order.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Option<JsonBuf>)>, Trouble> {
        let exchange = match self {
            Self::Modern(exchange) => exchange,
            Self::Legacy(subscribed) => return subscribed.next().await,
        };
        loop {
            match exchange.next().await? {
                Some(Message::Notification { method, params }) => {
                    let size = params.as_ref().map_or(0, |it| it.get().len());
                    return match size {
                        0..=MAX_TOLD => Ok(Some((method, params))),
                        _ => Err(Trouble::TooLarge(MAX_TOLD)),
                    };
                }
                Some(Message::Request { .. }) => {}
                Some(Message::Response { .. }) | None => return Ok(None),
            }
        }
    }
}

/// Opens a stream for what of it the upstream offers, and says what it honours.
pub(super) async fn open(
    server: &Server,
    ask: &Ask,
    wanted: &Wanted,
    until: Until,
) -> Result<(Stream, Wanted), Trouble> {
    let known = until.bound(server.known()).await??;
    let mut wanted = wanted.clone();
    wanted.resources.retain(|_| known.capabilities.has_resource_subscriptions());
    if let Spoken::Legacy(_) = known.spoken {
        // Its revision tells of tasks in another way, and none of them is handed to clients.
        wanted.tasks.clear();
    }
    if wanted.is_empty() {
        return Err(NOTHING);
    }
    let (stream, honoured) = match known.spoken {
        Spoken::Legacy(_) => {
            let subscribed = server.legacy.subscribe(server, ask, &wanted.resources, until).await?;
            let resources = subscribed.uris().to_vec();
            let honoured = ListenFilter { resources, ..ListenFilter::default() };
            (Stream::Legacy(subscribed), honoured)
        }
        Spoken::Modern => {
            let (exchange, honoured) = listen(server, ask, &wanted, until).await?;
            (Stream::Modern(Box::new(exchange)), honoured)
        }
    };
    wanted.narrow(&honoured);
    Ok((stream, wanted))
}

/// A modern upstream's stream, up to its acknowledgement, which MUST come first (subscriptions, "Acknowledgment").
async fn listen(
    server: &Server,
    ask: &Ask,
    wanted: &Wanted,
    until: Until,
) -> Result<(Exchange, ListenFilter), Trouble> {
    let notifications = ListenFilter {
        resources: wanted.resources.clone(),
        tasks: wanted.tasks.iter().map(|(theirs, _)| theirs.clone()).collect(),
        ..ListenFilter::default()
    };
    let replacing = vec![("notifications", Some(notifications.render()))];
    let (_, post) = post(&Ask { replacing, ..ask.clone() }, Method::Listen, None);
    // Who is done with waiting has not found out that the endpoint is down, so this is no deadline of the request.
    let sending = server.send(post, Until::within(STREAM_LIFE));
    let mut exchange = until.bound(sending).await??;
    if !exchange.is_stream() {
        return Err(Trouble::NotMcp(exchange.status()));
    }
    let honoured = match until.bound(exchange.next()).await?? {
        Some(Message::Notification { method, params }) => {
            ListenFilter::acknowledged(&method, params.as_ref().map(JsonBuf::json))
        }
        _ => None,
    };
    let honoured = honoured.ok_or(Trouble::Protocol("a subscription is acknowledged first"))?;
    Ok((exchange, honoured))
}

/// A request of the listener's, with its params, as a modern upstream reads it.
pub(super) fn post(ask: &Ask, method: Method, name: Option<&str>) -> (u64, Post) {
    let number = next_number();
    let params = modern_params(ask, number);
    (number, modern::post(number, method, name, &params, std::iter::empty(), &ask.trace))
}
