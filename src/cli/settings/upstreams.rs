//! Other MCP servers behind the gateway: one `[[upstream]]` table each.

use std::collections::BTreeSet;

use http::Uri;
use toml::Table;

use crate::gateway::{
    EraChoice, NameFilter, Network, Upstream, UpstreamName, UpstreamTimeouts, may_lead_somewhere,
};
use crate::tls::{Authorities, Trust};

use super::fields::Fields;
use super::problem::Wrong;
use super::upstream_headers::{self, Sources};
use super::value;

/// Upstreams of one gateway.
pub(super) const MAX_UPSTREAMS: usize = 64;
/// Endpoints of one upstream.
const MAX_ENDPOINTS: usize = 8;
/// Patterns of one list.
const MAX_PATTERNS: usize = 128;
/// Longest pattern.
const MAX_PATTERN_BYTES: usize = 1024;
/// Networks of one upstream.
const MAX_NETWORKS: usize = 64;
/// Longest URL.
const MAX_URL_BYTES: usize = 2048;
/// Longest prefix. A tool's name should not be longer than 128 characters (2026-07-28, server/tools, "Tool Names"):
/// half of that is left for the upstream's own.
const MAX_PREFIX_BYTES: usize = 64;
const PRIORITIES: (i32, i32) = (-1000, 1000);
const DAY: u64 = 86_400;

/// One `[[upstream]]` table.
pub(super) fn from_table(table: &Table, sources: &mut Sources<'_>) -> Result<Upstream, Vec<Wrong>> {
    let fields = Fields::new(table);
    let name = fields.text("name", name);
    if !fields.is_given("name") {
        fields.wrong("name", Wrong::new("is needed", "write name = \"NAME\""));
    }
    let private_networks = fields.texts("private_networks", (0, MAX_NETWORKS), value::network);
    let endpoints = endpoints(&fields, &private_networks);
    let eras =
        [("auto", EraChoice::Auto), ("modern", EraChoice::Modern), ("legacy", EraChoice::Legacy)];
    let upstream = Upstream {
        prefix: fields.text("prefix", prefix).unwrap_or_default(),
        tools: filter(&fields, "tools"),
        prompts: filter(&fields, "prompts"),
        resources: filter(&fields, "resources"),
        headers: fields.inner("headers", |inner| upstream_headers::read(inner, sources)),
        era: fields.text("era", |text| value::choice(text, &eras)).unwrap_or_default(),
        priority: fields.number("priority", PRIORITIES).unwrap_or_default(),
        shared: fields.switch("shared"),
        trust: fields.text("ca_file", |path| trust(path, sources)).unwrap_or_default(),
        timeouts: timeouts(&fields),
        private_networks,
        // A stand-in where the name is wrong: then the upstream is thrown away.
        ..Upstream::new(name.unwrap_or_else(unnamed), endpoints)
    };
    let wrongs = fields.finish();
    if wrongs.is_empty() { Ok(upstream) } else { Err(wrongs) }
}

/// Names of which there is more than one.
pub(super) fn repeated<'a>(names: impl IntoIterator<Item = &'a UpstreamName>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().map(UpstreamName::as_str).filter(|name| !seen.insert(*name)).collect()
}

fn unnamed() -> UpstreamName {
    UpstreamName::parse("unnamed").expect("it is a name")
}

fn name(text: &str) -> Result<UpstreamName, Wrong> {
    let mend = "write 1 to 32 of A-Z, a-z, 0-9, _ and -";
    UpstreamName::parse(text).ok_or_else(|| Wrong::new("is no name", mend))
}

/// `url`, or `urls`.
fn endpoints(fields: &Fields<'_>, networks: &[Network]) -> Vec<Uri> {
    let one = fields.text("url", |text| url(text, networks));
    let several = fields.texts("urls", (1, MAX_ENDPOINTS), |text| url(text, networks));
    let mend = "write url = \"https://…\", or urls = [\"https://…\", …]";
    match (fields.is_given("url"), fields.is_given("urls")) {
        (true, true) => fields.wrong("urls", Wrong::new("there is url too", "keep one of them")),
        (false, false) => fields.wrong("url", Wrong::new("is needed", mend)),
        _ => {}
    }
    let twice = several.iter().enumerate().any(|(place, it)| several[..place].contains(it));
    if twice {
        fields.wrong("urls", Wrong::new("names an endpoint twice", "name each once"));
    }
    one.into_iter().chain(several).collect()
}

