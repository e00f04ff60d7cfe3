//! What upstreams of both eras ask clients of the legacy era while they work.

use http::StatusCode;
use serde_json::{Value, json};

use crate::mcp_client::Modern;
use crate::upstream_questions::{asking, question};
use crate::upstream_server::{Answer, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

const JSON: &str = "application/json";

/// A call as the legacy revisions send it, in whichever form its client takes the answer.
fn call(accept: &str) -> Modern {
    let params = json!({"name": "ask", "arguments": {}});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let headers =
        [("content-type", JSON), ("accept", accept), ("mcp-protocol-version", "2025-11-25")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Modern { message, headers }
}

/// A modern upstream whose calls ask for a name, and answer with what they were told.
async fn asking_modern() -> UpstreamServer {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |it| match &it.params()["inputResponses"] {
        Value::Null => {
            let request = json!({"method": "elicitation/create", "params": question("Your name?")});
            let asks = json!({"resultType": "input_required", "inputRequests": {"q": request}, "requestState": "s"});
            Answer::result(asks)
        }
        heard => Answer::result(json!({"content": [], "heard": heard, "state": it.params()["requestState"]})),
    });
    server
}

#[tokio::test]
async fn who_takes_no_stream_is_told_at_once_that_it_cannot_be_asked() {
    let (legacy, modern) = (asking().await, asking_modern().await);
    let of_legacy = gateway(&set([upstream("u", &legacy)]), |_| {});
    let result = of_legacy.client().post(&call(JSON).headers(), call(JSON).body()).await.result();
    assert_eq!(result["heard"][0]["error"]["code"], -32601, "its upstream ends the call itself");
    let of_modern = gateway(&set([upstream("u", &modern)]), |_| {});
    let refused = of_modern.client().post(&call(JSON).headers(), call(JSON).body()).await;
    assert_eq!((refused.status, &refused.error()["code"]), (StatusCode::OK, &json!(50304)));
}
