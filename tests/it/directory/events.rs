//! Events: every reader hears what every replica tells, or that it may have missed something.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::{
    Audience, Change, Directory, DirectoryConfig, DirectoryEvent, Events, Heard, List, open,
};
use baton::domain::ids::OwnerDigest;
use tokio::time::timeout;

use super::subject::{Kind, environment};
use crate::fault::{Fault, Proxy};
use crate::redis_server::{RedisServer, url_of};

contract! {
    readers_hear_what_is_told_from_then_on_in_its_order
    a_reader_that_lags_is_told_so_and_then_hears_on
}

/// How long an event, or a connection that is made again, may take.
const SOON: Duration = Duration::from_secs(5);

fn event(number: u8) -> DirectoryEvent {
    let owner = OwnerDigest::from_bytes([number; 16]);
    let change = match number % 3 {
        0 => Change::List { list: List::Tools, audience: Audience::Everybody },
        1 => Change::List { list: List::Resources, audience: Audience::Owner(owner) },
        _ => Change::Environment { environment: environment(number), owner },
    };
    DirectoryEvent { replica: format!("r{number}"), changes: vec![change, Change::Everything] }
}

async fn heard(events: &mut Events) -> Heard {
    timeout(SOON, events.next()).await.unwrap().unwrap()
}

async fn readers_hear_what_is_told_from_then_on_in_its_order(kind: Kind) {
    let it = kind.open().await;
    it.directory.publish(&event(9)).await.unwrap();
    let mut readers = [it.directory.subscribe().await, it.directory.subscribe().await];
    for number in 0..3 {
        it.directory.publish(&event(number)).await.unwrap();
    }
    for reader in &mut readers {
        for number in 0..3 {
            assert_eq!(heard(reader).await, Heard::Event(event(number)));
        }
    }
}

async fn a_reader_that_lags_is_told_so_and_then_hears_on(kind: Kind) {
    let it = kind.open().await;
    let mut lagging = it.directory.subscribe().await;
    let mut reading = it.directory.subscribe().await;
    for number in (0..200).cycle().take(1100) {
        it.directory.publish(&event(number)).await.unwrap();
        assert_eq!(heard(&mut reading).await, Heard::Event(event(number)));
    }
    assert_eq!(heard(&mut lagging).await, Heard::Missed);
    // The oldest that is still there: 1100 were told, and 1024 are kept.
    assert_eq!(heard(&mut lagging).await, Heard::Event(event(76)));
}

async fn directory_at(address: SocketAddr) -> Arc<dyn Directory> {
    open(&DirectoryConfig::Redis(url_of(address)), Clock::system()).await
}

#[tokio::test]
async fn a_reader_whose_connection_was_cut_is_told_so_and_then_hears_on() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let (one, two) = (directory_at(server.address()).await, directory_at(proxy.address()).await);
    let mut events = two.subscribe().await;
    one.publish(&event(0)).await.unwrap();
    assert_eq!(heard(&mut events).await, Heard::Event(event(0)));
    proxy.inject(Fault::Cut);
    one.publish(&event(1)).await.unwrap();
    proxy.heal();
    assert_eq!(heard(&mut events).await, Heard::Missed);
    one.publish(&event(2)).await.unwrap();
    assert_eq!(heard(&mut events).await, Heard::Event(event(2)));
}

#[tokio::test]
async fn a_reader_of_a_server_that_comes_later_or_again_is_told_so() {
    let mut server = RedisServer::not_started();
    let directory = directory_at(server.address()).await;
    let mut events = directory.subscribe().await;
    for number in 0..2 {
        server.restart();
        assert_eq!(heard(&mut events).await, Heard::Missed);
        while directory.publish(&event(number)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(heard(&mut events).await, Heard::Event(event(number)));
        server.kill();
        assert!(directory.publish(&event(number)).await.is_err());
    }
}

#[tokio::test]
async fn what_a_reader_cannot_read_it_has_missed() {
    let server = RedisServer::start();
    let directory = directory_at(server.address()).await;
    let mut events = directory.subscribe().await;
    server.say("PUBLISH baton:{fleet}:events nonsense");
    assert_eq!(heard(&mut events).await, Heard::Missed);
}
