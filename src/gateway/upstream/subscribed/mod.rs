//! What one listener is told by one upstream, for as long as it listens: its resources, and its tasks.
//!
//! A modern upstream is listened to for each listener alone, so that closing the [`stream`] ends it there too; of a
//! legacy one, listeners of a caller share the session. A stream that breaks off is opened again, and what may have been
//! missed of what is [`wanted`] is told.

mod stream;
mod wanted;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(in crate::gateway) use wanted::{Told, Wanted};

use super::ask::Ask;
use super::exchange::Until;
use super::server::{Answered, Server};
use super::translate::text;
use super::trouble::Trouble;
use super::watch::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::mcp::{JsonBuf, ListenFilter, Method, Object};
use stream::{NOTHING, Stream, open, post};

/// How long an upstream may take to open a stream again.
const AGAIN: Duration = Duration::from_secs(10);
/// What tells of a task.
const TASK: &str = "notifications/tasks";

/// Why nothing more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Over {
    /// All that was wanted has ended.
    Done,
    /// The upstream honours it no more, or is not in force any longer.
    Withdrawn,
}

/// A listener's subscription. Dropped, it ends at the upstream too.
#[derive(Debug)]
pub(in crate::gateway) struct Subscribed {
    server: Arc<Server>,
    ask: Ask,
    /// What is honoured and has not ended.
    wanted: Wanted,
    /// Nothing between two of them.
    stream: Option<Stream>,
    opened: Instant,
    pause: Duration,
    missed: VecDeque<Told>,
}

impl Server {
    /// Subscribes for the listener that asks. What the upstream honours within this time is what is told; an error says
    /// that this is nothing.
    pub(in crate::gateway) async fn subscribe(
        self: Arc<Self>,
        ask: Ask,
        wanted: Wanted,
        within: Duration,
    ) -> Result<Subscribed, Trouble> {
        let (stream, wanted) = open(&self, &ask, &wanted, Until::within(within)).await?;
        if wanted.is_empty() {
            return Err(NOTHING);
        }
        let (stream, opened, pause) = (Some(stream), Instant::now(), FIRST_PAUSE);
        let missed = VecDeque::new();
        Ok(Subscribed { server: self, ask, wanted, stream, opened, pause, missed })
    }
}

impl Subscribed {
    /// What is honoured, in the client's words.
    pub(in crate::gateway) fn honoured(&self) -> ListenFilter {
        let tasks = self.wanted.tasks.iter().map(|(_, ours)| ours.clone()).collect();
        ListenFilter { resources: self.wanted.resources.clone(), tasks, ..ListenFilter::default() }
    }

    /// What is told next.
    pub(in crate::gateway) async fn next(&mut self) -> Result<Told, Over> {
        let over = self.server.over.clone();
        let told = over.run_until_cancelled(self.told()).await;
        told.unwrap_or(Err(Over::Withdrawn))
    }

    async fn told(&mut self) -> Result<Told, Over> {
        loop {
            if let Some(told) = self.missed.pop_front() {
                return Ok(told);
            }
            if self.wanted.is_empty() {
                return Err(Over::Done);
            }
            let Some(stream) = &mut self.stream else {
                // Boxed: it is seldom done, and large in the future of every listener.
                Box::pin(self.open_again()).await?;
                continue;
            };
            match stream.next().await {
                Ok(Some((method, params))) => {
                    if let Some(told) = self.wanted.pass_on(method, params) {
                        return Ok(told);
                    }
                }
                Ok(None) | Err(Trouble::Deadline(_)) => self.stream = None,
                Err(trouble) => {
                    self.log(&trouble);
                    self.stream = None;
                }
            }
        }
    }

    /// Opens the stream again, however long that takes. What was said meanwhile was not heard, so everything may have
    /// changed.
    async fn open_again(&mut self) -> Result<(), Over> {
        if self.opened.elapsed() > LONGEST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        let honoured = loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            match open(&self.server, &self.ask, &self.wanted, Until::within(AGAIN)).await {
                Ok((stream, honoured)) => {
                    (self.stream, self.opened) = (Some(stream), Instant::now());
                    break honoured;
                }
                // It is there, and will not: what its client was promised does not hold any more.
                Err(Trouble::Protocol(_)) => return Err(Over::Withdrawn),
                Err(trouble) => self.log(&trouble),
            }
        };
        let resources = self.wanted.resources.iter().cloned();
        self.missed.extend(resources.map(Told::Resource));
        for (theirs, _) in self.wanted.tasks.clone() {
            let asked = self.ask_of_task(&theirs).await;
            let told = asked.and_then(|task| self.wanted.pass_on(TASK.to_owned(), Some(task)));
            self.missed.extend(told);
        }
        // A task that ended meanwhile need not be honoured any more.
        if self.wanted.is_within(&honoured) { Ok(()) } else { Err(Over::Withdrawn) }
    }

    /// How a task is, as its notification would tell it (SEP-2663, "Task Status Notifications").
    async fn ask_of_task(&self, theirs: &str) -> Option<JsonBuf> {
        let replacing = vec![("notifications", None), ("taskId", Some(text(theirs)))];
        let ask = Ask { replacing, ..self.ask.clone() };
        let (number, post) = post(&ask, Method::GetTask, Some(theirs));
        let task = match self.server.answer(post, number, Until::within(AGAIN)).await {
            Ok(Answered::Result(task)) => task,
            Ok(Answered::Error(_)) => return None,
            Err(trouble) => {
                self.log(&trouble);
                return None;
            }
        };
        let mut task = Object::read(&task)?;
        task.remove("resultType");
        Some(task.render())
    }

    fn log(&self, trouble: &Trouble) {
        let upstream = &self.server.config.name;
        tracing::debug!(%upstream, error = %trouble, "a listener's notifications broke off");
    }
}
