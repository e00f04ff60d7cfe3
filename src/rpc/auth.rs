//! The MACs of the worker's wire.
//!
//! A message is sealed with the key that one worker shares with the gateways. A request's MAC covers the worker,
//! its incarnation, method, path, nonce, time, deadline and body; a reply's covers the request's nonce, the
//! status, the replier's time and the body; a stream ends in a MAC over the nonce and everything in it.
//!
//! Clocks need not agree. A request is stamped with what its sender believes the receiver's time to be; a stale
//! one is refused with a sealed reply that tells the time, and the sender, who then knows, sends it again: a
//! message refused as stale was not acted on. Each sealed reply corrects the offset.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};

use super::replays::{NotFresh, Replays};
use crate::clock::Clock;
use crate::domain::ids::{Incarnation, Timestamp, WorkerId};
use crate::domain::keyring::WorkerKey;

const WORKER: HeaderName = HeaderName::from_static("baton-worker");
const INCARNATION: HeaderName = HeaderName::from_static("baton-incarnation");
const NONCE: HeaderName = HeaderName::from_static("baton-nonce");
const TIME: HeaderName = HeaderName::from_static("baton-time");
const DEADLINE: HeaderName = HeaderName::from_static("baton-deadline-ms");
const MAC: HeaderName = HeaderName::from_static("baton-mac");

/// Length of a MAC in bytes.
pub const MAC_LEN: usize = 32;

/// Who calls whom. Each direction, and the answer to each, has a label of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A gateway calls a worker.
    Call,
    /// A worker reports to a gateway.
    Report,
}

impl Link {
    const fn request(self) -> &'static [u8] {
        match self {
            Self::Call => b"baton-rpc-v1 call",
            Self::Report => b"baton-rpc-v1 report",
        }
    }

    const fn reply(self) -> &'static [u8] {
        match self {
            Self::Call => b"baton-rpc-v1 call reply",
            Self::Report => b"baton-rpc-v1 report reply",
        }
    }

    const fn stream(self) -> &'static [u8] {
        match self {
            Self::Call => b"baton-rpc-v1 call stream",
            Self::Report => b"baton-rpc-v1 report stream",
        }
    }
}

/// Sixteen random bytes that name one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A nonce of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(bytes)
    }
}

/// A request about to be sent: what its MAC covers besides nonce and time.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The direction.
    pub link: Link,
    /// The key, which also names the worker.
    pub key: &'a WorkerKey,
    /// The worker's incarnation: the expected one in a call, its own in a report.
    pub incarnation: Incarnation,
    /// The HTTP method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// How long the sender waits.
    pub deadline: Duration,
    /// The body.
    pub body: &'a [u8],
}

impl Outgoing<'_> {
    /// Writes the headers that seal it, and returns what its reply is checked against.
    pub fn seal(&self, headers: &mut HeaderMap, receivers_time: Timestamp) -> Sealed {
        let nonce = Nonce::random();
        let fields = Fields {
            worker: self.key.worker().as_str(),
            incarnation: self.incarnation,
            method: self.method,
            path: self.path,
            nonce,
            time: receivers_time,
            deadline_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
        };
        let mac = fields.mac(self.link, self.key, self.body).finalize().into_bytes();
        headers.insert(WORKER, text(fields.worker));
        headers.insert(INCARNATION, fields.incarnation.0.into());
        headers.insert(NONCE, text(&URL_SAFE_NO_PAD.encode(nonce.0)));
        headers.insert(TIME, fields.time.as_millis().into());
        headers.insert(DEADLINE, fields.deadline_ms.into());
        headers.insert(MAC, text(&URL_SAFE_NO_PAD.encode(mac)));
        Sealed { link: self.link, key: self.key.clone(), nonce }
    }
}

/// A request that was sent; checks the reply.
#[derive(Clone, Debug)]
pub struct Sealed {
    link: Link,
    key: WorkerKey,
    nonce: Nonce,
}

