//! The link to Redis: a deadline on every operation, a breaker, and one task that keeps it connected.
//!
//! The crate connects and speaks the protocol. It neither gives up on a server that does not answer nor leaves a
//! connection on which answers are late, so both are decided here. Nothing is ever sent twice by the link itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::master::{Master, Server};
use super::pace::Pace;
use super::step::{Claim, Step};
use super::trouble::Trouble;

/// How long one operation may take, waiting for the connection included.
pub(super) const OPERATION_DEADLINE: Duration = Duration::from_millis(250);
/// An answer that had less time than this may be late without a fault of the server.
const FAIR_TIME: Duration = Duration::from_millis(100);
/// How long connecting, or an answer to a check, may take.
pub(super) const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// How often an absent server is tried, and one that is there only to close connections.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How often a connection is asked whether the server is still there and still the master.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(5);
/// So many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 5;

/// A connection that is kept, or known to be away.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Owns the keeper: it ends with the link.
    _keeper: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    master: Arc<Master>,
    state: watch::Sender<State>,
    /// An answer was late or strange: the keeper is to look whether the server still answers and is still the master.
    doubt: Notify,
    /// Whether the log's last word was that the directory is away.
    is_said_away: AtomicBool,
}

#[derive(Clone, Debug)]
enum State {
    /// The connection broke, or there was none yet: operations wait for it within their deadline.
    Connecting,
    Connected(Connected),
    /// The breaker is open: operations are refused at once.
    Away(Trouble),
}

#[derive(Clone, Debug)]
struct Connected {
    server: Server,
    record: Arc<Record>,
}

/// How operations on one connection went.
#[derive(Debug, Default)]
struct Record {
    /// Since the last success.
    failures: AtomicU32,
    /// Whether there was a success.
    served: AtomicBool,
}

impl Link {
    /// A link to a server that may be down. Returns after the first attempt to connect, or half a second of it.
    pub(super) async fn open(master: Arc<Master>) -> Self {
        let link = Self::begin(master);
        let mut changes = link.shared.state.subscribe();
        // An error would mean that the sender is gone, and we hold it.
        drop(changes.wait_for(|state| !matches!(state, State::Connecting)).await);
        link
    }

    /// A link that is still to be connected: operations wait for that within their deadline.
    pub(super) fn begin(master: Arc<Master>) -> Self {
        let state = watch::Sender::new(State::Connecting);
        let (doubt, is_said_away) = (Notify::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { master, state, doubt, is_said_away });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&shared)));
        Self { shared, _keeper: keeper }
    }

    /// Whether operations are sent now.
    pub(super) fn is_connected(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Connected(_))
    }

    /// Sends one operation within [`OPERATION_DEADLINE`].
    pub(super) async fn operate<T: FromRedisValue>(&self, step: &Step) -> Result<T, Trouble> {
        self.operate_by(step, Claim::Owner, Instant::now() + OPERATION_DEADLINE).await
    }

    /// Sends one operation, to be answered until then.
    pub(super) async fn operate_by<T: FromRedisValue>(
        &self,
        step: &Step,
        claim: Claim,
        deadline: Instant,
    ) -> Result<T, Trouble> {
        let connected = self.shared.connected(deadline).await?;
        let sent = Instant::now();
        match timeout_at(deadline, step.send(&mut connected.commands(), claim)).await {
            Err(_) => {
                // One that spent its time at another server says nothing of this one.
                if deadline - sent >= FAIR_TIME {
                    self.shared.doubt.notify_one();
                    self.shared.count_failure(&connected, Trouble::Late);
                }
                Err(Trouble::Late)
            }
            Ok(Err(error)) => Err(self.shared.judge(&connected, error)),
            Ok(Ok(answer)) => {
                self.shared.count_success(&connected);
                Ok(answer)
            }
        }
    }
}

impl Shared {
    /// The connection, waited for while it is being made.
    async fn connected(&self, deadline: Instant) -> Result<Connected, Trouble> {
        let now = self.state.borrow().clone();
        let state = if let State::Connecting = now {
            let mut changes = self.state.subscribe();
            let settled = changes.wait_for(|state| !matches!(state, State::Connecting));
            let state = timeout_at(deadline, settled).await.map_err(|_| Trouble::Late)?;
            state.expect("the link holds the sender").clone()
        } else {
            now
        };
        match state {
            State::Connected(connected) => Ok(connected),
            State::Away(trouble) => Err(Trouble::Open(Box::new(trouble))),
            State::Connecting => Err(Trouble::Late),
        }
    }

    /// What an error means for the connection, and for the caller.
    fn judge(&self, connected: &Connected, error: RedisError) -> Trouble {
        use redis::ErrorKind::{AuthenticationFailed, Io, Parse, Server, UnexpectedReturnType};
        use redis::ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
        match error.kind() {
            // One that refuses writes was demoted: the next connection may be to the one that took its place.
            Io | AuthenticationFailed | Server(ReadOnly) => {
                let trouble = Trouble::Failed(error);
                self.leave(connected, trouble.clone());
                trouble
            }
            Server(BusyLoading | MasterDown) => {
                let trouble = Trouble::Failed(error);
                self.count_failure(connected, trouble.clone());
                trouble
            }
            Parse | UnexpectedReturnType => Trouble::Unreadable(error.to_string()),
            _ if error.code() == Some("WRONGTYPE") => Trouble::Unreadable(error.to_string()),
            // It takes no writes without replicas: others may have made one of them their master.
            _ if error.code() == Some("NOREPLICAS") => {
                self.doubt.notify_one();
                Trouble::Failed(error)
            }
            // It answers, so the connection is sound: out of memory, no permission, a bug in a script, a slot that is
            // elsewhere or nowhere.
            _ => Trouble::Failed(error),
        }
    }

