//! The `notifications` of `subscriptions/listen`. What is accepted asks for no more than the text said, and rendered
//! and read again it is the same; what a subscription is sent is JSON under its id.

#![no_main]

use baton::mcp::{Change, Envelope, Incoming, Listed, ListenFilter, Subscription};
use http::header::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const BEFORE: &str = r#"{"jsonrpc":"2.0","id":"1","method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}},"notifications":"#;

fuzz_target!(|data: &[u8]| {
    let Some((filter, subscription)) = read(data) else { return };
    let asked: Value = serde_json::from_slice(data).expect("accepted, and not JSON");
    let text = filter.render();
    assert_eq!(read(text.get().as_bytes()).map(|(again, _)| again).as_ref(), Some(&filter));
    for (listed, key) in [
        (Listed::Tools, "toolsListChanged"),
        (Listed::Prompts, "promptsListChanged"),
        (Listed::Resources, "resourcesListChanged"),
    ] {
        assert_eq!(filter.admits(&Change::List(listed)), asked[key] == true);
    }
    for (names, key) in [(&filter.resources, "resourceSubscriptions"), (&filter.tasks, "taskIds")] {
        let asked = asked[key].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(names.iter().all(|name| asked.iter().any(|it| it == name)));
        assert!(asked.iter().all(|it| names.iter().any(|name| it == name)));
    }
    assert!(filter.resources.iter().all(|uri| filter.admits(&Change::Resource(uri.clone()))));

    let sent = subscription.acknowledged(&filter);
    let sent: Value = serde_json::from_slice(&sent).expect("JSON");
    assert_eq!(sent["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "1");
});

fn read(filter: &[u8]) -> Option<(ListenFilter, Subscription)> {
    let body = [BEFORE.as_bytes(), filter, b"}}"].concat();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let Ok(Incoming::Request(envelope)) = Envelope::parse(&headers, &body.into()) else {
        return None;
    };
    // What was read is the filter alone, and not more params behind it.
    serde_json::from_slice::<Value>(filter).ok()?;
    Some((envelope.listen_filter().ok()?, Subscription::new(envelope.id().clone())))
}
