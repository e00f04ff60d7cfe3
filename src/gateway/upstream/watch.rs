//! Keeping up with an upstream: what it is, and that its lists have changed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use super::ask::next_number;
use super::discovery::{Known, Spoken};
use super::exchange::{Exchange, Until};
use super::lists::Listings;
use super::modern;
use super::server::Server;
use super::translate::gateway_meta;
use super::trouble::Trouble;
use crate::domain::ids::OwnerDigest;
use crate::mcp::{Json, JsonBuf, Listed, Message, Method, Object, sse};
use crate::rpc::client::TraceHeaders;

/// Between two looks at an upstream that tells nothing by itself.
const LOOK: Duration = Duration::from_mins(1);
/// Before a stream that broke is opened again; doubled with each failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a stream of notifications is kept before it is opened anew.
pub(super) const STREAM_LIFE: Duration = Duration::from_hours(6);
/// The largest notification that is passed on, or its params, in bytes: as much as clients take in one event.
pub(super) const MAX_TOLD: usize = sse::MAX_FINAL_EVENT;
/// Changes that wait for whoever tells of them; one who is later is told that he missed some.
const CHANGES: usize = 256;

/// Something of an upstream is no longer as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Change {
    /// One of its lists; of this caller alone, if one is named.
    List { listed: Listed, owner: Option<OwnerDigest> },
}

/// Where upstreams say that something changed.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Changes(broadcast::Sender<Change>);

impl Changes {
    /// Nobody listens yet.
    pub(in crate::gateway) fn new() -> Self {
        Self(broadcast::channel(CHANGES).0)
    }

    /// The changes from now on.
    pub(in crate::gateway) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }

    /// Tells of one.
    pub(super) fn tell(&self, change: Change) {
        // Without a listener there is nobody to tell.
        self.0.send(change).ok();
    }
}

impl Server {
    /// It said that something changed.
    pub(super) fn noticed(&self, method: &str, _params: Option<Json<'_>>) {
        let lists: &[Listed] = match method {
            "notifications/tools/list_changed" => &[Listed::Tools],
            "notifications/prompts/list_changed" => &[Listed::Prompts],
            "notifications/resources/list_changed" => {
                &[Listed::Resources, Listed::ResourceTemplates]
            }
            _ => return,
        };
        for list in lists {
            self.changed(*list);
        }
    }

    fn changed(&self, listed: Listed) {
        self.listings.invalidate(listed);
        self.changes.tell(Change::List { listed, owner: None });
    }
}

/// Watches one upstream, and tidies up after its callers, for as long as it is in force.
pub(super) async fn keep(server: Arc<Server>) {
    let tidying = server.legacy.tidy(server.config.timeouts.session_idle);
    tokio::join!(watch(&server), server.stay_known(), tidying);
}

async fn watch(server: &Arc<Server>) {
    let mut known = first_contact(server).await;
    // Until now it was missing in every list.
    look_for_the_owed(server);
    let mut pause = FIRST_PAUSE;
    let mut is_gap = false;
    loop {
        let wanted = filter(&known);
        let begun = Instant::now();
        let opened = || {
            if is_gap {
                look_after_gap(server);
            }
        };
        let heard = if wanted.is_empty() {
            Ok(Heard::Nothing)
        } else {
            listen(server, &known, wanted, opened).await
        };
        if begun.elapsed() >= LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if let Err(trouble) = &heard {
            tracing::debug!(upstream = %server.config.name, error = %trouble, "notifications broke off");
        }
        if let Ok(Heard::Nothing) = heard {
            sleep(LOOK).await;
            look_for_the_owed(server);
        } else {
            is_gap = true;
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        known = server.said().unwrap_or(known);
    }
}

/// Waits until it says what it is.
async fn first_contact(server: &Server) -> Arc<Known> {
    let mut pause = FIRST_PAUSE;
    loop {
        match server.known().await {
            Ok(known) => return known,
            Err(trouble) => {
                tracing::debug!(upstream = %server.config.name, error = %trouble, "upstream not known");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// What was said while no stream was open was not heard. Lists that each caller has an own one of are not looked at for
/// all of them; the callers are told to.
fn look_after_gap(server: &Arc<Server>) {
    for listed in Listed::ALL {
        if server.listings.is_apart(listed) {
            server.changed(listed);
        } else {
            server.listings.invalidate(listed);
            Listings::look_again(server, listed);
        }
    }
}

/// One that tells nothing is looked at for those who made do with less; for all others, its lists are good for as long
/// as it says.
fn look_for_the_owed(server: &Arc<Server>) {
    for listed in Listed::ALL.into_iter().filter(|it| server.listings.is_owed(*it)) {
        Listings::look_again(server, listed);
    }
}

/// The lists it says it tells the changes of.
fn filter(known: &Known) -> Vec<&'static str> {
    let wanted = [
        (Listed::Tools, "toolsListChanged"),
        (Listed::Prompts, "promptsListChanged"),
        (Listed::Resources, "resourcesListChanged"),
    ];
    let told = wanted.into_iter().filter(|(listed, _)| known.capabilities.tells_changes(*listed));
    told.map(|(_, key)| key).collect()
}

/// How listening ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// In order, or it is time to begin anew.
    All,
    /// There is nothing to listen to.
    Nothing,
}

/// Reads the stream of notifications until it ends (subscriptions, "Opening a Stream").
async fn listen(
    server: &Server,
    known: &Known,
    wanted: Vec<&'static str>,
    opened: impl FnOnce(),
) -> Result<Heard, Trouble> {
    if let Spoken::Legacy(_) = known.spoken {
        return server.legacy.listen(server, Until::within(STREAM_LIFE), opened).await;
    }
    let notifications: Value =
        wanted.into_iter().map(|key| (key.to_owned(), Value::Bool(true))).collect();
    let mut exchange = open(server, &notifications).await?;
    opened();
    loop {
        match exchange.next().await {
            Ok(Some(Message::Notification { method, params })) => {
                server.noticed(&method, params.as_ref().map(JsonBuf::json));
            }
            // The graceful end, or the time to begin anew.
            Ok(Some(Message::Response { .. }) | None) | Err(Trouble::Deadline(_)) => {
                return Ok(Heard::All);
            }
            Ok(Some(Message::Request { .. })) => {}
            Err(trouble) => return Err(trouble),
        }
    }
}

/// Opens a stream of notifications.
pub(super) async fn open(server: &Server, notifications: &Value) -> Result<Exchange, Trouble> {
    let mut params = Object::default();
    params.set("notifications", JsonBuf::of(notifications));
    params.set("_meta", gateway_meta());
    let (number, none) = (next_number(), std::iter::empty());
    let post = modern::post(number, Method::Listen, None, &params, none, &TraceHeaders::default());
    let opening = server.send(post, Until::within(STREAM_LIFE));
    // The acknowledgement comes first, and at once (subscriptions, "Acknowledgment").
    let exchange = Until::within(server.config.timeouts.list).bound(opening).await??;
    if exchange.is_stream() { Ok(exchange) } else { Err(Trouble::NotMcp(exchange.status())) }
}