    fn count_success(&self, connected: &Connected) {
        connected.record.failures.store(0, Ordering::Relaxed);
        if !connected.has_served() && !connected.record.served.swap(true, Ordering::Relaxed) {
            let (redis, server) = (self.master.url(), &connected.server.address);
            tracing::info!(%redis, %server, "the directory is there");
            self.is_said_away.store(false, Ordering::Relaxed);
        }
    }

    fn count_failure(&self, connected: &Connected, trouble: Trouble) {
        if connected.record.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_TO_OPEN {
            self.replace(connected, State::Away(trouble));
        }
    }

    /// Leaves a connection for the next. One that never served would be followed by more of the same, so that opens
    /// the breaker.
    fn leave(&self, connected: &Connected, trouble: Trouble) {
        let next = if connected.has_served() { State::Connecting } else { State::Away(trouble) };
        self.replace(connected, next);
    }

    /// Leaves a connection behind, unless another has taken its place.
    fn replace(&self, connected: &Connected, next: State) {
        self.state.send_if_modified(|state| {
            let current = state.is(connected);
            if current {
                *state = next;
            }
            current
        });
    }

    async fn connect(&self) -> Result<Connected, Trouble> {
        let server = self.master.connect().await?;
        Ok(Connected { server, record: Arc::default() })
    }

    /// Opens the breaker.
    fn open_breaker(&self, trouble: Trouble) {
        if !self.is_said_away.swap(true, Ordering::Relaxed) {
            let redis = self.master.url();
            tracing::warn!(%redis, %trouble, cause = ?trouble, "the directory is away");
        }
        self.state.send_replace(State::Away(trouble));
    }

    /// Waits until a connection is no longer good: why operations are refused now, if they are.
    async fn until_left(&self, connected: &Connected) -> Option<Trouble> {
        let mut changes = self.state.subscribe();
        let left = async { drop(changes.wait_for(|state| !state.is(connected)).await) };
        tokio::select! {
            () = left => {}
            trouble = self.until_useless(connected) => self.replace(connected, State::Away(trouble)),
        }
        match &*self.state.borrow() {
            State::Away(trouble) => Some(trouble.clone()),
            State::Connecting | State::Connected(_) => None,
        }
    }

    /// Says that a connection was left, and lets nobody wait for the next one until its turn.
    fn settle(&self, connected: &Connected, trouble: Option<Trouble>, turn: Instant) {
        if connected.has_served() {
            let (redis, server) = (self.master.url(), &connected.server.address);
            tracing::warn!(%redis, %server, "the connection to the directory was left");
        }
        let unsteady = (turn > Instant::now()).then_some(Trouble::Unsteady);
        if let Some(trouble) = trouble.or(unsteady) {
            self.open_breaker(trouble);
        }
    }

    /// Checks the connection now and then and whenever there is doubt, until it does not answer or is to another than
    /// the master.
    async fn until_useless(&self, connected: &Connected) -> Trouble {
        loop {
            // Over time the server may be replaced without a failure on the connection.
            drop(timeout(CHECK_EVERY, self.doubt.notified()).await);
            let next_check = Instant::now() + PROBE_EVERY;
            if let Err(trouble) = self.master.check(&connected.server).await {
                return trouble;
            }
            sleep_until(next_check).await;
        }
    }
}

impl Connected {
    fn commands(&self) -> MultiplexedConnection {
        self.server.connection.commands.clone()
    }

    fn has_served(&self) -> bool {
        self.record.served.load(Ordering::Relaxed)
    }
}

impl State {
    fn is(&self, connected: &Connected) -> bool {
        matches!(self, Self::Connected(it) if Arc::ptr_eq(&it.record, &connected.record))
    }
}

/// Connects, waits until the connection is left, and begins again.
async fn keep(shared: Arc<Shared>) {
    let mut pace = Pace::new(Instant::now());
    loop {
        let next_probe = Instant::now() + PROBE_EVERY;
        let mut connecting = Box::pin(shared.connect());
        let connected = if let Ok(soon) = timeout(PROBE_DEADLINE, &mut connecting).await {
            soon
        } else {
            // Silent Sentinels are asked on, but no operation waits for that.
            shared.open_breaker(Trouble::Late);
            connecting.await
        };
        match connected {
            Ok(connected) => {
                let turn = pace.count(Instant::now());
                shared.state.send_replace(State::Connected(connected.clone()));
                let trouble = shared.until_left(&connected).await;
                let turn = if connected.has_served() { turn } else { next_probe };
                shared.settle(&connected, trouble, turn);
                sleep_until(turn).await;
            }
            Err(trouble) => {
                shared.open_breaker(trouble);
                sleep_until(next_probe).await;
            }
        }
    }
}
