//! Notifications of an upstream on their way to the client that waits.

use serde_json::value::RawValue;

use super::ask::Ask;
use super::server::Server;
use crate::gateway::feed::Feed;
use crate::mcp::{LogLevel, Object, ProgressToken, render_notification};

/// Where the notifications of one call go.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    feed: &'a Feed,
    token: Option<&'a ProgressToken>,
    level: Option<LogLevel>,
    number: u64,
}

impl<'a> Relay<'a> {
    /// `number` is the progress token that the upstream was given.
    pub(super) fn new(ask: &'a Ask, feed: &'a Feed, number: u64) -> Self {
        let meta = ask.envelope.meta();
        // A legacy client has no way to say which it wants; its servers choose.
        let level =
            if ask.envelope.era().is_modern() { meta.log_level() } else { Some(LogLevel::Debug) };
        Self { feed, token: meta.progress_token(), level, number }
    }

    /// Passes one notification on, if it is for this client; what is for everybody goes its own way.
    pub(super) async fn pass_on(&self, server: &Server, method: &str, params: Option<&RawValue>) {
        match method {
            "notifications/progress" => self.progress(params).await,
            "notifications/message" => self.log(params).await,
            _ if method.ends_with("/list_changed")
                || method == "notifications/resources/updated" =>
            {
                server.noticed(method, params);
            }
            // About requests of the other direction, of which there are none.
            "notifications/cancelled" => {}
            _ => self.send(method, params).await,
        }
    }

    /// progress, "Progress Flow": with the token of the client's own request, in its JSON type.
    async fn progress(&self, params: Option<&RawValue>) {
        let (Some(token), Some(mut params)) = (self.token, params.and_then(Object::read)) else {
            return;
        };
        let ours =
            params.get("progressToken").is_some_and(|it| it.get() == self.number.to_string());
        if ours {
            params.set("progressToken", token.to_raw());
            self.send("notifications/progress", Some(&params.render())).await;
        }
    }

    /// logging, "Per-request log level": MUST NOT be sent to a client that did not ask, nor below what it asked for.
    async fn log(&self, params: Option<&RawValue>) {
        let said = params.and_then(Object::read);
        let said = said.and_then(|it| it.get("level").and_then(LogLevel::parse));
        if said.is_some() && self.level.is_some() && said >= self.level {
            self.send("notifications/message", params).await;
        }
    }

    async fn send(&self, method: &str, params: Option<&RawValue>) {
        self.feed.pass_on(render_notification(method, params)).await;
    }
}
