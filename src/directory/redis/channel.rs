//! The channel on which replicas tell one another of changes, read on a connection of its own.
//!
//! The connection is made for the first reader and then kept. Redis keeps nothing of what it publishes, so whenever
//! the connection was away its readers are told that they may have missed something.

use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::link::{CHECK_EVERY, PROBE_DEADLINE, PROBE_EVERY};
use super::servers::Source;
use super::trouble::{Trouble, in_time};
use super::url::Address;
use super::{keys, records};
use crate::directory::events::Readers;
use crate::directory::{Events, Heard};

/// What is told on the channel, for readers of this process.
#[derive(Debug)]
pub(super) struct Channel {
    shared: Arc<Shared>,
    /// Owns the keeper, once there is a reader: it ends with the channel.
    keeper: OnceLock<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    readers: Readers,
    /// Whether the first attempt to connect is over, or takes too long to be waited for.
    tried: watch::Sender<bool>,
}

impl Channel {
    /// A channel that nobody reads yet.
    pub(super) fn new(source: Source) -> Self {
        let tried = watch::Sender::new(false);
        let shared = Shared { source, readers: Readers::default(), tried };
        Self { shared: Arc::new(shared), keeper: OnceLock::new() }
    }

    /// One more reader. Returns after the first attempt to connect, or half a second of it.
    pub(super) async fn subscribe(&self) -> Events {
        let events = self.shared.readers.join();
        self.keeper.get_or_init(|| {
            let mut keeper = JoinSet::new();
            keeper.spawn(keep(Arc::clone(&self.shared)));
            keeper
        });
        // An error would mean that the sender is gone, and we hold it.
        drop(self.shared.tried.subscribe().wait_for(|tried| *tried).await);
        events
    }
}

/// Connects, reads until the connection is lost, and begins again.
async fn keep(shared: Arc<Shared>) {
    loop {
        let next_attempt = Instant::now() + PROBE_EVERY;
        let mut connecting = Box::pin(connect(&shared.source));
        let connected = if let Ok(soon) = timeout(PROBE_DEADLINE, &mut connecting).await {
            soon
        } else {
            shared.tried.send_replace(true);
            connecting.await
        };
        if shared.tried.send_replace(true) && connected.is_ok() {
            shared.readers.tell(Heard::Missed);
        }
        let trouble = match connected {
            Ok((server, connection)) => read(&shared, &server, connection).await,
            Err(trouble) => trouble,
        };
        tracing::debug!(redis = %shared.source.url(), %trouble, cause = ?trouble, "no events are heard");
        sleep_until(next_attempt).await;
    }
}

async fn connect(source: &Source) -> Result<(Address, PubSub), Trouble> {
    let (server, mut connection) = source.listen().await?;
    in_time(PROBE_DEADLINE, connection.subscribe(keys::EVENTS)).await?;
    Ok((server, connection))
}

/// Passes messages on until the connection breaks, or the server no longer answers or is no longer the one to hear.
async fn read(shared: &Shared, server: &Address, connection: PubSub) -> Trouble {
    let (mut commands, mut messages) = connection.split();
    let mut checks = interval(CHECK_EVERY);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Trouble::Closed };
                // What this version cannot read, it has missed.
                let event = records::told(message.get_payload_bytes());
                shared.readers.tell(event.map_or(Heard::Missed, Heard::Event));
            }
            _ = checks.tick() => {
                let answer = in_time(PROBE_DEADLINE, commands.ping::<redis::Value>()).await;
                if let Err(trouble) = answer {
                    return trouble;
                }
                if shared.source.has_left(server).await {
                    return Trouble::NotMaster;
                }
            }
        }
    }
}