/// The MAC is missing or not the peer's: nothing the message says counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message's MAC is missing or wrong")]
pub struct WrongMac;

impl Sealed {
    /// Checks a whole reply and returns the replier's time.
    pub fn check(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Timestamp, WrongMac> {
        let time = time_of(headers).ok_or(WrongMac)?;
        let mac = reply_mac(self.link, &self.key, self.nonce, status, time, body);
        mac.verify_slice(&mac_of(headers).ok_or(WrongMac)?).map_err(|_| WrongMac)?;
        Ok(time)
    }

    /// The MAC that the end of a streamed reply must have.
    pub fn stream(&self) -> StreamMac {
        StreamMac::new(self.link, &self.key, self.nonce)
    }
}

/// Lets requests in: each once, within its time, and only with the right MAC.
#[derive(Debug)]
pub struct Door {
    link: Link,
    clock: Clock,
    replays: Replays,
}

/// A request whose MAC was right and that was not seen before; seals the reply.
#[derive(Clone, Debug)]
pub struct Admitted {
    link: Link,
    key: WorkerKey,
    nonce: Nonce,
    time: Timestamp,
    incarnation: Incarnation,
    deadline: Duration,
}

/// Why a request was not let in.
#[derive(Clone, Debug)]
pub enum Shut {
    /// Its MAC is missing or wrong. The answer is not sealed: it would be a statement to nobody knows whom.
    Unknown,
    /// It is a copy of one that was let in. Not sealed: whoever copied it could pass the answer off as the
    /// original's.
    Replayed,
    /// It is genuine, but of another time. The answer is sealed, and tells the time.
    Stale(Admitted),
}

/// The worker that a request claims to come from or go to: which key to check it with.
pub fn claimed_worker(headers: &HeaderMap) -> Option<WorkerId> {
    WorkerId::parse(single(headers, &WORKER)?).ok()
}

impl Door {
    /// A door for one direction.
    pub fn new(link: Link, clock: Clock) -> Self {
        Self { link, clock, replays: Replays::default() }
    }

    /// Lets a request in, or says why not.
    pub fn admit(
        &self,
        key: &WorkerKey,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Admitted, Shut> {
        let fields = Fields::read(headers, method, path).ok_or(Shut::Unknown)?;
        let claimed = mac_of(headers).ok_or(Shut::Unknown)?;
        if fields.worker != key.worker().as_str()
            || fields.mac(self.link, key, body).verify_slice(&claimed).is_err()
        {
            return Err(Shut::Unknown);
        }
        let now = self.clock.now();
        let admitted = Admitted {
            link: self.link,
            key: key.clone(),
            nonce: fields.nonce,
            time: now,
            incarnation: fields.incarnation,
            deadline: Duration::from_millis(fields.deadline_ms),
        };
        match self.replays.accept(fields.time, fields.nonce, now) {
            Ok(()) => Ok(admitted),
            Err(NotFresh::Replayed) => Err(Shut::Replayed),
            Err(NotFresh::Stale) => Err(Shut::Stale(admitted)),
        }
    }
}

impl Admitted {
    /// The key that the request's MAC was checked with.
    pub fn key(&self) -> &WorkerKey {
        &self.key
    }

    /// The worker's incarnation: the expected one in a call, its own in a report.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// How long the sender waits.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Writes the headers that seal a whole reply.
    pub fn seal(&self, headers: &mut HeaderMap, status: StatusCode, body: &[u8]) {
        let mac = reply_mac(self.link, &self.key, self.nonce, status, self.time, body);
        headers.insert(TIME, self.time.as_millis().into());
        headers.insert(MAC, text(&URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())));
    }

    /// The MAC for the end of a streamed reply.
    pub fn stream(&self) -> StreamMac {
        StreamMac::new(self.link, &self.key, self.nonce)
    }
}

/// The running MAC of a stream.
pub struct StreamMac(Hmac<Sha256>);

impl StreamMac {
    fn new(link: Link, key: &WorkerKey, nonce: Nonce) -> Self {
        let mut mac = key.mac(link.stream());
        mac.update(&nonce.0);
        Self(mac)
    }

