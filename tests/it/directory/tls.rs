//! The directory over TLS: who is believed, who we are, and that the link stands as much.
#![expect(clippy::unwrap_used, reason = "set-up of a test")]

use std::path::PathBuf;
use std::process::Stdio;

use baton::clock::Clock;
use baton::directory::redis::{RedisSettings, RedisUrl, inspect};
use baton::directory::{Audience, Change, DirectoryConfig, DirectoryEvent, Heard, List, open};
use baton::tls::{Authorities, CertificateChain, ClientIdentity, PrivateKey, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::link::{comes_back, is_away};
use crate::cluster::{ALICE, RunningWorker, Scratch, eventually, worker_config, workers_heard};
use crate::program::Program;
use crate::redis_server::{RedisServer, free_port};

/// A server that speaks TLS on a second port, an authority that vouches for it and for a client, and their files.
struct Encrypted {
    server: RedisServer,
    port: u16,
    authority: String,
    client: (String, String),
    files: Scratch,
}

/// Whether a server wants to know who comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    Anybody,
    Certified,
}

impl Encrypted {
    fn start(clients: Clients) -> Self {
        Self::named(&["localhost", "127.0.0.1"], clients)
    }

    /// With a certificate for these names.
    fn named(names: &[&str], clients: Clients) -> Self {
        Self::set_to(names, clients, &[])
    }

