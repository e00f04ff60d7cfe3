//! Notifications of an upstream on their way to the client that waits.

use super::ask::Ask;
use super::server::Server;
use super::watch::MAX_TOLD;
use crate::gateway::feed::Feed;
use crate::mcp::{
    Json, JsonBuf, LogLevel, NameSource, Object, ProgressToken, RELATED_TASK, related_task,
    render_notification,
};

/// Where the notifications of one call go.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    feed: &'a Feed,
    token: Option<&'a ProgressToken>,
    level: Option<LogLevel>,
    number: u64,
    task: Option<TaskIds<'a>>,
}

/// The task that a request is about.
#[derive(Clone, Copy, Debug)]
struct TaskIds<'a> {
    /// What the upstream calls it.
    theirs: &'a str,
    /// What the client knows it by.
    ours: &'a str,
}

impl<'a> Relay<'a> {
    /// `number` is the progress token that the upstream was given.
    pub(super) fn new(ask: &'a Ask, feed: &'a Feed, number: u64) -> Self {
        let meta = ask.envelope.meta();
        // A legacy client has no way to say which it wants; its servers choose.
        let level =
            if ask.envelope.era().is_modern() { meta.log_level() } else { Some(LogLevel::Debug) };
        let is_about_a_task = ask.envelope.method().name_source() == Some(NameSource::TaskId);
        let ids = ask.name.as_deref().zip(ask.envelope.name()).filter(|_| is_about_a_task);
        let task = ids.map(|(theirs, ours)| TaskIds { theirs, ours });
        Self { feed, token: meta.progress_token(), level, number, task }
    }

    /// Passes one notification on, if it is for this client; what is for everybody goes its own way.
    pub(super) async fn pass_on(&self, server: &Server, method: &str, params: Option<Json<'_>>) {
        match method {
            "notifications/progress" => self.progress(params).await,
            "notifications/message" => self.log(params).await,
            _ if method.ends_with("/list_changed")
                || method == "notifications/resources/updated" =>
            {
                server.noticed(method, params);
            }
            "notifications/tasks/status" => self.task_status(params).await,
            // About requests of the other direction, of which there are none; and what belongs on streams that are
            // listened to (SEP-2663, "Task Status Notifications").
            "notifications/cancelled" | "notifications/tasks" => {}
            _ => self.send(method, params).await,
        }
    }

    /// progress, "Progress Flow": with the token of the client's own request, in its JSON type.
    async fn progress(&self, params: Option<Json<'_>>) {
        let (Some(token), Some(mut params)) = (self.token, params.and_then(Object::read)) else {
            return;
        };
        let ours =
            params.get("progressToken").is_some_and(|it| it.get() == self.number.to_string());
        if ours {
            params.set("progressToken", token.to_buf());
            self.send("notifications/progress", Some(params.render().json())).await;
        }
    }

    /// logging, "Per-request log level": MUST NOT be sent to a client that did not ask, nor below what it asked for.
    async fn log(&self, params: Option<Json<'_>>) {
        let said = params.and_then(Object::read);
        let said = said.and_then(|it| it.get("level").and_then(LogLevel::parse));
        if said.is_some() && self.level.is_some() && said >= self.level {
            self.send("notifications/message", params).await;
        }
    }

    /// 2025-11-25 tasks, "Task Status Notification": optional, so of a task that the client does not know yet, or by
    /// this id, nothing is told.
    async fn task_status(&self, params: Option<Json<'_>>) {
        let (Some(task), Some(mut params)) = (self.task, params.and_then(Object::read)) else {
            return;
        };
        if params.text("taskId").is_some_and(|it| it == task.theirs) {
            params.set_text("taskId", task.ours);
            self.send("notifications/tasks/status", Some(params.render().json())).await;
        }
    }

    async fn send(&self, method: &str, params: Option<Json<'_>>) {
        let renamed = params.and_then(|it| self.rename_related(it));
        let notification =
            render_notification(method, renamed.as_ref().map(JsonBuf::json).or(params));
        if notification.len() > MAX_TOLD {
            let bytes = notification.len();
            tracing::debug!(bytes, "a notification of an upstream is too large to be passed on");
            return;
        }
        self.feed.pass_on(notification).await;
    }

    /// 2025-11-25 tasks, "Related Task Metadata": by the id that the client knows, or not at all.
    fn rename_related(&self, params: Json<'_>) -> Option<JsonBuf> {
        let mut params = Object::read(params)?;
        let meta = params.get("_meta").and_then(Object::read)?;
        let related = meta.get(RELATED_TASK).and_then(Object::read)?;
        let theirs = related.text("taskId");
        let known = self.task.filter(|task| theirs.is_some_and(|it| it == task.theirs));
        params.amend("_meta", |meta| match known {
            Some(task) => meta.set(RELATED_TASK, related_task(task.ours)),
            None => meta.remove(RELATED_TASK),
        });
        Some(params.render())
    }
}
