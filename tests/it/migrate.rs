//! `baton migrate`, as it is run.

#![expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::cluster::Scratch;
use crate::program::Program;

/// What `az containerapp sessionpool show` prints of a pool.
fn exported() -> String {
    json!({
        "id": "/subscriptions/0/resourceGroups/rg/providers/Microsoft.App/sessionPools/agents",
        "name": "agents",
        "type": "Microsoft.App/sessionPools",
        "properties": {
            "containerType": "PythonLTS",
            "customContainerTemplate": null,
            "dynamicPoolConfiguration": {"lifecycleConfiguration": {
                "coolDownPeriodInSeconds": 1234, "lifecycleType": "Timed", "maxAlivePeriodInSeconds": null,
            }},
            "poolManagementEndpoint": "https://westeurope.dynamicsessions.io/x",
            "provisioningState": "Succeeded",
            "scaleConfiguration": {"maxConcurrentSessions": 2},
            "secrets": null,
        },
    })
    .to_string()
}

/// Runs it with this input: exit code, standard output, standard error.
async fn migrate(words: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_baton"))
        .arg("migrate")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // It may refuse before it reads.
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.ok();
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_program_starts_from_what_is_redirected_and_lives_by_it() {
    let scratch = Scratch::new("migrate");
    let (code, configuration, list) = migrate(&["-"], &exported()).await;
    assert_eq!(code, Some(0), "{list}");
    assert!(
        list.contains("no counterpart:") && !configuration.contains("no counterpart:"),
        "{list}"
    );
    let file = scratch.path().join("baton.toml");
    std::fs::write(&file, &configuration).unwrap();
    let (data, file) = (scratch.path().join("data"), file.display().to_string());
    let data = data.display().to_string();
    let anywhere =
        ["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0", "--warm-pool", "0"];
    let own = ["dev", "--config", file.as_str(), "--data-dir", data.as_str()];
    let program = Program::start(own.into_iter().chain(anywhere), 4).await;
    let client = program.client();
    let launched = client.tool("launchShell", json!({})).await;
    assert_eq!(launched["structuredContent"]["idleTimeoutSeconds"], 1234, "{launched}");
    client.tool("launchShell", json!({})).await;
    let full = client.tool("launchShell", json!({})).await;
    assert_eq!(full["isError"], true, "maxConcurrentSessions was 2: {full}");
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_writes_nothing() {
    for (words, input, expected) in [
        (&[][..], "", "which file?"),
        (
            &["-"][..],
            "param x int\n",
            "az bicep build --file FILE.bicep --stdout | baton migrate -",
        ),
        (&["-"][..], "{\n  \"name\": }", "line 2 column 11"),
        (&["-"][..], &" ".repeat((1 << 20) + 1), "longer than 1 MiB"),
        (&["-", "--pol", "x"][..], "{}", "--pool"),
    ] {
        let (code, out, err) = migrate(words, input).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(expected), "{err}");
    }
}
