//! The MACs of the worker's wire: what they cover, and the sending side.
//!
//! A message is sealed with the key that one worker shares with the gateways. A request's MAC covers the worker,
//! its incarnation, method, path, nonce, time, deadline and body; a reply's covers the request's nonce, the
//! status, the replier's time and the body; a stream ends in a MAC over the nonce and everything in it.
//!
//! Clocks need not agree. A request is stamped with what its sender believes the receiver's time to be; a stale
//! one is refused with a sealed reply that tells the time, and the sender, who then knows, sends it again: a
//! message refused as stale was not acted on. Each sealed reply corrects the offset.
//!
//! Keys rotate. A worker cannot say anything about a request that its key does not prove, except that: its refusal
//! carries a MAC, under a label of its own, over just the bytes that came, the wrong MAC included. Whoever sent
//! those bytes and knows which other keys the worker may have learns so that it has one of them, and that these
//! bytes were not acted on. A refusal of an altered copy says nothing about the original.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};

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

    const fn unproven(self) -> &'static [u8] {
        match self {
            Self::Call => b"baton-rpc-v1 call unproven",
            Self::Report => b"baton-rpc-v1 report unproven",
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
            body: Sha256::digest(self.body).into(),
        };
        let mac = fields.mac(self.link, self.key).finalize().into_bytes();
        headers.insert(WORKER, text(fields.worker));
        headers.insert(INCARNATION, fields.incarnation.0.into());
        headers.insert(NONCE, text(&URL_SAFE_NO_PAD.encode(nonce.0)));
        headers.insert(TIME, fields.time.as_millis().into());
        headers.insert(DEADLINE, fields.deadline_ms.into());
        headers.insert(MAC, text(&URL_SAFE_NO_PAD.encode(mac)));
        Sealed { link: self.link, key: self.key.clone(), nonce, message: fields.with(&mac.into()) }
    }
}

/// A request that was sent; checks the reply.
#[derive(Clone, Debug)]
pub struct Sealed {
    link: Link,
    key: WorkerKey,
    nonce: Nonce,
    message: MessageDigest,
}

/// Digest of all that a request's MAC covers, and of the MAC.
pub(super) type MessageDigest = [u8; 32];

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

    /// Checks the statement of a worker with this other key that the request, as it was sent, is not proven by it.
    pub fn check_unproven(
        &self,
        other: &WorkerKey,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), WrongMac> {
        let time = time_of(headers).ok_or(WrongMac)?;
        let mac = unproven_mac(self.link, other, &self.message, status, time, body);
        mac.verify_slice(&mac_of(headers).ok_or(WrongMac)?).map_err(|_| WrongMac)
    }

    /// The MAC that the end of a streamed reply must have.
    pub fn stream(&self) -> StreamMac {
        StreamMac::new(self.link, &self.key, self.nonce)
    }
}

/// The running MAC of a stream.
pub struct StreamMac(Hmac<Sha256>);

impl StreamMac {
    pub(super) fn new(link: Link, key: &WorkerKey, nonce: Nonce) -> Self {
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

pub(super) struct Fields<'a> {
    pub(super) worker: &'a str,
    pub(super) incarnation: Incarnation,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) nonce: Nonce,
    pub(super) time: Timestamp,
    pub(super) deadline_ms: u64,
    pub(super) body: [u8; 32],
}

impl<'a> Fields<'a> {
    pub(super) fn read(
        headers: &'a HeaderMap,
        method: &'a Method,
        path: &'a str,
        body: &[u8],
    ) -> Option<Self> {
        Some(Self {
            worker: single(headers, &WORKER)?,
            incarnation: Incarnation(number(headers, &INCARNATION)?),
            method,
            path,
            nonce: Nonce(decode(single(headers, &NONCE)?)?),
            time: time_of(headers)?,
            deadline_ms: number(headers, &DEADLINE)?,
            body: Sha256::digest(body).into(),
        })
    }

    pub(super) fn mac(&self, link: Link, key: &WorkerKey) -> Hmac<Sha256> {
        let mut mac = key.mac(link.request());
        self.each(|part| mac.update(part));
        mac
    }

    /// The message that these fields and this MAC make, right or wrong.
    pub(super) fn with(&self, mac: &[u8; MAC_LEN]) -> MessageDigest {
        let mut digest = Sha256::new();
        self.each(|part| digest.update(part));
        digest.update(mac);
        digest.finalize().into()
    }

    fn each(&self, mut take: impl FnMut(&[u8])) {
        for part in [self.worker, self.method.as_str(), self.path] {
            take(&(part.len() as u64).to_be_bytes());
            take(part.as_bytes());
        }
        take(&self.incarnation.0.to_be_bytes());
        take(&self.nonce.0);
        take(&self.time.as_millis().to_be_bytes());
        take(&self.deadline_ms.to_be_bytes());
        take(&self.body);
    }
}

pub(super) fn reply_mac(
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

pub(super) fn unproven_mac(
    link: Link,
    key: &WorkerKey,
    message: &MessageDigest,
    status: StatusCode,
    time: Timestamp,
    body: &[u8],
) -> Hmac<Sha256> {
    let mut mac = key.mac(link.unproven());
    mac.update(message);
    mac.update(&status.as_u16().to_be_bytes());
    mac.update(&time.as_millis().to_be_bytes());
    mac.update(&Sha256::digest(body));
    mac
}

/// Writes the headers that seal a reply.
pub(super) fn seal_reply(headers: &mut HeaderMap, time: Timestamp, mac: Hmac<Sha256>) {
    headers.insert(TIME, time.as_millis().into());
    headers.insert(MAC, text(&URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())));
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("base64 and checked names are header text")
}

/// The worker that a request claims to come from or go to: which key to check it with.
pub fn claimed_worker(headers: &HeaderMap) -> Option<WorkerId> {
    WorkerId::parse(single(headers, &WORKER)?).ok()
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

pub(super) fn mac_of(headers: &HeaderMap) -> Option<[u8; MAC_LEN]> {
    decode(single(headers, &MAC)?)
}

fn decode<const N: usize>(value: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok()
}
