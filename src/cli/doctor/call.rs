//! One real call, as a client makes it: discover, launch, run Python, close.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cli::call::CallError;
use crate::cli::call::endpoint::Endpoint;
use crate::domain::api_key::ApiKey;

use super::finding::{Finding, Report};
use super::network;

const NAME: &str = "call";
/// A cold sandbox takes well under a second.
const DEADLINE: Duration = Duration::from_secs(30);

/// Calls `url`, or the listener of this machine's settings if somebody listens there.
pub(super) async fn check(
    report: &mut Report<'_>,
    url: Option<String>,
    listener: Option<SocketAddr>,
    api_key: Option<ApiKey>,
) {
    let url = match (url, listener) {
        (Some(url), _) => url,
        (None, Some(listener)) if network::listens(listener).await => {
            format!("http://{listener}/mcp")
        }
        (None, Some(listener)) => {
            let detail =
                format!("not tried: nothing listens at {listener} yet, and no --url is given");
            return report.add(Finding::note(NAME, detail));
        }
        (None, None) => return report.add(Finding::note(NAME, "not tried: no --url is given")),
    };
    let tried = timeout(DEADLINE, call(&url, api_key)).await;
    report.add(tried.unwrap_or_else(|_| {
        let mend = "see the logs of the gateway and its worker";
        Finding::bad(NAME, format!("{url} took longer than 30 s"), mend)
    }));
}

async fn call(url: &str, api_key: Option<ApiKey>) -> Finding {
    match steps(url, api_key).await {
        Ok(finding) => finding,
        Err(error) => {
            // What can be done stands behind the arrow of the error's own text, where there is something.
            let text = error.to_string();
            let (what, mend) = text.split_once(" → ").unwrap_or((&text, "see the gateway's log"));
            Finding::bad(NAME, what, mend)
        }
    }
}

async fn steps(url: &str, api_key: Option<ApiKey>) -> Result<Finding, CallError> {
    let endpoint = Endpoint::new(url, api_key)?;
    let begun = Instant::now();
    endpoint.discover().await?;
    let tools = endpoint.tools().await?;
    if !tools.iter().any(|tool| tool["name"] == "launchShell") {
        let detail = format!("{url} answers, and offers no environments: nothing was run");
        return Ok(Finding::note(NAME, detail));
    }
    let launched = result(&endpoint, "launchShell", &json!({})).await?;
    let id = &launched["structuredContent"]["environmentId"];
    if !id.is_string() {
        return Ok(refused("launchShell", &launched));
    }
    let code = json!({ "environmentId": id, "pythonCode": "1+1" });
    let ran = result(&endpoint, "runPythonCodeInRemoteEnvironment", &code).await;
    let closed = result(&endpoint, "closeEnvironment", &json!({ "environmentId": id })).await;
    let ran = ran?;
    if ran["structuredContent"]["executionResult"] != "2" {
        return Ok(refused("1+1", &ran));
    }
    let closed = closed?;
    if closed["isError"] == true {
        return Ok(refused("closeEnvironment", &closed));
    }
    let millis = begun.elapsed().as_millis();
    let replica = ran["_meta"]["dev.baton/servedBy"].as_str().unwrap_or("an unnamed replica");
    let detail = format!(
        "{url} launched an environment, ran 1+1 and closed it in {millis} ms, by {replica}"
    );
    Ok(Finding::good(NAME, detail))
}

async fn result(endpoint: &Endpoint, tool: &str, arguments: &Value) -> Result<Value, CallError> {
    let result = endpoint.call(tool, arguments, &mut |_| ()).await?;
    Ok(serde_json::from_str(result.get()).unwrap_or_default())
}

fn refused(step: &str, result: &Value) -> Finding {
    let text = result["content"][0]["text"].as_str().unwrap_or("without a word");
    Finding::bad(
        NAME,
        format!("{step} came to nothing: {text}"),
        "see the logs of gateway and worker",
    )
}