/// An MCP endpoint. It may hold a secret, so what is wrong with it is said without it.
fn url(text: &str, networks: &[Network]) -> Result<Uri, Wrong> {
    let wrong = |what| Err(Wrong::new(what, "write it like https://mcp.example.com/mcp"));
    if text.len() > MAX_URL_BYTES {
        return wrong("is longer than 2048 characters");
    }
    let Ok(url) = text.parse::<Uri>() else { return wrong("is no URL") };
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return wrong("is neither an https nor an http URL");
    }
    if url.host().is_none_or(str::is_empty) {
        return wrong("has no host");
    }
    if url.authority().is_some_and(|it| it.as_str().contains('@')) {
        let mend = "leave it out, and say who asks in headers";
        return Err(Wrong::new("has a user or a password", mend));
    }
    // The parser drops what a server never sees.
    if text.contains('#') {
        return wrong("has a fragment");
    }
    may_lead_somewhere(&url, networks)
        .map_err(|refused| Wrong::new(refused.to_string(), refused.mend()))?;
    Ok(url)
}

fn prefix(text: &str) -> Result<String, Wrong> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
    if text.len() <= MAX_PREFIX_BYTES && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let mend = "write at most 64 of A-Z, a-z, 0-9, _, - and .";
    Err(Wrong::new("is nothing that names of tools may begin with", mend))
}

fn filter(fields: &Fields<'_>, key: &'static str) -> NameFilter {
    fields.inner(key, |inner| NameFilter {
        allow: inner.texts("allow", (0, MAX_PATTERNS), pattern),
        deny: inner.texts("deny", (0, MAX_PATTERNS), pattern),
    })
}

fn pattern(text: &str) -> Result<String, Wrong> {
    let beginning = text.strip_suffix('*').unwrap_or(text);
    if !text.is_empty() && text.len() <= MAX_PATTERN_BYTES && !beginning.contains('*') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("\"{}\" is no pattern", text.escape_debug()),
        "write a name, or the beginning of names and * after it",
    ))
}

fn trust(path: &str, sources: &mut Sources<'_>) -> Result<Trust, Wrong> {
    let text = sources.file(path)?;
    let shown = path.escape_debug();
    Authorities::parse(&text)
        .map(Trust::Authorities)
        .map_err(|error| Wrong::new(format!("\"{shown}\" {error}"), error.mend()))
}

