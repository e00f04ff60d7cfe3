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
/// Bytes of what a request's MAC covers besides its names: incarnation, nonce, time, deadline, the body's digest.
const NUMBERS_LEN: usize = 8 + 16 + 8 + 8 + 32;

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
        let mut message = fields.covered();
        let mac = request_mac(self.link, self.key, &message).finalize().into_bytes();
        message.extend_from_slice(&mac);
        headers.insert(WORKER, text(fields.worker));
        headers.insert(INCARNATION, text(fields.incarnation.0.to_string()));
        headers.insert(NONCE, text(URL_SAFE_NO_PAD.encode(nonce.0)));
        headers.insert(TIME, text(fields.time.as_millis().to_string()));
        headers.insert(DEADLINE, text(fields.deadline_ms.to_string()));
        headers.insert(MAC, text(URL_SAFE_NO_PAD.encode(mac)));
        Sealed { link: self.link, key: self.key.clone(), nonce, message }
    }
}

/// A request that was sent; checks the reply.
#[derive(Clone, Debug)]
pub struct Sealed {
    link: Link,
    key: WorkerKey,
    nonce: Nonce,
    /// All that its MAC covers, and the MAC: hardly any request is refused so that its digest is needed.
    message: Vec<u8>,
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
        let message = Sha256::digest(&self.message).into();
        let mac = unproven_mac(self.link, other, &message, status, time, body);
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

    /// What the MAC covers, with room for the MAC behind it.
    pub(super) fn covered(&self) -> Vec<u8> {
        let names = [self.worker, self.method.as_str(), self.path];
        let in_names: usize = names.iter().map(|name| size_of::<u64>() + name.len()).sum();
        let mut covered = Vec::with_capacity(in_names + NUMBERS_LEN + MAC_LEN);
        for name in names {
            covered.extend_from_slice(&(name.len() as u64).to_be_bytes());
            covered.extend_from_slice(name.as_bytes());
        }
        covered.extend_from_slice(&self.incarnation.0.to_be_bytes());
        covered.extend_from_slice(&self.nonce.0);
        covered.extend_from_slice(&self.time.as_millis().to_be_bytes());
        covered.extend_from_slice(&self.deadline_ms.to_be_bytes());
        covered.extend_from_slice(&self.body);
        covered
    }
}

pub(super) fn request_mac(link: Link, key: &WorkerKey, covered: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.mac(link.request());
    mac.update(covered);
    mac
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
    headers.insert(TIME, text(time.as_millis().to_string()));
    headers.insert(MAC, text(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())));
}

fn text(value: impl Into<String>) -> HeaderValue {
    HeaderValue::try_from(value.into()).expect("base64, numbers and checked names are header text")
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
