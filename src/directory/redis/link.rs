//! The link to Redis: a deadline on every operation, a breaker, and one task that keeps it connected.
//!
//! The crate connects and speaks the protocol. It neither gives up on a server that does not answer nor leaves a
//! connection on which answers are late, so both are decided here. Nothing is ever sent twice by the link itself.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisError, RedisResult, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::url::RedisUrl;
use crate::directory::DirectoryError;

/// How long one operation may take, waiting for the connection included.
const OPERATION_DEADLINE: Duration = Duration::from_millis(250);
/// How long connecting, or an answer to a check, may take.
pub(super) const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// How often an absent server is tried.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(500);
/// So many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 5;
/// How many operations may wait to be written.
const QUEUE: usize = 1024;

/// A connection that is kept, or known to be away.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Owns the keeper: it ends with the link.
    _keeper: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    url: RedisUrl,
    client: redis::Client,
    state: watch::Sender<State>,
    /// An answer was late: the keeper is to look whether the server still answers at all.
    doubt: Notify,
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
    connection: MultiplexedConnection,
    failures: Arc<AtomicU32>,
}

/// What the link saw.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("Redis did not answer in time")]
    Late,
    #[error("Redis cannot be used")]
    Failed(#[source] RedisError),
    #[error("Redis closed the connection")]
    Closed,
    #[error("Redis has been away for a while and is not asked")]
    Open(#[source] Box<Trouble>),
}

impl From<Trouble> for DirectoryError {
    fn from(trouble: Trouble) -> Self {
        Self::Away { source: Some(Box::new(trouble)) }
    }
}

/// The error for an answer that did not come in time.
pub(super) fn late() -> DirectoryError {
    Trouble::Late.into()
}

/// The error for what the crate reports.
pub(super) fn failed(error: RedisError) -> DirectoryError {
    Trouble::Failed(error).into()
}

impl Link {
    /// A link to a server that may be down. Returns after the first attempt to connect.
    pub(super) async fn open(url: &RedisUrl) -> Self {
        let (state, mut changes) = watch::channel(State::Connecting);
        let (url, client) = (url.clone(), url.client());
        let shared = Arc::new(Shared { url, client, state, doubt: Notify::new() });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&shared)));
        // An error would mean that the sender is gone, and we hold it.
        drop(changes.wait_for(|state| !matches!(state, State::Connecting)).await);
        Self { shared, _keeper: keeper }
    }

    /// Runs a script by its digest; Redis is sent its text only when it does not know it.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, DirectoryError> {
        self.operate(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    /// Runs one command.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, DirectoryError> {
        self.operate(async |mut connection| command.query_async(&mut connection).await).await
    }

    async fn operate<T>(
        &self,
        operation: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, DirectoryError> {
        let deadline = Instant::now() + OPERATION_DEADLINE;
        let connected = self.shared.connected(deadline).await?;
        match timeout_at(deadline, operation(connected.connection.clone())).await {
            Err(_) => {
                self.shared.doubt.notify_one();
                self.shared.count_failure(&connected, Trouble::Late);
                Err(Trouble::Late.into())
            }
            Ok(Err(error)) => Err(self.shared.judge(&connected, error)),
            Ok(Ok(answer)) => {
                connected.failures.store(0, Ordering::Relaxed);
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
    fn judge(&self, connected: &Connected, error: RedisError) -> DirectoryError {
        use redis::ErrorKind::{AuthenticationFailed, Io, Parse, Server, UnexpectedReturnType};
        use redis::ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
        match error.kind() {
            Io | AuthenticationFailed => {
                self.replace(connected, State::Connecting);
                Trouble::Failed(error).into()
            }
            Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => {
                let trouble = Trouble::Failed(error);
                self.count_failure(connected, trouble.clone());
                trouble.into()
            }
            Parse | UnexpectedReturnType => DirectoryError::Unreadable { what: error.to_string() },
            _ if error.code() == Some("WRONGTYPE") => {
                DirectoryError::Unreadable { what: error.to_string() }
            }
            // It answers, so the connection is sound: out of memory, no permission, a bug in a script.
            _ => Trouble::Failed(error).into(),
        }
    }

    fn count_failure(&self, connected: &Connected, trouble: Trouble) {
        if connected.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_TO_OPEN {
            self.replace(connected, State::Away(trouble));
        }
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
        // Deadlines are ours: the crate's own would hide from the breaker what was late.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let connecting = async {
            let mut connection =
                self.client.get_multiplexed_async_connection_with_config(&config).await?;
            ping(&mut connection).await?;
            Ok(connection)
        };
        let connection = in_time(PROBE_DEADLINE, connecting).await?;
        Ok(Connected { connection, failures: Arc::default() })
    }

    /// Waits until a connection is no longer good.
    async fn until_left(&self, connected: &Connected) {
        let mut changes = self.state.subscribe();
        let left = async { drop(changes.wait_for(|state| !state.is(connected)).await) };
        tokio::select! {
            () = left => {}
            trouble = self.until_silent(connected) => self.replace(connected, State::Away(trouble)),
        }
    }

    /// Checks the connection whenever there is doubt, until it does not answer.
    async fn until_silent(&self, connected: &Connected) -> Trouble {
        let mut connection = connected.connection.clone();
        loop {
            self.doubt.notified().await;
            if let Err(trouble) = in_time(PROBE_DEADLINE, ping(&mut connection)).await {
                return trouble;
            }
        }
    }
}

impl State {
    fn is(&self, connected: &Connected) -> bool {
        matches!(self, Self::Connected(it) if Arc::ptr_eq(&it.failures, &connected.failures))
    }
}

/// Connects, waits until the connection is left, and begins again.
async fn keep(shared: Arc<Shared>) {
    loop {
        let next_probe = Instant::now() + PROBE_EVERY;
        match shared.connect().await {
            Ok(connected) => {
                tracing::info!(redis = %shared.url, "the directory is there");
                shared.state.send_replace(State::Connected(connected.clone()));
                shared.until_left(&connected).await;
                tracing::warn!(redis = %shared.url, "the connection to the directory was left");
            }
            Err(trouble) => {
                if !matches!(*shared.state.borrow(), State::Away(_)) {
                    tracing::warn!(redis = %shared.url, %trouble, cause = ?trouble, "the directory is away");
                }
                shared.state.send_replace(State::Away(trouble));
                sleep_until(next_probe).await;
            }
        }
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").query_async(connection).await
}

/// Gives a step as long as `limit`.
pub(super) async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = RedisResult<T>>,
) -> Result<T, Trouble> {
    timeout(limit, step).await.map_err(|_| Trouble::Late)?.map_err(Trouble::Failed)
}
