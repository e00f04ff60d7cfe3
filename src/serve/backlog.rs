//! A listener's connections one after the other, and the last of them when the drain closes it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::complaint::Complaint;
use super::drain::Drain;
use super::limits::{HANDSHAKES, LONGEST_CLOSE};
use super::listener::Listener;
use crate::net::Stream;

/// After an accept that failed for want of descriptors or memory: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel holds for us. One that a client has may carry a request already, and closing the
/// listener would reset it: so those that began before are still taken, and others do not begin.
#[derive(Debug)]
pub(super) struct Backlog {
    listener: Listener,
    drain: Drain,
    complaint: Complaint,
    closing_since: Option<Instant>,
}

impl Backlog {
    pub(super) fn new(listener: Listener, drain: Drain) -> Self {
        Self { listener, drain, complaint: Complaint::default(), closing_since: None }
    }

    /// The next connection; none once the listener may close. Safe to drop while it waits.
    pub(super) async fn next(&mut self) -> Option<(Stream, SocketAddr)> {
        let since = if let Some(since) = self.closing_since {
            since
        } else {
            tokio::select! {
                accepted = self.accept() => return Some(accepted),
                () = self.drain.closing() => {
                    self.begin_no_more();
                    *self.closing_since.insert(Instant::now())
                }
            }
        };
        if since.elapsed() > LONGEST_CLOSE {
            return None;
        }
        // Looks for a connection before it looks at the time: after a pause of ours those that wait are still taken.
        timeout_at(since + HANDSHAKES, self.accept()).await.ok()
    }

    fn begin_no_more(&self) {
        if let Err(error) = self.listener.begin_no_more() {
            tracing::warn!(%error, "connections go on beginning until the listener is closed: the last may be reset");
        }
    }

    /// The next connection. Waits out a lack of descriptors; errors of the one that came are not ours.
    async fn accept(&self) -> (Stream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    // Answers are written in one piece; waiting for more would only add latency.
                    if let Err(error) = socket.set_nodelay() {
                        tracing::debug!(%peer, %error, "connection was gone before it began");
                        continue;
                    }
                    return (socket, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if self.complaint.is_due() {
                        tracing::error!(%error, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
