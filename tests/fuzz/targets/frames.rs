//! A worker's streamed answer: a byte that says in which pieces it arrives, then the stream. The stream comes once as
//! it is, which never ends in a result, and once with a right MAC behind it, so that the results are read too.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use baton::domain::ids::{Incarnation, Timestamp, WorkerId};
use baton::domain::keyring::{SecretKey, WorkerKey};
use baton::rpc::auth::{Link, MAC_LEN, Outgoing, Sealed};
use baton::rpc::frames::Decoder;
use baton::rpc::wire::Frame;
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let worker = WorkerId::parse("w1").expect("a worker's id");
    let key = WorkerKey::derive(&SecretKey::from_bytes([7; 32]), &worker);
    let outgoing = Outgoing {
        link: Link::Call,
        key: &key,
        incarnation: Incarnation(1),
        method: &Method::POST,
        path: "/",
        deadline: Duration::ZERO,
        body: b"",
    };
    outgoing.seal(&mut HeaderMap::new(), Timestamp::from_millis(1))
});

fuzz_target!(|data: &[u8]| {
    let Some((piece, stream)) = data.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    assert!(!ends(stream, piece));
    let mut mac = SEALED.stream();
    mac.update(stream);
    let mut proven = stream.to_vec();
    proven.push(5);
    proven.extend(u32::try_from(MAC_LEN).expect("a few bytes").to_be_bytes());
    proven.extend(mac.finish());
    assert_eq!(ends(&proven, piece), ends(&proven, proven.len()), "however it is cut");
});

/// Whether the stream was read to its end.
fn ends(stream: &[u8], piece: usize) -> bool {
    let mut decoder = Decoder::new(SEALED.stream());
    for part in stream.chunks(piece) {
        decoder.feed(part);
        loop {
            match decoder.frame() {
                Ok(Some(Frame::Ended(_) | Frame::NotStarted(_) | Frame::Replayed(_))) => return true,
                Ok(Some(Frame::Stdout(_) | Frame::Stderr(_))) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
    }
    false
}
