//! Which layer may import which: the table of `src/lib.rs`, held.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A layer, and what of ours it may name.
const LAYERS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("mcp", &[]),
    ("clock", &["domain"]),
    ("net", &[]),
    ("serve", &["net"]),
    ("telemetry", &[]),
    ("tls", &[]),
    ("directory", &["domain", "clock", "tls"]),
    ("rpc", &["domain", "clock", "net"]),
    (
        "gateway",
        &["mcp", "directory", "rpc", "domain", "clock", "net", "serve", "telemetry", "tls"],
    ),
    ("worker", &["rpc", "domain", "clock", "net", "serve", "telemetry"]),
    ("dev", &["gateway", "worker", "directory", "rpc", "domain", "clock", "serve", "telemetry"]),
    (
        "cli",
        &[
            "dev",
            "gateway",
            "worker",
            "directory",
            "rpc",
            "mcp",
            "domain",
            "clock",
            "serve",
            "telemetry",
            "tls",
        ],
    ),
];

/// A crate, and the only places that may name it.
const CRATES: [(&str, &[&str]); 12] = [
    ("redis", &["directory/redis"]),
    (
        "axum",
        &["gateway", "worker/mod.rs", "worker/server.rs", "worker/stream.rs", "worker/internal.rs"],
    ),
    ("governor", &["gateway/limits"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("rustls", &["tls.rs", "gateway/upstream/link", "directory/redis/dial.rs"]),
    ("hyper_rustls", &["gateway/upstream/link"]),
    ("rustls_native_certs", &["tls.rs"]),
    ("tokio_rustls", &["directory/redis/dial.rs"]),
    ("seccompiler", &["worker/sandbox"]),
    ("landlock", &["worker/sandbox"]),
];

/// What the simulation runs, where time is Tokio's: it stands still while nothing happens there, and the same seed is
/// the same run.
const SIMULATED: [&str; 5] = ["gateway/", "worker/", "rpc/", "directory/", "serve/"];
/// Who may ask the machine's own clock there, because nothing goes by it but figures and log lines; and the processes of
/// sandboxes, which are not simulated.
const OWN_CLOCK: [&str; 8] = [
    "gateway/dispatch.rs",
    "gateway/handover/take.rs",
    "gateway/observe.rs",
    "gateway/outgoing.rs",
    "gateway/unasked.rs",
    "serve/complaint.rs",
    "worker/sandbox/",
    "worker/server.rs",
];

/// All that `domain` may name besides `std`.
const DOMAIN_CRATES: [&str; 6] = ["thiserror", "hmac", "sha2", "hkdf", "base64", "proptest"];
/// All that `mcp` may name besides `std`.
const MCP_CRATES: [&str; 8] =
    ["thiserror", "serde", "serde_json", "http", "bytes", "bytestring", "base64", "proptest"];

struct Source {
    /// Below `src/`, with `/` between its parts.
    place: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut waiting, mut found) = (vec![root.clone()], Vec::new());
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { place, text: code_of(&fs::read_to_string(&path).unwrap()) });
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The code without its comments, and without what is compiled for tests only: those may reach further.
fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

impl Source {
    fn layer(&self) -> &str {
        self.place.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// What stands between `prefix` and the next character that is in no name.
    fn names_after(&self, prefix: &str) -> BTreeSet<&str> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.text
            .match_indices(prefix)
            .filter(|(at, _)| !self.text[..*at].ends_with(is_name))
            .map(|(at, _)| {
                let rest = &self.text[at + prefix.len()..];
                &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]
            })
            .collect()
    }

    /// Whether it has `std`'s clock, by whichever path.
    fn names_std_instant(&self) -> bool {
        self.text.match_indices("std::time").any(|(at, path)| {
            let rest = &self.text[at + path.len()..];
            match rest.strip_prefix("::") {
                None => true,
                Some(list) if list.starts_with('{') => {
                    list.split('}').next().is_some_and(|list| list.contains("Instant"))
                }
                Some(name) => name.starts_with("Instant") || name.starts_with('*'),
            }
        })
    }

    /// Whether it names a crate in a path, and not as the last part of one of ours.
    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        self.text.match_indices(&path).any(|(at, _)| {
            let before = &self.text[..at];
            !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        })
    }
}

fn is_test_code(source: &Source) -> bool {
    source.place.ends_with("tests.rs")
        || source.place.ends_with("testing.rs")
        || source.place.contains("/tests/")
}

#[test]
fn each_layer_imports_only_what_stands_above_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|it| !is_test_code(it)) {
        let Some((layer, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == source.layer())
        else {
            assert!(["main", "lib"].contains(&source.layer()), "{}: which layer?", source.place);
            continue;
        };
        for name in source.names_after("crate::") {
            let is_layer = LAYERS.iter().any(|(known, _)| *known == name);
            if is_layer && name != *layer && !allowed.contains(&name) {
                wrong.push(format!("{} names crate::{name}", source.place));
            }
            if name.is_empty() {
                wrong.push(format!("{}: one `use crate::layer::…` per layer", source.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_framework_is_named_only_in_its_room() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|it| !is_test_code(it)) {
        for (name, rooms) in CRATES {
            let at_home = rooms.iter().any(|room| source.place.starts_with(room));
            if !at_home && source.names_crate(name) {
                wrong.push(format!("{} names {name}", source.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_inner_layers_know_no_framework() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .take_while(|line| !line.starts_with("[profile"))
        .filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")));
    let dependencies: BTreeSet<String> = dependencies.collect();
    assert!(dependencies.contains("tokio"), "the manifest was not understood");
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|it| !is_test_code(it)) {
        let allowed: &[&str] = match source.layer() {
            "domain" => &DOMAIN_CRATES,
            "mcp" => &MCP_CRATES,
            _ => continue,
        };
        for name in dependencies.iter().filter(|it| !allowed.contains(&it.as_str())) {
            if source.names_crate(name) {
                wrong.push(format!("{} names {name}", source.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_simulated_goes_by_the_clock_of_the_simulation() {
    let (mut wrong, mut unused) = (Vec::new(), OWN_CLOCK.to_vec());
    for source in sources().iter().filter(|it| !is_test_code(it) && it.names_std_instant()) {
        let excepted = OWN_CLOCK.iter().find(|place| source.place.starts_with(**place));
        unused.retain(|place| Some(place) != excepted);
        let simulated = SIMULATED.iter().any(|place| source.place.starts_with(place));
        if simulated && excepted.is_none() {
            wrong.push(format!("{} names std::time::Instant: take tokio::time's", source.place));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(unused.is_empty(), "they are no exceptions any more: {unused:?}");
}
