//! Whoever tells one listener what the hub does not know: upstreams of its resources and tasks, workers of its tasks
//! here.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all, try_join_all};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::extra::{ExtraEvent, ExtraEvents};
use crate::domain::task::TaskId;
use crate::gateway::dispatch::Edge;
use crate::gateway::tasks::{Asked, OurTask};
use crate::gateway::tools::Tools;
use crate::gateway::upstream::{Ask, Over, Server, Subscribed, Wanted};
use crate::mcp::{Identity, ListenFilter, sse};
use crate::rpc::task::Reader;

/// Resources of upstreams that one listener is told of; more are not honoured.
const MAX_RESOURCES: usize = 64;
/// Tasks that one listener is told of; more are not honoured.
const MAX_TASKS: usize = 16;
/// How long it may take to find out whose a resource is.
const ROUTE_WITHIN: Duration = Duration::from_secs(2);
/// How long an upstream, or a task's worker, may take to say that it will tell. Whoever is later is not listened to.
const HONOUR_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of notifications that may wait for a client.
const WAITING_BYTES: usize = 4 << 20;
/// How many these are, as each may fill an event. What makes more of them waits too, and lets its upstream wait.
const WAITING: usize = WAITING_BYTES / sse::MAX_FINAL_EVENT;
/// How long it does. A client that reads nothing for so long begins anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source that can tell no more of what was honoured.
struct BrokenOff;

/// Tells until there is nothing left to tell.
type Source = BoxFuture<'static, Result<(), BrokenOff>>;

type Events = mpsc::Sender<ExtraEvent>;

impl Edge {
    /// What others tell of this part of a filter, as far as they say in time that they will.
    pub(super) async fn extra_events(&self, ask: Ask, asked: ListenFilter) -> Option<ExtraEvents> {
        let mut asked = asked;
        asked.resources.truncate(MAX_RESOURCES);
        asked.tasks.truncate(MAX_TASKS);
        if asked.is_empty() {
            return None;
        }
        let (ours, mut theirs) = self.open_tasks(&ask, &asked.tasks);
        self.add_resources(&ask, asked.resources, &mut theirs).await;
        let (events, told) = mpsc::channel(WAITING);
        let looking =
            ours.into_iter().map(|asked| follow(&self.tools, &self.identity, asked, &events));
        let asking =
            theirs.into_iter().map(|(server, wanted)| pass_on(server, &ask, wanted, &events));
        let (ours, theirs) = tokio::join!(join_all(looking), join_all(asking));
        let mut honoured = ListenFilter::default();
        let mut sources = Vec::new();
        for (part, source) in ours.into_iter().chain(theirs).flatten() {
            honoured.resources.extend(part.resources);
            honoured.tasks.extend(part.tasks);
            sources.push(source);
        }
        if sources.is_empty() {
            return None;
        }
        let mut making = JoinSet::new();
        making.spawn(async move {
            let _kept = events;
            if try_join_all(sources).await.is_ok() {
                // Nothing is left to tell here, and the client listens to other things on the same stream.
                pending::<()>().await;
            }
        });
        Some(ExtraEvents::new(honoured, told, making))
    }

    /// Whose the tasks are that were handed to this caller.
    fn open_tasks(&self, ask: &Ask, ids: &[String]) -> (Vec<Asked>, Vec<(Arc<Server>, Wanted)>) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for id in ids {
            match TaskId::open(id, &ask.caller, &self.keys, self.clock.now()) {
                Ok(TaskId::Execution { environment, generation, execution })
                    if self.tools.have_tasks() =>
                {
                    let (caller, id, trace) = (ask.caller.clone(), id.clone(), ask.trace.clone());
                    ours.push(Asked { caller, id, environment, generation, execution, trace });
                }
                Ok(TaskId::Upstream { upstream, task }) => {
                    if let Some(server) = self.upstreams.named(&upstream) {
                        of(&mut theirs, server).tasks.push((task, id.clone()));
                    }
                }
                Ok(TaskId::Execution { .. }) | Err(_) => {}
            }
        }
        (ours, theirs)
    }

    async fn add_resources(
        &self,
        ask: &Ask,
        uris: Vec<String>,
        wanted: &mut Vec<(Arc<Server>, Wanted)>,
    ) {
        let route = |uri: String| async move {
            let server = timeout(ROUTE_WITHIN, self.upstreams.route_uri(&uri, &ask.caller));
            Some((server.await.ok()??, uri))
        };
        for (server, uri) in join_all(uris.into_iter().map(route)).await.into_iter().flatten() {
            of(wanted, server).resources.push(uri);
        }
    }
}

