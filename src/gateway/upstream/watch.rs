//! Keeping up with an upstream: what it is, and that its lists have changed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::ask::next_number;
use super::discovery::{Known, Spoken};
use super::exchange::{Exchange, Until};
use super::modern;
use super::server::Server;
use super::translate::gateway_meta;
use super::trouble::Trouble;
use crate::mcp::{Listed, Message, Method, Object, sse};
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
    /// One of its lists.
    List(Listed),
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
    pub(super) fn noticed(&self, method: &str, _params: Option<&RawValue>) {
        let lists: &[Listed] = match method {
            "notifications/tools/list_changed" => &[Listed::Tools],
            "notifications/prompts/list_changed" => &[Listed::Prompts],
            "notifications/resources/list_changed" => {
                &[Listed::Resources, Listed::ResourceTemplates]
            }
            _ => return,
        };
        for list in lists {
            self.listings.invalidate(*list);
            self.changes.tell(Change::List(*list));
        }
    }
}

/// Watches one upstream, and tidies up after its callers, for as long as it is in force.
pub(super) async fn keep(server: Arc<Server>) {
    let tidying = server.legacy.tidy(server.config.timeouts.session_idle);
    tokio::join!(watch(&server), server.stay_known(), tidying);
}

async fn watch(server: &Server) {
    let mut pause = FIRST_PAUSE;
    loop {
        match server.known().await {
            Ok(known) => {
                let wanted = filter(&known);
                if wanted.is_empty() {
                    sleep(LOOK).await;
                } else if let Err(trouble) = listen(server, &known, wanted).await {
                    tracing::debug!(upstream = %server.config.name, error = %trouble, "notifications broke off");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                } else {
                    pause = FIRST_PAUSE;
                }
                // What was said meanwhile was not heard.
                for listed in Listed::ALL {
                    server.listings.invalidate(listed);
                }
            }
            Err(trouble) => {
                tracing::debug!(upstream = %server.config.name, error = %trouble, "upstream not known");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
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

/// Reads the stream of notifications until it ends (subscriptions, "Opening a Stream").
async fn listen(server: &Server, known: &Known, wanted: Vec<&'static str>) -> Result<(), Trouble> {
    if let Spoken::Legacy(_) = known.spoken {
        return server.legacy.listen(server, Until::within(STREAM_LIFE), LOOK).await;
    }
    let notifications: Value =
        wanted.into_iter().map(|key| (key.to_owned(), Value::Bool(true))).collect();
    let mut exchange = open(server, &notifications).await?;
    loop {
        match exchange.next().await {
            Ok(Some(Message::Notification { method, params })) => {
                server.noticed(&method, params.as_deref());
            }
            // The graceful end, or the time to begin anew.
            Ok(Some(Message::Response { .. }) | None) | Err(Trouble::Deadline(_)) => return Ok(()),
            Ok(Some(Message::Request { .. })) => {}
            Err(trouble) => return Err(trouble),
        }
    }
}

/// Opens a stream of notifications.
pub(super) async fn open(server: &Server, notifications: &Value) -> Result<Exchange, Trouble> {
    let mut params = Object::default();
    params.set("notifications", json_text(notifications));
    params.set("_meta", gateway_meta());
    let (number, none) = (next_number(), std::iter::empty());
    let post = modern::post(
        number,
        Method::Listen,
        None,
        &params.render(),
        none,
        &TraceHeaders::default(),
    );
    let opening = server.send(post, Until::within(STREAM_LIFE));
    // The acknowledgement comes first, and at once (subscriptions, "Acknowledgment").
    let exchange = Until::within(server.config.timeouts.list).bound(opening).await??;
    if exchange.is_stream() { Ok(exchange) } else { Err(Trouble::NotMcp(exchange.status())) }
}

fn json_text(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a value serializes")
}
