//! What the doctor says of real servers.

use baton::directory::redis::{RedisUrl, inspect};

use super::subject::{BATON, admit_baton};
use crate::cluster::Scratch;
use crate::program::Program;
use crate::redis_cluster::RedisCluster;
use crate::redis_server::RedisServer;

#[tokio::test]
async fn every_right_that_is_lacking_is_named() {
    let server = RedisServer::start();
    let lacks = async |change: &str| {
        admit_baton(&server);
        server.say(&format!("ACL SETUSER baton {change}"));
        let url = format!("redis://{BATON}{}", server.address());
        let inspected = inspect(&RedisUrl::parse(&url).unwrap().into()).await.unwrap();
        let access = inspected.only().unwrap().access.clone();
        assert_eq!(access.user.as_deref(), (!change.contains("acl")).then_some("baton"));
        (access.lacks.join(" "), access.is_broad)
    };
    for (change, expected) in [
        ("on", ("", false)),
        ("-zadd", ("+zadd", false)),
        ("-hset -publish -subscribe", ("+publish +hset +subscribe", false)),
        ("-acl|whoami", ("+acl|whoami", false)),
        ("resetkeys ~baton:", ("~baton:*", false)),
        ("resetchannels", ("&baton:*", false)),
        ("allkeys", ("", true)),
    ] {
        let found = lacks(change).await;
        assert_eq!((found.0.as_str(), found.1), expected, "{change}");
    }
}

#[tokio::test]
async fn a_cluster_is_examined_master_by_master() {
    let mut redis = RedisCluster::start();
    let scratch = Scratch::new("doctor");
    let examine = async |user: &str| {
        Program::doctor_over(scratch.path(), &[("--redis", redis.url(user))]).await
    };
    let said = examine("").await;
    assert!(said.contains("ok   redis: a cluster of 3 masters, all slots served"), "{said}");
    assert!(said.contains("note redis: no replica follows 127.0.0.1:"), "{said}");
    for master in redis.nodes() {
        let line = format!("ok   redis: {}, version", master.address());
        assert!(said.contains(&line), "{line}\n{said}");
    }
    redis.nodes().for_each(admit_baton);
    let one = redis.masters[0].address();
    redis.masters[0].say("ACL SETUSER baton -zadd");
    redis.masters[1].say("CONFIG SET maxmemory-policy allkeys-lru");
    let said = examine(BATON).await;
    for line in [
        format!("FAIL redis: {one}: baton lacks the rights +zadd"),
        format!("FAIL redis: {}: maxmemory-policy is allkeys-lru", redis.masters[1].address()),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    redis.masters[0].kill();
    let said = Program::doctor_over(scratch.path(), &[("--redis", redis.url(""))]).await;
    assert!(said.contains(&format!("FAIL redis: {one}: the directory is away")), "{said}");
}
