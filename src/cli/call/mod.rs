//! `baton call`: a tool, for people at a terminal.
//!
//! In reading order: `arguments` reads the words, `endpoint` speaks the protocol (`error` is what can go
//! wrong), `output` shows what comes, `list` the tools.

pub(crate) mod arguments;
pub(crate) mod endpoint;
mod error;
mod list;
mod output;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::console::Console;
use super::settings::CallSettings;
use endpoint::Endpoint;
pub(crate) use error::CallError;
use output::Shown;

/// A call that is to be made.
#[derive(Debug)]
pub struct Call {
    pub(super) settings: CallSettings,
    pub(super) target: Target,
}

/// What is called.
#[derive(Debug)]
pub(super) enum Target {
    /// No tool: they are listed.
    List,
    /// One tool.
    Tool { name: String, arguments: Map<String, Value> },
}

/// The exit code after an interrupt, as shells have it.
const INTERRUPTED: u8 = 130;

impl Call {
    /// Makes the call and shows what comes of it; gives the exit code.
    pub async fn run(self, console: &mut (dyn Console + Send)) -> u8 {
        let Self { settings, target } = self;
        let outcome = async {
            let endpoint = Endpoint::new(&settings.url, settings.api_key.clone())?;
            let endpoint = endpoint.with_idempotency_key(settings.idempotency_key);
            match target {
                Target::List => list_tools(&endpoint, settings.json, console).await,
                Target::Tool { name, arguments } if settings.new => {
                    in_a_new_environment(&endpoint, &name, arguments, settings.json, console).await
                }
                Target::Tool { name, arguments } => {
                    until_interrupted(call_tool(
                        &endpoint,
                        &name,
                        &arguments.into(),
                        settings.json,
                        console,
                    ))
                    .await
                }
            }
        };
        let outcome: Result<u8, CallError> = outcome.await;
        outcome.unwrap_or_else(|error| {
            console.err(&format!("baton call: {error}\n"));
            1
        })
    }
}

async fn list_tools(
    endpoint: &Endpoint,
    json: bool,
    console: &mut (dyn Console + Send),
) -> Result<u8, CallError> {
    let tools = endpoint.tools().await?;
    let text = if json { format!("{}\n", Value::from(tools)) } else { list::render(&tools) };
    console.out(&text);
    Ok(0)
}

/// Launches an environment, calls, and closes it whatever came of the call.
async fn in_a_new_environment(
    endpoint: &Endpoint,
    tool: &str,
    mut arguments: Map<String, Value>,
    json: bool,
    console: &mut (dyn Console + Send),
) -> Result<u8, CallError> {
    let launched = endpoint.call("launchShell", &json!({}), &mut |_| ()).await?;
    let launched: Value = serde_json::from_str(launched.get()).unwrap_or_default();
    let id = &launched["structuredContent"]["environmentId"];
    if !id.is_string() {
        return Ok(Shown::default().finish(&launched, console).max(1));
    }
    arguments.insert("environmentId".into(), id.clone());
    let arguments = Value::from(arguments);
    let outcome = until_interrupted(call_tool(endpoint, tool, &arguments, json, console)).await;
    let closed =
        endpoint.call("closeEnvironment", &json!({ "environmentId": id }), &mut |_| ()).await;
    if let Err(error) = closed {
        console
            .err(&format!("[the environment was not closed, and ends when it is idle: {error}]\n"));
    }
    outcome
}

async fn call_tool(
    endpoint: &Endpoint,
    tool: &str,
    arguments: &Value,
    json: bool,
    console: &mut (dyn Console + Send),
) -> Result<u8, CallError> {
    if json {
        let result = endpoint.call(tool, arguments, &mut |_| ()).await?;
        console.out(&format!("{}\n", result.get()));
        let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
        return Ok(output::exit_code(&result));
    }
    let mut shown = Shown::default();
    let progress = &mut |progress| shown.progress(&progress, console);
    let result = endpoint.call(tool, arguments, progress).await?;
    let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
    Ok(shown.finish(&result, console))
}

/// An interrupt drops the request, which cancels the call.
async fn until_interrupted(
    call: impl Future<Output = Result<u8, CallError>>,
) -> Result<u8, CallError> {
    tokio::select! {
        outcome = call => outcome,
        _ = tokio::signal::ctrl_c() => Ok(INTERRUPTED),
    }
}
