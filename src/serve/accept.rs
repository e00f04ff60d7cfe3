//! The loop: accept within the limits, look for the overdue, end with the drain.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::activity::{Activity, Overdue};
use super::arrival::Entrance;
use super::backlog::Backlog;
use super::complaint::Complaint;
use super::connection::Shared;
use super::drain::Drain;
use super::http2::Http2;
use super::limits::{self, ConnectionLimits};
use super::listener::{ConnectionCounts, Listener};
use super::request_body::RequestBody;
use super::shares::Shares;
use super::streams::StreamTasks;
use super::threads::Threads;
use super::{connection, http1};

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
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    let streams = TaskTracker::new();
    let finish = CancellationToken::new();
    let stream_tasks = StreamTasks {
        tasks: streams.clone(),
        write_stall: limits.write_stall,
        counts: listener.counts(),
    };
    let shared = Arc::new(Shared {
        app,
        http1: http1::builder(),
        http2: Http2::new(stream_tasks, limits.age, finish.clone()),
        drain: drain.clone(),
        finish: finish.clone(),
        entrance: Entrance {
            proxies: listener.proxies.clone(),
            shares: Shares::new(limits.connections_per_address),
            counts: listener.counts(),
            complaint: Complaint::default(),
        },
        age: limits.age,
    });
    let mut connections = Connections::new(limits, listener.counts(), listener.threads.clone());
    let mut sweep = interval(connections.sweep_period());
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backlog = Backlog::new(listener, drain.clone());
    loop {
        tokio::select! {
            accepted = backlog.next() => {
                let Some((socket, peer)) = accepted else { break };
                if let Some(activity) = connections.admit()
                    && let Ok(socket) = socket.park()
                {
                    let run = connection::run(socket, peer, Arc::clone(&activity), Arc::clone(&shared));
                    connections.insert(activity, run);
                }
            }
            Some(ended) = connections.tasks.join_next_with_id() => connections.remove(ended),
            _ = sweep.tick() => connections.cut_overdue(Instant::now()),
        }
    }
    drop(backlog);
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

/// The open connections. Only the loop touches it, so it needs no lock.
struct Connections {
    limits: ConnectionLimits,
    counts: ConnectionCounts,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    threads: Threads,
    /// How many live on each.
    on_thread: Vec<usize>,
}

struct Open {
    activity: Arc<Activity>,
    task: AbortHandle,
    /// None: where it was accepted.
    thread: Option<usize>,
}

impl Connections {
    fn new(limits: ConnectionLimits, counts: ConnectionCounts, threads: Threads) -> Self {
        let on_thread = vec![0; threads.runtimes().len()];
        Self { limits, counts, tasks: JoinSet::new(), open: HashMap::new(), threads, on_thread }
    }

    fn sweep_period(&self) -> Duration {
        let ConnectionLimits { first_byte, head, idle, write_stall, .. } = self.limits;
        let shortest = first_byte.min(head).min(idle).min(write_stall).min(limits::LINGER);
        (shortest / 4).clamp(Duration::from_millis(1), SWEEP)
    }

    fn admit(&self) -> Option<Arc<Activity>> {
        if self.open.len() >= self.limits.connections {
            self.counts.add_refused_in_all();
            return None;
        }
        Some(Activity::new(Instant::now()))
    }

    fn insert<F>(&mut self, activity: Arc<Activity>, run: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let thread = (0..self.on_thread.len()).min_by_key(|it| self.on_thread[*it]);
        let task = match thread {
            Some(thread) => {
                self.on_thread[thread] += 1;
                self.tasks.spawn_on(run, &self.threads.runtimes()[thread])
            }
            None => self.tasks.spawn(run),
        };
        self.open.insert(task.id(), Open { activity, task, thread });
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
        let ended = self.open.remove(&id);
        if let Some(thread) = ended.and_then(|it| it.thread) {
            self.on_thread[thread] -= 1;
        }
        self.counts.set_open(self.open.len());
    }

    fn cut_overdue(&self, now: Instant) {
        for open in self.open.values() {
            let overdue = open.activity.overdue(now, &self.limits);
            match overdue.filter(|_| !open.task.is_finished()) {
                Some(Overdue::TooSlow) => self.counts.add_too_slow(),
                Some(Overdue::Lingered) => {}
                None => continue,
            }
            open.task.abort();
        }
    }
}
