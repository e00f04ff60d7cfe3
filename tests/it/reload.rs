//! The configuration of a running gateway: read again when it is asked to, and when its file changes.

#![expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cluster::{Scratch, eventually};
use crate::mcp_client::McpClient;
use crate::program::Program;
use crate::upstream_server::{Answer, Gate, UpstreamServer, tool};

/// `baton dev` with a configuration file and a log that can be read.
struct Site {
    program: Program,
    config: PathBuf,
    log: PathBuf,
    scratch: Scratch,
}

impl Site {
    async fn start(config: &str) -> Self {
        let scratch = Scratch::new("reload");
        let path = |name: &str| scratch.path().join(name);
        let (file, log) = (path("baton.toml"), path("log"));
        fs::write(&file, config).unwrap();
        let (data, config) = (path("data").display().to_string(), file.display().to_string());
        let arguments = [
            ["dev", "--warm-pool=1"],
            ["--data-dir", &data],
            ["--config", &config],
            ["--listen", "127.0.0.1:0"],
            ["--internal-listen", "127.0.0.1:0"],
        ];
        let stderr = File::create(&log).unwrap().into();
        let program = Program::start_logging(arguments.as_flattened(), 4, stderr).await;
        Self { program, config: file, log, scratch }
    }

    /// As editors do it: a new file takes the old one's place.
    fn replace(&self, config: &str) {
        let new = self.scratch.path().join("new");
        fs::write(&new, config).unwrap();
        fs::rename(&new, &self.config).unwrap();
    }

    /// Waits until the log has a line with all of this; returns how many there are.
    async fn logged(&self, parts: &[&str]) -> usize {
        let mut lines = 0;
        eventually(async || {
            lines = count(&self.log, parts);
            lines > 0
        })
        .await;
        lines
    }

    async fn answers(&self) {
        let answer = self.program.client().modern("tools/list", json!({})).await;
        assert!(answer.result()["tools"].is_array());
    }
}

fn count(log: &Path, parts: &[&str]) -> usize {
    let text = fs::read_to_string(log).unwrap();
    text.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

fn upstream(name: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"https://{name}.invalid/mcp\"\n")
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_wrong_one_is_not() {
    let mut site = Site::start(&upstream("first")).await;
    site.replace(&[upstream("first"), upstream("second")].concat());
    site.logged(&["the configuration was read again", "added=[\"second\"]"]).await;
    site.replace("[[upstream]]\nname = \"third\"\nurl = \"https://u:hunter2@h\"\n");
    let wrong = ["the new configuration is wrong", "has a user or a password"];
    assert_eq!(site.logged(&wrong).await, 1);
    site.answers().await;
    // In place, as a shell's redirection does it; and of all that is new, this is told from the second, not the third.
    fs::write(&site.config, format!("warm_pool = 2\n{}", upstream("second"))).unwrap();
    site.logged(&["the configuration was read again", "added=[]", "removed=[\"first\"]"]).await;
    site.logged(&["needs a restart", "warm_pool"]).await;
    site.answers().await;
    assert_eq!(count(&site.log, &wrong), 1, "it is told once");
    assert_eq!(count(&site.log, &["hunter2"]), 0);
    site.program.terminate();
    assert!(site.program.ended().await.success());
}

#[tokio::test]
async fn sighup_reads_the_configuration_again_and_ends_nothing() {
    let mut site = Site::start(&upstream("first")).await;
    site.program.hang_up();
    site.logged(&["the configuration was read again", "added=[]"]).await;
    site.answers().await;
    fs::remove_file(&site.config).unwrap();
    site.program.hang_up();
    site.logged(&["the new configuration is wrong", "cannot be read"]).await;
    site.answers().await;
    site.program.terminate();
    assert!(site.program.ended().await.success());
}

async fn tools(client: &McpClient) -> Vec<String> {
    let answer = client.modern("tools/list", json!({})).await;
    let tools = answer.result()["tools"].as_array().unwrap().clone();
    tools.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_reload_drops_no_call_and_later_calls_meet_what_it_says() {
    let (server, gate) = (UpstreamServer::modern().await, Gate::new());
    server.offer(&[tool("slow"), tool("hidden")]);
    let held = gate.clone();
    server.on("tools/call", move |_| Answer::result(json!({ "content": [] })).after(&held));
    let config = |prefix: &str| {
        let own = "sample_tools = false\n[tools]\nenvironments = false\n";
        let upstream = format!(
            "[[upstream]]\nname = \"u\"\nurl = \"{}\"\nprefix = \"{prefix}\"\nprivate_networks = [\"127.0.0.1\"]\n",
            server.url()
        );
        format!(
            "{own}{upstream}headers = {{ Authorization = \"file:TOKEN\" }}\ntools.deny = [\"hid*\"]\n"
        )
    };
    let secrets = Scratch::new("secrets");
    let token = secrets.path().join("token");
    let config = |prefix: &str| config(prefix).replace("TOKEN", token.to_str().unwrap());
    fs::write(&token, "Bearer one\n").unwrap();
    let site = Site::start(&config("a_")).await;
    let client = site.program.client();
    assert_eq!(tools(&client).await, ["a_slow"], "an upstream's alone");
    let call = client.tool("a_slow", json!({}));
    let meanwhile = async {
        server.wait_for("tools/call", 1).await;
        fs::write(&token, "Bearer two\n").unwrap();
        site.replace(&config("b_"));
        site.logged(&["the configuration was read again", "changed=[\"u\"]"]).await;
        eventually(async || tools(&client).await == ["b_slow"]).await;
        gate.open();
    };
    let (result, ()) = tokio::join!(call, meanwhile);
    assert!(result["content"].is_array(), "{result}");
    client.tool("b_slow", json!({})).await;
    let calls = server.wait_for("tools/call", 2).await;
    let shown: Vec<_> = calls.iter().map(|it| it.header("authorization")).collect();
    assert_eq!(shown, [Some("Bearer one"), Some("Bearer two")]);
    assert_eq!(count(&site.log, &["Bearer"]), 0);
}