fn timeouts(fields: &Fields<'_>) -> UpstreamTimeouts {
    let or = UpstreamTimeouts::default();
    UpstreamTimeouts {
        connect: fields.seconds("connect_timeout_seconds", (1, 60), or.connect),
        call: fields.seconds("call_timeout_seconds", (1, DAY), or.call),
        list: fields.seconds("list_timeout_seconds", (1, 300), or.list),
        session_idle: fields.seconds("session_idle_seconds", (1, DAY), or.session_idle),
        list_fresh: fields.seconds("list_fresh_seconds", (0, DAY), or.list_fresh),
        list_stale: fields.seconds("list_stale_seconds", (0, 7 * DAY), or.list_stale),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{self, Problems};
    use crate::gateway::{EraChoice, Upstream};
    use crate::tls::Trust;

    fn read(file: &str) -> Result<Vec<Arc<Upstream>>, Problems> {
        read_on(Fake::new(), file)
    }

    fn read_on(around: Fake, file: &str) -> Result<Vec<Arc<Upstream>>, Problems> {
        let arguments = ["--config", "b.toml"].map(str::to_owned);
        let loaded = settings::dev(&arguments, &around.file("b.toml", file))?;
        Ok(loaded.settings.edge.upstreams.to_vec())
    }

    /// The message's lines about one table.
    fn wrongs(table: &str) -> Vec<String> {
        let error = read(&format!("[[upstream]]\n{table}")).unwrap_err();
        let at = "[[upstream]] number 1 in b.toml: ";
        let line = |it: &settings::Problem| it.to_string().strip_prefix(at).map(str::to_owned);
        error.iter().map(|it| line(it).unwrap_or_else(|| panic!("{it}"))).collect()
    }

    fn one_wrong(table: &str) -> String {
        let mut wrongs = wrongs(&format!("name = \"u\"\n{table}"));
        assert_eq!(wrongs.len(), 1, "{wrongs:?}");
        wrongs.remove(0)
    }

    #[test]
    fn a_name_and_a_url_are_enough() {
        let upstreams =
            read("[[upstream]]\nname = \"u\"\nurl = \"https://mcp.example/mcp\"").unwrap();
        let expected = Upstream::new(
            upstreams[0].name.clone(),
            vec!["https://mcp.example/mcp".parse().unwrap()],
        );
        assert_eq!(*upstreams[0], expected);
        assert!(read("").unwrap().is_empty());
        assert!(read("upstream = []").unwrap().is_empty());
    }

    #[test]
    fn everything_can_be_said_of_one() {
        let authority = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let around = Fake::new()
            .variable("TOKEN", "Bearer env-secret")
            .file("t", "file-secret\n")
            .file("ca.pem", &authority.cert.pem());
        let file = r#"
            [[upstream]]
            name = "files"
            urls = ["http://10.0.0.1:3000/mcp", "https://files.example"]
            prefix = "files_"
            tools = { allow = ["read*", "list"], deny = ["read_secret"] }
            prompts.deny = ["*"]
            resources = { allow = ["file:///srv/*"] }
            headers = { Authorization = "env:TOKEN", X-Key = "file:t", X-Literal = "literal-secret" }
            era = "legacy"
            priority = -3
            shared = true
            private_networks = ["10.0.0.0/8", "127.0.0.1"]
            ca_file = "ca.pem"
            connect_timeout_seconds = 1
            call_timeout_seconds = 2
            list_timeout_seconds = 3
            session_idle_seconds = 4
            list_fresh_seconds = 5
            list_stale_seconds = 6
        "#;
        let upstreams = read_on(around, file).unwrap();
        let it = &upstreams[0];
        assert_eq!(
            (it.name.as_str(), it.prefix.as_str(), it.endpoints.len()),
            ("files", "files_", 2)
        );
        assert!(it.tools.admits("read_file") && !it.tools.admits("read_secret"));
        assert!(!it.prompts.admits("any") && !it.resources.admits("file:///etc/passwd"));
        let values: Vec<_> = it.headers.iter().map(|(name, it)| (name.as_str(), it)).collect();
        assert_eq!(values[0], ("authorization", &"Bearer env-secret".parse().unwrap()));
        assert_eq!(values[1], ("x-key", &"file-secret".parse().unwrap()));
        assert_eq!(values[2], ("x-literal", &"literal-secret".parse().unwrap()));
        assert!(values.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!((it.era, it.priority, it.shared), (EraChoice::Legacy, -3, true));
        assert_eq!(it.private_networks.len(), 2);
        assert!(matches!(it.trust, Trust::Authorities(_)));
        let seconds = [
            it.timeouts.connect,
            it.timeouts.call,
            it.timeouts.list,
            it.timeouts.session_idle,
            it.timeouts.list_fresh,
            it.timeouts.list_stale,
        ];
        assert_eq!(seconds, [1, 2, 3, 4, 5, 6].map(Duration::from_secs));
        let shown = format!("{:?} {:?}", it, it.headers);
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn all_that_is_wrong_with_all_tables_is_told_at_once() {
        let file = r#"
            [[upstream]]
            nam = "a"
            url = "ftp://h"
            [[upstream]]
            name = "b.c"
            urls = []
            era = "old"
            priority = 2000
            shared = "yes"
            tools = { alow = ["x"], deny = ["a*b"] }
            headers = { X-A = "env:NONE" }
            private_networks = ["10.0.0/8"]
            call_timeout_seconds = "5m"
            ca_file = "none.pem"
            prefix = "a b"
        "#;
        let text = read(file).unwrap_err().to_string();
        for line in [
            "[[upstream]] number 1 in b.toml: nam: no such key → did you mean name?",
            "number 1 in b.toml: name: is needed → write name = \"NAME\"",
            "number 1 in b.toml: url: is neither an https nor an http URL → write it like https://",
            "[[upstream]] number 2 in b.toml: name: is no name → write 1 to 32 of",
            "urls: has 0 entries → write 1 to 8",
            "era: is no choice → write one of auto, modern, legacy",
            "priority: is not in range → write a whole number from -1000 to 1000",
            "shared: is neither true nor false → write true or false",
            "tools.alow: no such key → did you mean tools.allow?",
            "tools.deny: \"a*b\" is no pattern → write a name, or the beginning",
            "headers.X-A: there is no variable \"NONE\" → set it, or name another",
            "private_networks: is not a network → write 10.0.0.0/8",
            "call_timeout_seconds: is not a whole number → write 300",
            "ca_file: \"none.pem\" cannot be read",
            "prefix: is nothing that names of tools may begin with → write at most 64 of",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(text.lines().count(), 15 + 2, "{text}");
    }

    #[test]
    fn a_url_leads_to_a_server_and_nowhere_else() {
        for (url, what) in [
            ("", "is no URL"),
            ("mcp.example", "is neither an https"),
            ("/mcp", "is neither an https"),
            ("https://u:hunter2@h/", "has a user or a password"),
            ("https://h/mcp#a", "has a fragment"),
            ("http://mcp.example", "http is for addresses in private_networks only → use https"),
            ("https://127.0.0.1", "127.0.0.1 is not a public address → if it is meant"),
            ("https://h:5432", "port 5432 of a public address"),
        ] {
            let wrong = one_wrong(&format!("url = \"{url}\""));
            assert!(wrong.contains(what) && !wrong.contains("hunter2"), "{url}: {wrong}");
        }
        let long = format!("url = \"https://h/{}\"", "a".repeat(2048));
        assert!(one_wrong(&long).contains("longer than 2048"));
        assert!(one_wrong("").contains("url: is needed"));
        let both = "url = \"https://a\"\nurls = [\"https://b\"]";
        assert!(one_wrong(both).contains("urls: there is url too"));
        assert!(
            one_wrong("urls = [\"https://a\", \"https://a\"]").contains("names an endpoint twice")
        );
        let many: Vec<_> = (0..9).map(|it| format!("\"https://h{it}\"")).collect();
        assert!(one_wrong(&format!("urls = [{}]", many.join(","))).contains("has 9 entries"));
    }

    #[test]
    fn names_are_unique_and_upstreams_are_few() {
        let table = |name: &str| format!("[[upstream]]\nname = \"{name}\"\nurl = \"https://h\"\n");
        let twice = read(&[table("a"), table("b"), table("a")].concat()).unwrap_err();
        assert!(twice.to_string().contains("two are named \"a\" → give each a name"), "{twice}");
        let many: String = (0..65).map(|it| table(&format!("u{it}"))).collect();
        let many = read(&many).unwrap_err().to_string();
        assert!(
            many.contains("upstream in b.toml: there are 65 of them → write at most 64"),
            "{many}"
        );
    }

    #[test]
    fn it_is_a_list_of_tables_of_gateways() {
        let text = read("[upstream]\nname = \"u\"").unwrap_err().to_string();
        assert!(text.contains("upstream in b.toml: not a list of tables → write [[upstream]]"));
        let text = read("[[upstreem]]\nname = \"u\"").unwrap_err().to_string();
        assert!(
            text.contains("upstreem in b.toml: no such key → did you mean upstream?"),
            "{text}"
        );
        let around = Fake::new().file("b.toml", "[[upstream]]\nname = \"u\"");
        let worker = settings::worker(&["--config=b.toml".to_owned()], &around).unwrap_err();
        assert!(worker.to_string().contains("upstream in b.toml: not a setting of `baton worker`"));
    }
}
