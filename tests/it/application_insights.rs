//! What Application Insights makes of our spans: its published query counts the calls that each replica took.

#![expect(clippy::unwrap_used, reason = "a test whose span lacks a member has failed")]

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::collector::{Seen, Traced};
use crate::mcp_client::Modern;
use crate::upstream_questions::{asked, asking, call, retry, send};
use crate::upstreams::{set, upstream};

const SHELL: &str = "runShellCommandInRemoteEnvironment";

/// A row of the table `requests`, as the `azuremonitor` exporter of the OpenTelemetry collector fills it.
#[derive(Debug)]
struct Row {
    name: String,
    cloud_role: String,
    cloud_role_instance: String,
    result_code: String,
    success: bool,
}

/// The exporter's rule: a span of kind SERVER is a request, all others are dependencies. One with an HTTP method is
/// named by that and its route, and its status decides; `rpc.system` would go before that.
fn row(span: &Seen) -> Option<Row> {
    let attribute = |name: &str| span.attributes.get(name).map(String::as_str);
    if !matches!(span.kind, SpanKind::Server | SpanKind::Consumer) {
        return None;
    }
    let failed = span.error.is_some();
    let (mut result_code, mut success) = (if failed { "2" } else { "0" }.to_owned(), !failed);
    let name = match (attribute("rpc.system"), attribute("http.request.method")) {
        (Some(system), _) => format!("{system} {}", span.name),
        (None, Some(method)) => {
            if let Some(status) = attribute("http.response.status_code") {
                success = (100..400).contains(&status.parse::<u16>().unwrap());
                status.clone_into(&mut result_code);
            }
            format!("{method} {}", attribute("http.route").unwrap_or(&span.name))
        }
        (None, None) => span.name.clone(),
    };
    let (cloud_role, cloud_role_instance) = (span.service.clone(), span.instance.clone());
    Some(Row { name, cloud_role, cloud_role_instance, result_code, success })
}

/// `requests | where name contains "/mcp" | summarize count() by cloud_RoleInstance`
fn count_by_role_instance(requests: &[Row]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for row in requests.iter().filter(|it| it.name.to_lowercase().contains("/mcp")) {
        *counts.entry(row.cloud_role_instance.as_str()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn the_published_query_counts_the_calls_of_each_replica_and_nothing_else() {
    let server = asking().await;
    let upstreams = set([upstream("u", &server)]);
    let mut traced = Traced::start_with(2, |config| config.upstreams = upstreams.subscribe()).await;
    let (first, second) = (traced.client(0), traced.client(1));

    let id = first.launch().await;
    let shell = json!({"name": SHELL, "arguments": {"environmentId": id, "shellCommand": "true"}});
    for client in [&first, &second, &second] {
        send(client, &Modern::new("tools/call", shell.clone())).await.result();
    }
    let unknown = Modern::new("tools/call", json!({"name": "invented", "arguments": {}}));
    let refused = send(&second, &unknown).await;
    // The retry comes to the second replica, which hands it over to the first: one more call of the second.
    let asked = asked(&send(&first, &call(&json!({}))).await.result());
    let (key, _, state) = asked;
    send(&second, &retry(&key, &json!({"action": "accept"}), &state)).await.result();

    let replica =
        |it: &crate::mcp_client::Answer| it.headers["baton-replica"].to_str().unwrap().to_owned();
    let (second_id, spans) = (replica(&refused), traced.all().await);
    let requests: Vec<Row> = spans.iter().filter_map(row).collect();
    let counts = count_by_role_instance(&requests);
    assert_eq!(counts.values().sum::<usize>(), 7, "{requests:#?}");
    assert_eq!(counts.len(), 2, "{requests:#?}");
    assert_eq!(counts[second_id.as_str()], 4, "{requests:#?}");

    for row in &requests {
        let of_mcp = row.name.contains("/mcp");
        let expected = match row.name.as_str() {
            "POST /mcp" | "POST /v1/handover" => "baton-gateway",
            _ => "baton-worker",
        };
        assert_eq!(row.cloud_role, expected, "{row:?}");
        let failed = of_mcp && row.result_code == refused.status.as_str() && !row.success;
        assert!(row.success || failed, "only the unknown tool was refused: {row:?}");
    }
    assert_eq!(requests.iter().filter(|it| it.name == "POST /v1/handover").count(), 1);
    assert!(
        requests.iter().any(|it| it.cloud_role == "baton-worker"),
        "workers' spans are requests"
    );
    let tools =
        spans.iter().filter(|it| it.attributes.get("http.route").is_some_and(|it| it == "/mcp"));
    let named =
        tools.filter(|it| it.attributes.get("gen_ai.tool.name").is_some_and(|it| it == SHELL));
    assert_eq!(
        named.count(),
        3,
        "customDimensions tell the tool that the name of a request does not"
    );
}