    /// Takes in bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The MAC of all that was taken in.
    pub fn finish(self) -> [u8; MAC_LEN] {
        self.0.finalize().into_bytes().into()
    }

    /// Whether this is the MAC of all that was taken in. Constant time.
    pub fn check(self, claimed: &[u8]) -> Result<(), WrongMac> {
        self.0.verify_slice(claimed).map_err(|_| WrongMac)
    }
}

impl std::fmt::Debug for StreamMac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamMac(…)")
    }
}

struct Fields<'a> {
    worker: &'a str,
    incarnation: Incarnation,
    method: &'a Method,
    path: &'a str,
    nonce: Nonce,
    time: Timestamp,
    deadline_ms: u64,
}

impl<'a> Fields<'a> {
    fn read(headers: &'a HeaderMap, method: &'a Method, path: &'a str) -> Option<Self> {
        Some(Self {
            worker: single(headers, &WORKER)?,
            incarnation: Incarnation(number(headers, &INCARNATION)?),
            method,
            path,
            nonce: Nonce(decode(single(headers, &NONCE)?)?),
            time: time_of(headers)?,
            deadline_ms: number(headers, &DEADLINE)?,
        })
    }

    fn mac(&self, link: Link, key: &WorkerKey, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = key.mac(link.request());
        for part in [self.worker, self.method.as_str(), self.path] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&self.incarnation.0.to_be_bytes());
        mac.update(&self.nonce.0);
        mac.update(&self.time.as_millis().to_be_bytes());
        mac.update(&self.deadline_ms.to_be_bytes());
        mac.update(&Sha256::digest(body));
        mac
    }
}

fn reply_mac(
    link: Link,
    key: &WorkerKey,
    nonce: Nonce,
    status: StatusCode,
    time: Timestamp,
    body: &[u8],
) -> Hmac<Sha256> {
    let mut mac = key.mac(link.reply());
    mac.update(&nonce.0);
    mac.update(&status.as_u16().to_be_bytes());
    mac.update(&time.as_millis().to_be_bytes());
    mac.update(&Sha256::digest(body));
    mac
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("base64 and checked names are header text")
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    single(headers, name)?.parse().ok()
}

fn time_of(headers: &HeaderMap) -> Option<Timestamp> {
    number(headers, &TIME).map(Timestamp::from_millis)
}

fn mac_of(headers: &HeaderMap) -> Option<[u8; MAC_LEN]> {
    decode(single(headers, &MAC)?)
}