    /// With more settings.
    fn set_to(names: &[&str], clients: Clients, more: &[&str]) -> Self {
        let files = Scratch::new("tls");
        // A certificate whose subject is its issuer would be taken for its own authority.
        let about = |subject: &str, names: Vec<String>| {
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, subject);
            params
        };
        let mut params = about(&files.path().display().to_string(), Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certify = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let params = about(names[0], names.iter().map(|it| (*it).to_owned()).collect());
            (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
        };
        let (server, client) = (certify(names), certify(&["gateway.test"]));
        let write = |name: &str, text: &str| {
            let path: PathBuf = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ca = write("ca.pem", &authority.pem());
        write("client.pem", &client.0);
        write("client.key", &client.1);
        let (certificate, key) = (write("redis.pem", &server.0), write("redis.key", &server.1));
        let (port, asks) = (free_port(), if clients == Clients::Certified { "yes" } else { "no" });
        let server = RedisServer::start_with(
            &[
                &["--tls-port", &port.to_string(), "--tls-auth-clients", asks][..],
                &["--tls-cert-file", &certificate, "--tls-key-file", &key],
                &["--tls-ca-cert-file", &ca],
                more,
            ]
            .concat(),
        );
        Self { server, port, authority: authority.pem(), client, files }
    }

    fn url(&self, host: &str) -> String {
        format!("rediss://{host}:{}", self.port)
    }

    /// Believing its authority.
    fn settings(&self) -> RedisSettings {
        let trust = Trust::Authorities(Authorities::parse(&self.authority).unwrap());
        RedisSettings { trust, ..RedisUrl::parse(&self.url("localhost")).unwrap().into() }
    }

    /// Showing its certificate too.
    fn identified(&self) -> RedisSettings {
        let chain = CertificateChain::parse(&self.client.0).unwrap();
        let identity = ClientIdentity::new(chain, PrivateKey::parse(&self.client.1).unwrap());
        RedisSettings { identity: Some(identity.unwrap()), ..self.settings() }
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }
}

/// Why there is no way to it, with every cause.
async fn refused(settings: &RedisSettings) -> String {
    let error = inspect(settings).await.unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn commands_and_events_go_over_tls_and_a_frozen_server_costs_no_more_than_without() {
    let redis = Encrypted::start(Clients::Anybody);
    let directory = open(&DirectoryConfig::Redis(redis.settings()), Clock::system()).await;
    let mut events = directory.subscribe().await;
    let change = Change::List { list: List::Tools, audience: Audience::Everybody };
    let event = DirectoryEvent { replica: "r".into(), changes: vec![change] };
    directory.publish(&event).await.unwrap();
    assert_eq!(events.next().await, Some(Heard::Event(event)));
    redis.server.freeze();
    is_away(&*directory).await;
    redis.server.thaw();
    comes_back(&*directory).await;
}

#[tokio::test]
async fn only_a_server_whose_name_the_authority_vouches_for_is_believed() {
    let (redis, other) = (Encrypted::start(Clients::Anybody), Encrypted::start(Clients::Anybody));
    inspect(&redis.settings()).await.unwrap();
    let strange = RedisSettings { trust: other.settings().trust, ..redis.settings() };
    let misnamed = Encrypted::named(&["redis.test"], Clients::Anybody);
    let unknown = RedisSettings { trust: Trust::Machine, ..redis.settings() };
    for (settings, why) in [
        (strange, "UnknownIssuer"),
        (misnamed.settings(), "not valid for name"),
        (unknown, "UnknownIssuer"),
    ] {
        let text = refused(&settings).await;
        assert!(text.contains("certificate") && text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_ours() {
    let redis = Encrypted::start(Clients::Certified);
    inspect(&redis.identified()).await.unwrap();
    let text = refused(&redis.settings()).await;
    assert!(text.to_lowercase().contains("certificate"), "{text}");
}

#[tokio::test]
async fn sentinels_and_the_master_that_they_name_are_reached_over_tls() {
    let redis = Encrypted::start(Clients::Anybody);
    let port = free_port();
    let [ca, certificate, key] = ["ca.pem", "redis.pem", "redis.key"].map(|it| redis.file(it));
    let _sentinel = RedisServer::start_sentinel(&format!(
        "tls-port {port}\ntls-replication yes\ntls-auth-clients no\n\
         tls-ca-cert-file {ca}\ntls-cert-file {certificate}\ntls-key-file {key}\n\
         sentinel monitor m 127.0.0.1 {} 1\n",
        redis.port
    ));
    let url = RedisUrl::parse(&format!("rediss+sentinel://localhost:{port}/m")).unwrap();
    let settings = RedisSettings { url, ..redis.settings() };
    let inspected = inspect(&settings).await.unwrap();
    assert_eq!(inspected.only().unwrap().role.as_deref(), Some("master"));
    let text = refused(&RedisSettings { trust: Trust::Machine, ..settings }).await;
    assert!(
        text.contains("none of the Sentinels answers") && text.contains("UnknownIssuer"),
        "{text}"
    );
}

#[tokio::test]
async fn nodes_of_a_cluster_are_reached_over_tls_with_a_certificate() {
    let more = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let mut redis = Encrypted::set_to(&["localhost", "127.0.0.1"], Clients::Certified, &more);
    redis.server.say("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(redis.server.wait_until("CLUSTER INFO", "cluster_state:ok"));
    let url = RedisUrl::parse(&format!("rediss-cluster://localhost:{}", redis.port)).unwrap();
    let settings = RedisSettings { url: url.clone(), ..redis.identified() };
    let directory = open(&DirectoryConfig::Redis(settings), Clock::system()).await;
    directory.ping().await.unwrap();
    let text = refused(&RedisSettings { url, ..redis.settings() }).await;
    assert!(text.contains("none of the cluster's nodes answers"), "{text}");
}

#[tokio::test]
async fn neither_side_takes_the_other_for_what_it_is_not() {
    let redis = Encrypted::start(Clients::Anybody);
    let plain = RedisUrl::parse(&format!("redis://localhost:{}", redis.port)).unwrap();
    refused(&plain.into()).await;
    let encrypted = RedisUrl::parse(&format!("rediss://{}", redis.server.address())).unwrap();
    refused(&RedisSettings { url: encrypted, ..redis.settings() }).await;
}

#[tokio::test]
async fn a_gateway_serves_over_tls_with_a_certificate_and_the_doctor_says_so() {
    let redis = Encrypted::start(Clients::Certified);
    let flags = [
        ("--redis", redis.url("localhost")),
        ("--redis-ca-file", redis.file("ca.pem")),
        ("--redis-client-certificate-file", redis.file("client.pem")),
        ("--redis-client-key-file", redis.file("client.key")),
    ];
    let dir = redis.files.path().join("gateway");
    let gateway = Program::gateway_over(&dir, &flags, Stdio::null()).await;
    let internal = gateway.url("gateway-internal").to_owned();
    let worker = worker_config("w1", &redis.files.path().join("w1"), vec![internal.clone()]);
    let _worker = RunningWorker::start(worker).await;
    eventually(async || workers_heard(&internal).await == 1).await;
    let client = gateway.client().with_key(ALICE);
    let id = client.launch().await;
    assert_eq!(client.python(&id, "6 * 7").await["executionResult"], "42");
    let listed = client.succeed("listEnvironments", serde_json::json!({})).await;
    assert_eq!(listed["environments"].as_array().unwrap().len(), 1);

    let said = Program::doctor_over(&dir, &flags).await;
    let well = format!("ok   redis: {}/0, over TLS", redis.url("localhost"));
    assert!(said.contains(&well) && said.contains("ok   workers: w1"), "{said}");
    let said = Program::doctor_over(&dir, &flags[..2]).await;
    assert!(said.contains("FAIL redis: rediss://localhost"), "{said}");
    assert!(said.contains("--redis-ca-file or the client's certificate"), "{said}");
}