/// What is wanted of one upstream.
fn of(all: &mut Vec<(Arc<Server>, Wanted)>, server: Arc<Server>) -> &mut Wanted {
    let known = all.iter().position(|(it, _)| Arc::ptr_eq(it, &server));
    let at = known.unwrap_or_else(|| {
        all.push((server, Wanted::default()));
        all.len() - 1
    });
    &mut all[at].1
}

/// Passes on what an upstream tells, if it will.
async fn pass_on(
    server: Arc<Server>,
    ask: &Ask,
    wanted: Wanted,
    events: &Events,
) -> Option<(ListenFilter, Source)> {
    let name = server.config.name.clone();
    let subscribed = server.subscribe(ask.clone(), wanted, HONOUR_WITHIN).await;
    let mut subscribed = subscribed
        .inspect_err(|error| tracing::debug!(upstream = %name, %error, "upstream not listened to"))
        .ok()?;
    let (honoured, events) = (subscribed.honoured(), events.clone());
    Some((honoured, async move { tell_all(&mut subscribed, &events).await }.boxed()))
}

async fn tell_all(subscribed: &mut Subscribed, events: &Events) -> Result<(), BrokenOff> {
    loop {
        match subscribed.next().await {
            Ok(told) => put(events, ExtraEvent::Upstream(told)).await?,
            Err(Over::Done) => return Ok(()),
            Err(Over::Withdrawn) => return Err(BrokenOff),
        }
    }
}

/// Tells how a task of ours is, and how it ended; nothing if it is not there. Between these two it does not change.
async fn follow(
    tools: &Arc<Tools>,
    identity: &Identity,
    asked: Asked,
    events: &Events,
) -> Option<(ListenFilter, Source)> {
    let look = tools.look_at_task(&asked, Duration::ZERO, Reader::Listener);
    let looked = timeout(HONOUR_WITHIN, look).await;
    let now = looked.ok()?.ok()??;
    let honoured = ListenFilter { tasks: vec![asked.id.clone()], ..ListenFilter::default() };
    let (tools, identity, events) = (Arc::clone(tools), identity.clone(), events.clone());
    let source = async move {
        let tell = |task: OurTask| {
            let task = task.fit(sse::MAX_FINAL_EVENT).detailed(&identity, tools.clock.now());
            put(&events, ExtraEvent::Task(Box::new(task)))
        };
        let goes_on = now.is_working();
        tell(now).await?;
        if goes_on {
            tell(tools.follow_task(&asked).await.ok_or(BrokenOff)?).await?;
        }
        Ok(())
    };
    Some((honoured, source.boxed()))
}

/// What a client is too slow for is not left out unsaid: its stream ends.
async fn put(events: &Events, event: ExtraEvent) -> Result<(), BrokenOff> {
    events.send_timeout(event, PATIENCE).await.map_err(|_| BrokenOff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::upstream::Told;
    use crate::mcp::JsonBuf;

    #[tokio::test(start_paused = true)]
    async fn of_a_client_that_reads_nothing_no_more_waits_than_it_has_room_for() {
        let (events, _unread) = mpsc::channel(WAITING);
        let largest = format!("\"{}\"", "x".repeat(sse::MAX_FINAL_EVENT - 2));
        let mut waiting = 0;
        loop {
            let params = JsonBuf::parse(&largest).unwrap();
            let told = Told::Notification { method: String::new(), params: Some(params) };
            if put(&events, ExtraEvent::Upstream(told)).await.is_err() {
                break;
            }
            waiting += largest.len();
        }
        assert!((1..=4 << 20).contains(&waiting), "{waiting}");
    }
}
