//! The receiving side of the MACs: who is let in, and how the answer is sealed.

use std::time::Duration;

use hmac::Mac as _;
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::auth::{self, Fields, Link, MessageDigest, Nonce, StreamMac};
use super::replays::{NotFresh, Replays};
use crate::clock::Clock;
use crate::domain::ids::{Incarnation, Timestamp};
use crate::domain::keyring::WorkerKey;

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
    /// It is no request to this worker, or has no MAC. The answer is not sealed: there is nothing to speak of.
    Unknown,
    /// Its MAC is not one of this key. The answer may be sealed as a statement about just these bytes.
    Unproven(Unproven),
    /// It is a copy of one that was let in. Not sealed: whoever copied it could pass the answer off as the
    /// original's.
    Replayed,
    /// It is genuine, but of another time. The answer is sealed, and tells the time.
    Stale(Admitted),
}

/// A request that this key does not prove; seals the statement that it does not.
#[derive(Clone, Debug)]
pub struct Unproven {
    link: Link,
    key: WorkerKey,
    message: MessageDigest,
    time: Timestamp,
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
        let fields = Fields::read(headers, method, path, body).ok_or(Shut::Unknown)?;
        let claimed = auth::mac_of(headers).ok_or(Shut::Unknown)?;
        if fields.worker != key.worker().as_str() {
            return Err(Shut::Unknown);
        }
        let now = self.clock.now();
        let mut covered = fields.covered();
        if auth::request_mac(self.link, key, &covered).verify_slice(&claimed).is_err() {
            covered.extend_from_slice(&claimed);
            let message = Sha256::digest(&covered).into();
            let (link, key) = (self.link, key.clone());
            return Err(Shut::Unproven(Unproven { link, key, message, time: now }));
        }
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
        let mac = auth::reply_mac(self.link, &self.key, self.nonce, status, self.time, body);
        auth::seal_reply(headers, self.time, mac);
    }

    /// The MAC for the end of a streamed reply.
    pub fn stream(&self) -> StreamMac {
        StreamMac::new(self.link, &self.key, self.nonce)
    }
}

impl Unproven {
    /// Writes the headers that seal the statement.
    pub fn seal(&self, headers: &mut HeaderMap, status: StatusCode, body: &[u8]) {
        let (link, key) = (self.link, &self.key);
        let mac = auth::unproven_mac(link, key, &self.message, status, self.time, body);
        auth::seal_reply(headers, self.time, mac);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::domain::ids::WorkerId;
    use crate::domain::keyring::SecretKey;
    use crate::rpc::auth::{Outgoing, WrongMac, claimed_worker};

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
            let outcome = door.admit(key, method, path, headers, body);
            matches!(outcome, Err(Shut::Unknown | Shut::Unproven(_)))
        };
        assert!(shut(&door, &key("w2"), &Method::POST, PATH, &headers, b"body"), "key");
        assert!(shut(&door, &w1, &Method::PUT, PATH, &headers, b"body"), "method");
        assert!(shut(&door, &w1, &Method::POST, "/rpc/v1/close", &headers, b"body"), "path");
        assert!(shut(&door, &w1, &Method::POST, PATH, &headers, b"bode"), "body");
        let other = Door::new(Link::Report, Clock::manual(NOW));
        assert!(shut(&other, &w1, &Method::POST, PATH, &headers, b"body"), "direction");
        for name in ["worker", "incarnation", "nonce", "time", "deadline-ms", "mac"] {
            let name = &http::HeaderName::try_from(format!("baton-{name}")).unwrap();
            let mut altered = headers.clone();
            let mut value = altered[name].to_str().unwrap().to_owned();
            let first = if value.starts_with('1') { "2" } else { "1" };
            value.replace_range(..1, first);
            altered.insert(name, HeaderValue::try_from(value).unwrap());
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
    fn that_a_request_is_unproven_is_said_of_just_what_came_and_by_whom() {
        const NO: StatusCode = StatusCode::UNAUTHORIZED;
        let root = |byte| SecretKey::from_bytes([byte; 32]);
        let [w1, old, retired] =
            [7, 8, 9].map(|byte| WorkerKey::derive(&root(byte), &WorkerId::parse("w1").unwrap()));
        let (door, mut headers) = (door(), HeaderMap::new());
        let sealed = outgoing(&w1, b"body").seal(&mut headers, NOW);
        let said = |headers: &HeaderMap, path, body: &[u8]| {
            let outcome = door.admit(&old, &Method::POST, path, headers, body);
            let Err(Shut::Unproven(unproven)) = outcome else { panic!("{outcome:?}") };
            let mut reply = HeaderMap::new();
            unproven.seal(&mut reply, NO, b"no");
            reply
        };
        let reply = said(&headers, PATH, b"body");
        let check =
            |key: &WorkerKey, reply: &HeaderMap| sealed.check_unproven(key, NO, reply, b"no");
        assert_eq!(check(&old, &reply), Ok(()));
        assert_eq!(check(&w1, &reply), Err(WrongMac), "the key that was used");
        assert_eq!(check(&retired, &reply), Err(WrongMac), "another key");
        assert_eq!(sealed.check_unproven(&old, NO, &reply, b"yes"), Err(WrongMac), "another body");
        assert_eq!(sealed.check_unproven(&old, StatusCode::OK, &reply, b"no"), Err(WrongMac));
        assert_eq!(sealed.check(NO, &reply, b"no"), Err(WrongMac), "it is no reply");
        // Whoever sends an altered copy, of a request that may have run, has a refusal of the copy alone.
        assert_eq!(check(&old, &said(&headers, PATH, b"bode")), Err(WrongMac));
        assert_eq!(check(&old, &said(&headers, "/rpc/v1/close", b"body")), Err(WrongMac));
        for (name, value) in [("baton-mac", &"A".repeat(43)), ("baton-time", &"5".to_owned())] {
            let mut altered = headers.clone();
            altered.insert(name, HeaderValue::from_str(value).unwrap());
            assert_eq!(check(&old, &said(&altered, PATH, b"body")), Err(WrongMac), "{name}");
        }
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
