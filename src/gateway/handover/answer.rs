//! What a client of the legacy era answers, brought to the call that asked it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::timeout;

use super::letter::Letter;
use crate::domain::ids::Principal;
use crate::gateway::dispatch::{Edge, From};
use crate::mcp::Message;

/// How long another replica may take to say that it has an answer.
const DELIVERY: Duration = Duration::from_secs(5);

impl Edge {
    /// Brings an answer to whoever asked, here or on another replica. One that nobody asked for, or no longer, is
    /// forgotten: its client can do nothing about it.
    pub(in crate::gateway) async fn bring_answer(
        &self,
        (headers, message): (&HeaderMap, &Bytes),
        caller: Principal,
        from: From,
    ) {
        let Ok(Message::Response { id: Some(id), outcome }) = Message::read(message) else {
            return;
        };
        let back_channel = self.upstreams.back_channel();
        let Some(asked) = back_channel.asked(&id, &caller) else { return };
        if back_channel.is_here(&asked) {
            back_channel.answer(&asked, outcome);
        } else if from == From::Client {
            let letter = Letter::new(caller, headers, message.clone());
            let delivery = timeout(DELIVERY, self.handover.send(&asked.replica, &letter, DELIVERY));
            if !matches!(delivery.await, Ok(Ok(_))) {
                tracing::warn!(replica = asked.replica, "a client's answer was not handed over");
            }
        }
    }
}