fn decode<const N: usize>(value: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::SecretKey;

    const NOW: Timestamp = Timestamp::from_millis(1_795_250_494_000);
    const PATH: &str = "/rpc/v1/create";

    fn key(id: &str) -> WorkerKey {
        WorkerKey::derive(&SecretKey::from_bytes([7; 32]), &WorkerId::parse(id).unwrap())
    }

    fn outgoing<'a>(key: &'a WorkerKey, body: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            link: Link::Call,
            key,
            incarnation: Incarnation(4),
            method: &Method::POST,
            path: PATH,
            deadline: Duration::from_secs(3),
            body,
        }
    }

    fn door() -> Door {
        Door::new(Link::Call, Clock::manual(NOW))
    }

    #[test]
    fn a_sealed_request_is_let_in_once() {
        let (key, door, mut headers) = (key("w1"), door(), HeaderMap::new());
        outgoing(&key, b"body").seal(&mut headers, NOW);
        assert_eq!(claimed_worker(&headers).unwrap().as_str(), "w1");
        let admitted = door.admit(&key, &Method::POST, PATH, &headers, b"body").unwrap();
        assert_eq!(admitted.incarnation(), Incarnation(4));
        assert_eq!(admitted.deadline(), Duration::from_secs(3));
        let again = door.admit(&key, &Method::POST, PATH, &headers, b"body");
        assert!(matches!(again, Err(Shut::Replayed)));
    }

    #[test]
    fn nothing_under_the_mac_can_be_altered() {
        let (w1, door, mut headers) = (key("w1"), door(), HeaderMap::new());
        outgoing(&w1, b"body").seal(&mut headers, NOW);
        let shut = |door: &Door, key: &WorkerKey, method, path, headers: &HeaderMap, body| {
            matches!(door.admit(key, method, path, headers, body), Err(Shut::Unknown))
        };
        assert!(shut(&door, &key("w2"), &Method::POST, PATH, &headers, b"body"), "key");
        assert!(shut(&door, &w1, &Method::PUT, PATH, &headers, b"body"), "method");
        assert!(shut(&door, &w1, &Method::POST, "/rpc/v1/close", &headers, b"body"), "path");
        assert!(shut(&door, &w1, &Method::POST, PATH, &headers, b"bode"), "body");
        let other = Door::new(Link::Report, Clock::manual(NOW));
        assert!(shut(&other, &w1, &Method::POST, PATH, &headers, b"body"), "direction");
        for name in [&WORKER, &INCARNATION, &NONCE, &TIME, &DEADLINE, &MAC] {
            let mut altered = headers.clone();
            let mut value = altered[name].to_str().unwrap().to_owned();
            let first = if value.starts_with('1') { "2" } else { "1" };
            value.replace_range(..1, first);
            altered.insert(name, text(&value));
            assert!(shut(&door, &w1, &Method::POST, PATH, &altered, b"body"), "{name} altered");
            altered.remove(name);
            assert!(shut(&door, &w1, &Method::POST, PATH, &altered, b"body"), "{name} missing");
            let mut doubled = headers.clone();
            doubled.append(name, headers[name].clone());
            assert!(shut(&door, &w1, &Method::POST, PATH, &doubled, b"body"), "{name} twice");
        }
        assert!(door.admit(&w1, &Method::POST, PATH, &headers, b"body").is_ok());
    }

    #[test]
    fn a_stale_request_is_told_the_time() {
        let (key, door, mut headers) = (key("w1"), door(), HeaderMap::new());
        let early = Timestamp::from_millis(NOW.as_millis() - 31_000);
        let sealed = outgoing(&key, b"").seal(&mut headers, early);
        let Err(Shut::Stale(admitted)) = door.admit(&key, &Method::POST, PATH, &headers, b"")
        else {
            panic!("it was let in")
        };
        let mut reply = HeaderMap::new();
        admitted.seal(&mut reply, StatusCode::UNAUTHORIZED, b"late");
        assert_eq!(sealed.check(StatusCode::UNAUTHORIZED, &reply, b"late"), Ok(NOW));
    }

    #[test]
    fn a_reply_answers_one_request() {
        let (key, door) = (key("w1"), door());
        let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
        let sealed = outgoing(&key, b"").seal(&mut first, NOW);
        let another = outgoing(&key, b"").seal(&mut second, NOW);
        let admitted = door.admit(&key, &Method::POST, PATH, &first, b"").unwrap();
        let mut reply = HeaderMap::new();
        admitted.seal(&mut reply, StatusCode::OK, b"yes");
        assert_eq!(sealed.check(StatusCode::OK, &reply, b"yes"), Ok(NOW));
        assert_eq!(another.check(StatusCode::OK, &reply, b"yes"), Err(WrongMac));
        assert_eq!(sealed.check(StatusCode::ACCEPTED, &reply, b"yes"), Err(WrongMac));
        assert_eq!(sealed.check(StatusCode::OK, &reply, b"no"), Err(WrongMac));
        assert_eq!(sealed.check(StatusCode::OK, &HeaderMap::new(), b"yes"), Err(WrongMac));
        let ours = admitted.stream().finish();
        assert!(sealed.stream().check(&ours).is_ok() && another.stream().check(&ours).is_err());
    }
}
