//! What a start makes of its arguments, its environment and its file.

use std::time::Duration;

use super::fake::Fake;
use super::*;
use crate::domain::ids::WorkerId;
use crate::domain::keyring::{SecretKey, WorkerKey};
use crate::gateway::RateLimit;

fn words(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

/// A machine with the key files that a gateway and a worker need.
fn machine() -> Fake {
    let (signing, root) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([2; 32]));
    let worker = WorkerKey::derive(&root, &WorkerId::parse("w1").unwrap());
    Fake::new()
        .file("s.key", &signing.reveal())
        .file("r.key", &root.reveal())
        .file("w.key", &worker.reveal())
}

const KEYS: &str = "--signing-key-file s.key --worker-root-key-file r.key";

fn gateway_of(arguments: &str, around: &Fake) -> Loading<GatewaySettings> {
    gateway(&words(&format!("{KEYS} {arguments}")), around)
}

fn worker_of(arguments: &str, around: &Fake) -> Loading<WorkerSettings> {
    worker(&words(&format!("--worker-key-file w.key {arguments}")), around)
}

fn dev_of(arguments: &str, around: &Fake) -> Loading<DevSettings> {
    dev(&words(arguments), around)
}

/// The message, which must have so many problems.
fn message<T: std::fmt::Debug>(loading: Loading<T>, problems: usize) -> String {
    let error = loading.unwrap_err();
    assert_eq!(error.iter().count(), problems, "{error}");
    error.to_string()
}

fn one_problem<T: std::fmt::Debug>(loading: Loading<T>) -> String {
    message(loading, 1).lines().nth(1).unwrap().trim().to_owned()
}

