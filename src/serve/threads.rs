//! Threads that connections live on.
//!
//! One for each core, as a rule, each with a runtime of its own: nothing of a connection ever changes its thread, so no
//! call waits until another core is woken to go on with it. What a runtime of many threads steals from one to give to
//! another is, for calls as short as these, less work than the stealing.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where connections live. Clones share the threads; the last one that is dropped ends them, and whatever is left on them.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    runtimes: Vec<Handle>,
    _running: Option<Arc<DropGuard>>,
}

impl Threads {
    /// So many; of none, connections live where they are accepted.
    pub fn begin(count: usize) -> io::Result<Self> {
        let over = CancellationToken::new();
        let runtimes = (0..count).map(|_| thread(over.clone())).collect::<io::Result<_>>()?;
        Ok(Self { runtimes, _running: Some(Arc::new(over.drop_guard())) })
    }

    /// Their runtimes.
    pub(super) fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }
}

fn thread(over: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("connections".to_owned()).spawn(move || {
        runtime.block_on(over.cancelled());
        // Blocking work of a connection that was cut is not waited for.
        runtime.shutdown_background();
    })?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;
    use crate::serve::{ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, serve};

    #[tokio::test]
    async fn connections_are_spread_over_the_threads_and_stay() {
        let count = 3;
        let threads = Threads::begin(count).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().on(threads.clone());
        let address = listener.local_addr();
        let app = tower::service_fn(|_: Request<RequestBody>| async {
            let name = format!("{:?}", thread::current().id());
            Ok::<_, Infallible>(Response::new(http_body_util::Full::<bytes::Bytes>::from(name)))
        });
        let drain = Drain::new(DrainTimings::default());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, app, ConnectionLimits::default(), drain));
        let mut asked = Vec::new();
        for _ in 0..2 * count {
            asked.push((TcpStream::connect(address).await.unwrap(), String::new()));
        }
        for _ in 0..2 {
            for (socket, lives_on) in &mut asked {
                socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                let mut answer = vec![0; 1024];
                let size = socket.read(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer[..size]).into_owned();
                let thread = answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned();
                assert!(lives_on.is_empty() || *lives_on == thread, "{lives_on} {thread}");
                *lives_on = thread;
            }
        }
        let mut used: Vec<String> = asked.into_iter().map(|(_, thread)| thread).collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), count, "{used:?}");
    }
}
