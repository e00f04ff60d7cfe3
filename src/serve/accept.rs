//! The loop: accept within the limits, look for the overdue, end with the drain.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::activity::Activity;
use super::connection::{self, Shared};
use super::drain::Drain;
use super::limits::ConnectionLimits;
use super::listener::{ConnectionCounts, Listener};
use crate::net::Stream;

/// After an accept that failed for want of descriptors or memory: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines about failing accepts.
const ACCEPT_COMPLAINT: Duration = Duration::from_secs(10);
/// How often the overdue are looked for, unless a deadline is shorter.
const SWEEP: Duration = Duration::from_secs(1);
/// A cut connection's handlers end when they are next polled; one that blocks does not hold the process.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// How a drained listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still had a request in flight at the deadline.
    pub cut: usize,
}

/// Serves until the drain is over: accepts until it closes, then finishes what is in flight until its deadline.
/// Dropping the future cuts every connection.
pub async fn serve<S, B>(
    listener: Listener,
    app: S,
    limits: ConnectionLimits,
    drain: Drain,
) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    let streams = TaskTracker::new();
    let finish = CancellationToken::new();
    let shared = Arc::new(Shared {
        app,
        http: connection::http(streams.clone()),
        drain: drain.clone(),
        finish: finish.clone(),
    });
    let mut connections = Connections::new(limits, listener.counts());
    let mut sweep = interval(connections.sweep_period());
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complaint = Complaint::default();
    {
        let mut closing = std::pin::pin!(drain.closing());
        loop {
            tokio::select! {
                accepted = accept(&listener, &mut complaint) => {
                    let (socket, peer) = accepted;
                    if let Some(activity) = connections.admit(peer) {
                        let run = connection::run(socket, peer, Arc::clone(&activity), Arc::clone(&shared));
                        connections.insert(peer, activity, run);
                    }
                }
                Some(ended) = connections.tasks.join_next_with_id() => connections.remove(ended),
                _ = sweep.tick() => connections.cut_overdue(Instant::now()),
                () = &mut closing => break,
            }
        }
    }
    drop(listener);
    finish.cancel();
    let mut deadline = std::pin::pin!(drain.deadline());
    while !connections.tasks.is_empty() {
        tokio::select! {
            Some(ended) = connections.tasks.join_next_with_id() => connections.remove(ended),
            _ = sweep.tick() => connections.cut_overdue(Instant::now()),
            () = &mut deadline => break,
        }
    }
    let cut = connections.tasks.len();
    connections.tasks.abort_all();
    streams.close();
    let cutting = async {
        while let Some(ended) = connections.tasks.join_next_with_id().await {
            connections.remove(ended);
        }
        streams.wait().await;
    };
    if tokio::time::timeout(AFTER_CUT, cutting).await.is_err() {
        tracing::error!("a handler blocks and outlives its connection");
    }
    Drained { cut }
}

/// The next connection. Waits out a lack of descriptors; errors of the one that came are not ours.
async fn accept(listener: &Listener, complaint: &mut Complaint) -> (Stream, SocketAddr) {
    loop {
        match listener.accept().await {
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
                complaint.about(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Says once in a while that accepting fails.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    fn about(&mut self, error: &io::Error) {
        if self.last.is_none_or(|last| last.elapsed() > ACCEPT_COMPLAINT) {
            self.last = Some(Instant::now());
            tracing::error!(%error, "cannot accept connections");
        }
    }
}

/// The open connections. Only the loop touches it, so it needs no lock.
struct Connections {
    limits: ConnectionLimits,
    counts: ConnectionCounts,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    per_address: HashMap<IpAddr, usize>,
}

struct Open {
    activity: Arc<Activity>,
    neighbourhood: IpAddr,
    task: AbortHandle,
}

impl Connections {
    fn new(limits: ConnectionLimits, counts: ConnectionCounts) -> Self {
        let (tasks, open, per_address) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Self { limits, counts, tasks, open, per_address }
    }

    fn sweep_period(&self) -> Duration {
        let ConnectionLimits { first_byte, head, idle, write_stall, .. } = self.limits;
        let shortest = first_byte.min(head).min(idle).min(write_stall);
        (shortest / 4).clamp(Duration::from_millis(1), SWEEP)
    }

    fn admit(&self, peer: SocketAddr) -> Option<Arc<Activity>> {
        if self.open.len() >= self.limits.connections {
            self.counts.add_refused_in_all();
            return None;
        }
        let held = self.per_address.get(&neighbourhood(peer.ip())).copied().unwrap_or(0);
        if held >= self.limits.connections_per_address {
            self.counts.add_refused_by_address();
            return None;
        }
        Some(Activity::new(Instant::now()))
    }

    fn insert<F>(&mut self, peer: SocketAddr, activity: Arc<Activity>, run: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = self.tasks.spawn(run);
        let neighbourhood = neighbourhood(peer.ip());
        *self.per_address.entry(neighbourhood).or_default() += 1;
        self.open.insert(task.id(), Open { activity, neighbourhood, task });
        self.counts.set_open(self.open.len());
    }

    fn remove(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if ended.is_err_and(|error| error.is_panic()) {
            tracing::error!("a handler panicked; its connection is closed");
        }
        let Some(open) = self.open.remove(&id) else { return };
        self.counts.set_open(self.open.len());
        if let Some(held) = self.per_address.get_mut(&open.neighbourhood) {
            *held -= 1;
            if *held == 0 {
                self.per_address.remove(&open.neighbourhood);
            }
        }
    }

    fn cut_overdue(&self, now: Instant) {
        for open in self.open.values() {
            if !open.task.is_finished() && open.activity.is_overdue(now, &self.limits) {
                self.counts.add_too_slow();
                open.task.abort();
            }
        }
    }
}

/// Who counts as one address: an IPv4 address, or the /64 that one IPv6 customer has to himself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(
                neighbourhood(address.parse().unwrap()),
                expected.parse::<IpAddr>().unwrap()
            );
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2:ffff::1", "2001:db8:1:2::");
    }
}
