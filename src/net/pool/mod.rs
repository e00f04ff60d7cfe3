//! HTTP/1.1 connections that are used again, each driven by whoever waits for its answer.
//!
//! A task of its own for each connection, as HTTP clients have it, costs two switches between tasks for every call, and
//! on another thread as soon as the scheduler likes. Here the connection belongs to its call until the answer is read,
//! and then to the thread that the call ran on. To drop the call, or what is left of its answer, closes the connection.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, Write};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

/// Threads that keep connections apart from each other's.
const SHELVES: usize = 32;
/// How often a request is handed to a connection that turns out to be closed before it takes the request.
const STALE_TRIES: usize = 3;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests by connections that `C` opens. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool<C> {
    connector: C,
    http: Builder,
    unused: Arc<Unused>,
}

/// The connections' bounds.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long an unused connection is kept. Less than what the other side keeps it, so that it is ours to close and a
    /// request seldom meets one that is just being closed.
    pub idle: Duration,
    /// How many unused ones a thread keeps to one authority. Answers come in bursts: of so many calls at once all may for
    /// a moment be between two of their clients'.
    pub idle_most: usize,
    /// Longest head of an answer, in bytes.
    pub head: usize,
    /// Most header fields of an answer.
    pub headers: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// No byte of the request can have arrived: no connection came about, or each was found closed before it took the
    /// request.
    NotSent(Cause),
    /// It may have arrived.
    Lost(Cause),
}

/// The body of an answer. Read to its end, it gives its connection back.
#[derive(Debug)]
pub struct Body {
    /// None: it was read to its end, or is empty.
    incoming: Option<Incoming>,
    /// None: it was given back.
    line: Option<Box<Line>>,
    home: (Arc<Unused>, Place),
}

/// Where connections lead.
#[derive(Clone, Debug)]
struct Place {
    scheme: Scheme,
    authority: Authority,
}

/// The connections that nobody uses now.
#[derive(Debug)]
struct Unused {
    bounds: Bounds,
    shelves: [Mutex<Shelf>; SHELVES],
    sweepers: TaskTracker,
}

/// Those of one thread.
#[derive(Debug, Default)]
struct Shelf {
    lines: HashMap<Place, Vec<(Instant, Box<Line>)>>,
    /// Whether somebody will look for those that are kept too long.
    is_swept: bool,
}

/// One connection, which makes progress only when it is polled.
#[derive(Debug)]
struct Line {
    requests: SendRequest<Full<Bytes>>,
    /// None: it has ended.
    connection: Option<Connection<Box<dyn Wire>, Full<Bytes>>>,
}

/// The bytes of a connection.
pub trait Wire: Read + Write + Send + Sync + Unpin + Debug {}

impl<T: Read + Write + Send + Sync + Unpin + Debug> Wire for T {}

impl<C> Pool<C>
where
    C: Service<Uri, Response: Wire + 'static, Error: Into<Cause>> + Clone,
{
    /// A pool without connections.
    pub fn new(connector: C, bounds: Bounds) -> Self {
        let mut http = Builder::new();
        http.max_buf_size(bounds.head).max_headers(bounds.headers);
        let shelves = std::array::from_fn(|_| Mutex::default());
        let unused = Arc::new(Unused { bounds, shelves, sweepers: TaskTracker::new() });
        Self { connector, http, unused }
    }

    /// Sends a request, once, to the URL that it names; returns when the head of the answer is there.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, SendError> {
        let (mut request, url, place) = addressed(request).map_err(SendError::NotSent)?;
        for _ in 0..STALE_TRIES {
            let Some(line) = self.unused.take(&place) else { break };
            match line.put(request).await? {
                Put::Answered(line, answer) => return Ok(self.answer(line, answer, place)),
                Put::Closed(unsent, _) => request = *unsent,
            }
        }
        // Boxed: most requests need no new connection.
        let line = Box::pin(self.open(url)).await.map_err(SendError::NotSent)?;
        match line.put(request).await? {
            Put::Answered(line, answer) => Ok(self.answer(line, answer, place)),
            Put::Closed(_, error) => Err(SendError::NotSent(error.into())),
        }
    }

    async fn open(&self, url: Uri) -> Result<Box<Line>, Cause> {
        let socket = self.connector.clone().oneshot(url).await.map_err(Into::into)?;
        let (requests, connection) = self.http.handshake(Box::new(socket) as Box<dyn Wire>).await?;
        Ok(Box::new(Line { requests, connection: Some(connection) }))
    }

    fn answer(&self, line: Box<Line>, answer: Response<Incoming>, place: Place) -> Response<Body> {
        answer.map(|incoming| {
            let home = (Arc::clone(&self.unused), place);
            let incoming = Some(incoming).filter(|it| !it.is_end_stream());
            let mut body = Body { incoming, line: Some(line), home };
            if body.incoming.is_none() {
                body.end();
            }
            body
        })
    }
}

impl Unused {
    /// One that is still open.
    fn take(&self, place: &Place) -> Option<Box<Line>> {
        loop {
            let (since, mut line) = self.shelf(thread_number()).lines.get_mut(place)?.pop()?;
            if since.elapsed() < self.bounds.idle && line.is_ready() {
                return Some(line);
            }
        }
    }