#[test]
fn every_role_starts_from_its_defaults() {
    let dev = dev_of("", &machine()).unwrap().settings;
    assert_eq!(dev.process.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(dev.edge.authentication, Authentication::Anonymous);
    assert_eq!(dev.edge.environments.idle_timeout, Duration::from_mins(5));
    assert!(dev.edge.sample_tools && dev.signing_keys.is_empty());
    assert_eq!(dev.edge.rates, RateSettings::default());
    let gateway = gateway_of("--api-key k", &machine()).unwrap().settings;
    assert_eq!(gateway.redis.url.to_string(), "redis://127.0.0.1:6379/0");
    assert_eq!(gateway.edge.replica_id.as_str(), "host-0000ba70");
    assert_eq!(gateway.edge.rates.tenant.unwrap().rate().burst().get(), 2000);
    assert!(!gateway.edge.sample_tools);
    let worker = worker_of("", &machine()).unwrap().settings;
    assert_eq!(worker.process.listen.to_string(), "127.0.0.1:8090");
    assert_eq!(worker.gateways, ["http://127.0.0.1:8081"]);
    assert_eq!(worker.key.worker().as_str(), "w1");
    assert_eq!(worker.sandbox.limits.memory_bytes, 1 << 30);
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let file = "idle_timeout_seconds = 1\nmax_environments = 1\naudience = \"file\"";
    let around = machine()
        .file("b.toml", file)
        .variable("BATON_CONFIG", "b.toml")
        .variable("BATON_IDLE_TIMEOUT_SECONDS", "2")
        .variable("BATON_MAX_ENVIRONMENTS", "2");
    let edge = dev_of("--idle-timeout-seconds=3", &around).unwrap().settings.edge;
    assert_eq!(edge.environments.idle_timeout.as_secs(), 3);
    assert_eq!(edge.environments.max_per_tenant, 2);
    assert_eq!(edge.audience.as_str(), "file");
}

#[test]
fn the_first_source_of_a_list_wins_whole() {
    let around = machine().variable("BATON_GATEWAY", "http://a:1, http://b:1");
    let gateways = worker_of("", &around).unwrap().settings.gateways;
    assert_eq!(gateways, ["http://a:1", "http://b:1"]);
    let gateways = worker_of("--gateway http://c:1 --gateway=http://d:1/", &around);
    assert_eq!(gateways.unwrap().settings.gateways, ["http://c:1", "http://d:1"]);
    let around = around.file("b.toml", "gateway = [\"http://e:1\"]\nwarm_pool = 7");
    let settings = worker_of("--config b.toml", &around).unwrap().settings;
    assert_eq!((settings.gateways.len(), settings.sandbox.warm_pool), (2, 7));
}

#[test]
fn one_message_lists_everything_that_is_wrong() {
    let file = "lissten = \"x\"\nidle_timeout_seconds = \"5m\"\ncapacity = 3\n[tools]\nenviron = 1";
    let around = machine().file("b.toml", file).variable("BATON_RATE_BURST", "many");
    let arguments =
        "--api-key k --config b.toml --redsi redis://h --listen 8080 --anonymus extra --audience";
    let text = message(gateway_of(arguments, &around), 9);
    for line in [
        "--redsi: no such flag → did you mean --redis?",
        "--anonymus: no such flag → did you mean --anonymous?",
        "--audience: needs a value → write --audience=NAME",
        "lissten in b.toml: no such key → did you mean listen?",
        "tools.environ in b.toml: no such key → did you mean tools.environments?",
        "capacity in b.toml: not a setting of `baton gateway` → leave it out: it belongs to `baton worker`, `baton dev`",
        "--listen: \"8080\" is not an IP address with a port → write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
        "idle_timeout_seconds in b.toml: \"5m\" is not a whole number → write 300",
        "BATON_RATE_BURST: \"many\" is not a whole number → write a whole number from 1 to 4294967295",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.starts_with("baton gateway does not start"), "{text}");
}

#[test]
fn what_follows_an_unknown_flag_is_its_value() {
    let text = one_problem(dev_of("--port 8080", &machine()));
    assert_eq!(text, "--port: no such flag → `baton help dev` lists the flags");
    let text = one_problem(dev_of("dev", &machine()));
    assert_eq!(text, "\"dev\": no flag → `baton help dev` lists the flags");
}

#[test]
fn a_flag_of_another_role_says_whose_it_is() {
    let text = one_problem(worker_of("--redis redis://h", &machine()));
    assert!(text.contains("it belongs to `baton gateway`"), "{text}");
    let shared = machine().variable("BATON_REDIS", "nonsense");
    assert!(worker_of("", &shared).is_ok(), "one set of variables may serve every role");
}

#[test]
fn unknown_variables_only_warn_and_empty_ones_are_absent() {
    let around = machine()
        .variable("BATON_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .variable("BATON_LISTNE", "x")
        .variable("BATON_LISTEN", "")
        .variable("LISTEN", "x");
    let warnings = dev_of("", &around).unwrap().warnings;
    let expected = [
        "BATON_LISTNE is no setting, did you mean BATON_LISTEN?",
        "BATON_PORT_8080_TCP is no setting",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn switches_need_no_value_and_can_be_turned_off() {
    let sample_tools =
        |arguments: &str| dev_of(arguments, &machine()).unwrap().settings.edge.sample_tools;
    assert!(
        sample_tools("") && sample_tools("--sample-tools") && !sample_tools("--sample-tools=false")
    );
    let around = machine().file("b.toml", "sample_tools = false\n[tools]\nenvironments = false");
    let edge = dev_of("--config b.toml", &around).unwrap().settings.edge;
    assert!(!edge.sample_tools && !edge.environments.offered);
}

#[test]
fn a_gateway_needs_its_keys_and_a_way_to_tell_callers_apart() {
    let text = message(gateway(&[], &machine()), 3);
    assert!(text.contains("--signing-key-file: is needed → make one: baton key signing"), "{text}");
    assert!(text.contains("--worker-root-key-file: is needed"), "{text}");
    assert!(text.contains("serve everybody with --anonymous"), "{text}");
    assert!(gateway_of("--anonymous", &machine()).is_ok());
    assert!(gateway_of("--anonymous --api-key k", &machine()).is_err());
    let nobody = machine().file("b.toml", "api_key = []");
    assert!(gateway_of("--config b.toml", &nobody).is_err(), "an empty list opens no gateway");
}

#[test]
fn dev_serves_anybody_on_loopback_only() {
    let text = one_problem(dev_of("--listen 0.0.0.0:8080", &machine()));
    assert!(text.starts_with("--api-key: is needed"), "{text}");
    for ok in ["--api-key k", "--anonymous"] {
        assert!(dev_of(&format!("--listen 0.0.0.0:8080 {ok}"), &machine()).is_ok(), "{ok}");
    }
    let confined_and_open = "--listen 0.0.0.0:8080 --anonymous --runtime confined";
    assert!(dev_of(confined_and_open, &machine()).is_err());
}

#[test]
fn key_files_are_judged_with_all_the_rest() {
    let around = machine().file("bad.key", "hunter2");
    let arguments = "--signing-key-file bad.key --signing-key-file none.key --worker-root-key-file r.key --api-key k";
    let text = message(gateway(&words(arguments), &around), 2);
    assert!(text.contains("--signing-key-file: \"bad.key\" is no key file"), "{text}");
    assert!(text.contains("\"none.key\" cannot be read"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let twice = "--signing-key-file s.key --signing-key-file s.key --worker-root-key-file r.key --api-key k";
    let text = one_problem(gateway(&words(twice), &around));
    assert!(text.contains("cannot be told apart → two signing keys share the key id"), "{text}");
    assert!(one_problem(worker(&[], &around)).contains("baton key worker --root"));
}

#[test]
fn secrets_are_in_no_message() {
    let around = machine().file("b.toml", "redis = \"redis://u:hunter2@h\noops");
    let text = message(gateway_of("--config b.toml --api-key hunter2\u{7f}", &around), 2);
    assert!(text.contains("b.toml line 2: not TOML"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = one_problem(gateway_of("--api-key k --redis http://u:hunter2@h", &machine()));
    assert!(text.starts_with("--redis: it cannot be used"), "{text}");
}

#[test]
fn api_keys_in_a_file_are_hashes_with_a_tenant_and_a_subject() {
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let good = format!("[[api_key]]\nhash = \"{hash}\"\ntenant = \"t\"\nsubject = \"s\"\n");
    let around = machine().file("b.toml", &good);
    let settings = gateway_of("--config b.toml", &around).unwrap().settings;
    let Authentication::ApiKeys(keys) = settings.edge.authentication else { panic!("no keys") };
    assert_eq!((keys[0].principal.tenant(), keys[0].principal.subject()), ("t", "s"));
    let settings = gateway_of("--config b.toml --api-key abc", &around).unwrap().settings;
    let Authentication::ApiKeys(keys) = settings.edge.authentication else { panic!("no keys") };
    assert_eq!((keys.len(), keys[0].principal.tenant()), (1, "default"));
    assert_eq!(keys[0].digest.to_string(), hash);
    let bad = machine().file("b.toml", "[[api_key]]\nhash = \"abc\"\ntenant = \"t\"\nkey = \"x\"");
    let text = message(gateway_of("--anonymous --config b.toml", &bad), 3);
    assert!(text.contains("[[api_key]] number 1 in b.toml: key: no such key"), "{text}");
    assert!(text.contains("subject: a name has") && text.contains("hash: the hash of"), "{text}");
}

#[test]
fn rates_are_a_list_or_a_table() {
    let file = "[tool_rate_per_second]\nlaunchShell = 0.5\nwhoami = 0\n[method_rate_per_second]\n\"tools/list\" = 10";
    let around = machine().file("b.toml", file);
    let rates = dev_of("--config b.toml --rate-per-second 5 --rate-burst 9", &around);
    let rates = rates.unwrap().settings.edge.rates;
    assert_eq!(rates.tenant.unwrap().rate().burst().get(), 9);
    assert_eq!((rates.tools.len(), rates.methods.len(), rates.subject), (1, 1, None));
    assert_eq!(rates.tools[0].1.rate().interval(), Duration::from_secs(2));
    let file = "rate_per_second = \"5:global\"\nsubject_rate_per_second = 4\nsubject_rate_burst = 9\n[tool_rate_per_second]\nlaunchShell = \"0.5:global\"";
    let rates = dev_of("--config b.toml", &machine().file("b.toml", file)).unwrap().settings;
    let rates = rates.edge.rates;
    let global = |limit: RateLimit| limit == RateLimit::global(limit.rate());
    assert!(global(rates.tenant.unwrap()) && global(rates.tools[0].1));
    let subject = rates.subject.unwrap();
    assert!(!global(subject) && subject.rate().burst().get() == 9);
    let rates = dev_of("--tool-rate-per-second a=1 --tool-rate-per-second b=2", &machine());
    assert_eq!(rates.unwrap().settings.edge.rates.tools.len(), 2);
}

#[test]
fn a_wildcard_must_say_how_others_reach_it() {
    let text = message(gateway_of("--api-key k --internal-listen 0.0.0.0:9", &machine()), 2);
    assert!(text.contains("--rpc-plaintext"), "{text}");
    assert!(text.contains("write --advertise http://THIS-HOST:9"), "{text}");
    let text = message(worker_of("--listen 0.0.0.0:9", &machine()), 2);
    assert!(text.contains("--advertise: is needed") && text.contains("--rpc-plaintext"), "{text}");
    let worker = worker_of("--listen 0.0.0.0:9 --rpc-plaintext --advertise http://w:9", &machine());
    assert_eq!(worker.unwrap().settings.advertise.as_deref(), Some("http://w:9"));
    let text = one_problem(dev_of("--internal-listen 127.0.0.1:8080", &machine()));
    assert!(text.contains("the same address as --listen"), "{text}");
    assert!(dev_of("--listen 127.0.0.1:0 --internal-listen 127.0.0.1:0", &machine()).is_ok());
}

#[test]
fn the_platform_names_the_replica() {
    let around = machine().variable("CONTAINER_APP_REPLICA_NAME", "baton--1-abc");
    let edge = |arguments: &str| dev_of(arguments, &around).unwrap().settings.edge;
    assert_eq!(edge("").replica_id.as_str(), "baton--1-abc");
    assert_eq!(edge("--replica-id mine").replica_id.as_str(), "mine");
}

#[test]
fn python_is_the_systems_else_on_the_path() {
    let around = Fake::default().variable("PATH", "relative:/opt/bin").file("/opt/bin/python3", "");
    let python = |around: &Fake| dev_of("", around).unwrap().settings.sandbox.python;
    assert_eq!(python(&machine()).to_str(), Some("/usr/bin/python3"));
    assert_eq!(python(&around).to_str(), Some("/opt/bin/python3"));
    assert!(one_problem(dev_of("", &Fake::default())).contains("no python3"));
}

#[test]
fn traces_go_where_the_standard_variable_says() {
    let around = machine().variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    let endpoint =
        |arguments: &str| dev_of(arguments, &around).unwrap().settings.telemetry.otlp_endpoint;
    assert_eq!(endpoint("").as_deref(), Some("http://c:4318"));
    assert_eq!(endpoint("--otlp-endpoint http://d:4318").as_deref(), Some("http://d:4318"));
    assert_eq!(dev_of("", &machine()).unwrap().settings.telemetry.otlp_endpoint, None);
}

#[test]
fn the_doctor_reads_the_roles_that_are_set_up() {
    let read = |arguments: &str| doctor(&words(arguments), &machine()).settings;
    let both = read(&format!("{KEYS} --worker-key-file w.key --api-key k --url http://h/mcp"));
    assert!(both.gateway.unwrap().is_ok() && both.worker.unwrap().is_ok() && both.dev.is_none());
    assert_eq!(both.url.as_deref(), Some("http://h/mcp"));
    let dev = read("");
    assert!(dev.dev.unwrap().is_ok() && dev.gateway.is_none() && dev.url.is_none());
    assert!(read("--worker-key-file none.key").worker.unwrap().is_err());
    let client = read("--redis-client-key-file c.key --worker-key-file w.key");
    assert_eq!(client.key_files, ["w.key", "c.key"].map(std::path::PathBuf::from));
    assert!(client.gateway.is_some());
    let wrong = read("--prot 1");
    assert_eq!(wrong.own.unwrap_err().iter().count(), 1);
    assert!(wrong.dev.unwrap().is_ok(), "it is told once");
}

#[test]
fn what_pages_may_send_and_read_is_for_named_origins_only() {
    let named = "--allowed-origin https://app.example";
    let more = "--cors-allowed-header X-Tenant --cors-exposed-header X-Request-Id";
    let cors = dev_of(&format!("{named} {more}"), &machine()).unwrap().settings.edge.cors;
    assert_eq!(
        (&cors.allowed_headers[..], &cors.exposed_headers[..]),
        (&["x-tenant".parse().unwrap()][..], &["x-request-id".parse().unwrap()][..])
    );
    assert_eq!(cors.max_age, Duration::from_hours(2));
    let alone = one_problem(dev_of("--cors-allowed-header X-Tenant", &machine()));
    assert!(alone.contains("--allowed-origin"), "{alone}");
}