    fn give_back(self: &Arc<Self>, place: Place, mut line: Box<Line>) {
        if !line.is_ready() {
            return;
        }
        let number = thread_number();
        let mut kept = self.shelf(number);
        if !kept.is_swept {
            // Outside of a runtime, as when one ends, nobody could look after it.
            if Handle::try_current().is_err() {
                return;
            }
            kept.is_swept = true;
            self.sweepers.spawn(sweep(Arc::downgrade(self), number, self.bounds.idle));
        }
        let lines = kept.lines.entry(place).or_default();
        if lines.len() < self.bounds.idle_most {
            lines.push((Instant::now(), line));
        }
    }

    fn shelf(&self, number: usize) -> MutexGuard<'_, Shelf> {
        self.shelves[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what a thread keeps too long, until it keeps nothing.
async fn sweep(unused: Weak<Unused>, number: usize, idle: Duration) {
    let mut next = Instant::now() + idle;
    loop {
        sleep_until(next).await;
        let Some(unused) = unused.upgrade() else { return };
        let mut closed = Vec::new();
        let mut shelf = unused.shelf(number);
        shelf.lines.retain(|_, lines| {
            closed.extend(lines.extract_if(.., |(since, _)| since.elapsed() >= idle));
            !lines.is_empty()
        });
        let oldest = shelf.lines.values().filter_map(|it| it.first()).map(|it| it.0).min();
        shelf.is_swept = oldest.is_some();
        // Before sockets are closed, which takes time.
        drop(shelf);
        match oldest {
            Some(oldest) => next = oldest + idle,
            None => return,
        }
    }
}

/// What became of a request on one connection.
enum Put {
    /// The head of its answer.
    Answered(Box<Line>, Response<Incoming>),
    /// It was handed back unwritten.
    Closed(Box<Request<Full<Bytes>>>, hyper::Error),
}

impl Line {
    async fn put(self: Box<Self>, request: Request<Full<Bytes>>) -> Result<Put, SendError> {
        let mut line = self;
        let mut answer = pin!(line.requests.try_send_request(request));
        let answer = std::future::poll_fn(|context| {
            line.drive(context, |quiet| answer.as_mut().poll(quiet))
        });
        match answer.await {
            Ok(answer) => Ok(Put::Answered(line, answer)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Ok(Put::Closed(Box::new(unsent), error.into_error())),
                None => Err(SendError::Lost(error.into_error().into())),
            },
        }
    }

    /// Whether it takes a request now: it is open, and nothing comes on it.
    fn is_ready(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.requests.is_ready()
    }

    /// Polls what waits for the connection, and the connection itself. Whatever the one does wakes the other, which is
    /// polled right here; so only what the socket has to say is to wake the task.
    fn drive<T>(
        &mut self,
        context: &mut Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut quiet = Context::from_waker(Waker::noop());
        self.poll(&mut quiet);
        if let Poll::Ready(done) = waiting(&mut quiet) {
            return Poll::Ready(done);
        }
        self.poll(context);
        waiting(&mut quiet)
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            // Whoever waits for it hears why.
            self.connection = None;
        }
    }
}

impl Body {
    /// Gives the connection back, if it is ready for the next request once nobody reads this answer any more.
    fn end(&mut self) {
        self.incoming = None;
        if let Some(line) = self.line.take() {
            let (unused, place) = &self.home;
            unused.give_back(place.clone(), line);
        }
    }
}

/// What ends the answer may have come though nobody has asked for it; else the connection is closed.
impl Drop for Body {
    fn drop(&mut self) {
        self.end();
    }
}

/// Two spellings of one place are two: to be blind to case, authorities are hashed byte by byte.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.authority.as_str() == other.authority.as_str()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.authority.as_str().as_bytes());
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Self { incoming: Some(incoming), line: Some(line), .. } = this else {
            return Poll::Ready(None);
        };
        // At first the connection has not been told yet that somebody wants to read.
        let mut next = |quiet: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(quiet);
        let frame = match next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => ready!(line.drive(context, next)),
            Poll::Ready(frame) => frame,
        };
        if frame.is_none() || incoming.is_end_stream() {
            this.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// A request in the form that its server reads (RFC 9112 §3.2.1, RFC 9110 §7.2), where it goes, and by which connections.
fn addressed(
    mut request: Request<Full<Bytes>>,
) -> Result<(Request<Full<Bytes>>, Uri, Place), Cause> {
    let url = std::mem::take(request.uri_mut());
    let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
        return Err("the URL names no host".into());
    };
    let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, host_header(scheme, authority)?);
    }
    let place = Place { scheme: scheme.clone(), authority: authority.clone() };
    Ok((request, url, place))
}

/// The authority without credentials, and without a port that is understood.
fn host_header(scheme: &Scheme, authority: &Authority) -> Result<HeaderValue, Cause> {
    let whole = authority.as_str();
    let named = whole.rsplit_once('@').map_or(whole, |(_, named)| named);
    let usual = if *scheme == Scheme::HTTPS { ":443" } else { ":80" };
    Ok(HeaderValue::from_str(named.strip_suffix(usual).unwrap_or(named))?)
}

/// Which shelf is this thread's.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHELVES;
    }
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests;
