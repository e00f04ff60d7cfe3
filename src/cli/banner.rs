//! What `baton dev` says when it listens: three things to paste.
//!
//! It goes to stderr: stdout carries nothing but the `listening role=… url=…` lines, so that a script may read it
//! line by line to its end. A person at a terminal sees both.

/// Whether callers need a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody who reaches the listener may call.
    Open,
    /// Callers show an API key.
    ApiKey,
}

/// What there is to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Environments that run code.
    Environments,
    /// What other servers offer, or the samples.
    Others,
}

/// The text; `url` is the endpoint, which ends in `/mcp`, and `program` how this program was called.
pub fn banner(url: &str, access: Access, offer: Offer, program: &str) -> String {
    let key = match access {
        Access::Open => "",
        Access::ApiKey => r#" -H "x-ms-apikey: $BATON_API_KEY""#,
    };
    let curl = format!("curl -sS {url} -H 'Content-Type: application/json'{key}");
    let client = match access {
        Access::Open => {
            format!(r#"{{"servers": {{"baton": {{"type": "http", "url": "{url}"}}}}}}"#)
        }
        Access::ApiKey => format!(
            r#"{{"inputs": [{{"type": "promptString", "id": "baton-key", "description": "Baton API key", "password": true}}],
   "servers": {{"baton": {{"type": "http", "url": "{url}", "headers": {{"x-ms-apikey": "${{input:baton-key}}"}}}}}}}}"#
        ),
    };
    let guard = match access {
        Access::Open => format!(
            "Nobody needs a key. To ask for one, start it so; callers send it as x-ms-apikey:\n\n  \
             export BATON_API_KEY=$(openssl rand -hex 32); {program}"
        ),
        Access::ApiKey => format!(
            "Callers need an API key. For keys with names of their own, by hash in a file, see:\n\n  \
             {program} key api --tenant acme --subject me; {program} help config"
        ),
    };
    let first = first(&curl, offer);
    format!(
        r"
{first}

Connect an MCP client, for example with .vscode/mcp.json:

  {client}

{guard}

"
    )
}

fn first(curl: &str, offer: Offer) -> String {
    match offer {
        Offer::Environments => format!(
            r#"Run something:

  {curl} -d '{{"jsonrpc":"2.0","id":"1","method":"initialize"}}'

  id=$({curl} -d '{{"jsonrpc":"2.0","id":"2","method":"tools/call","params":{{"name":"launchShell","arguments":{{}}}}}}' | jq -r .result.structuredContent.environmentId)

  {curl} -d '{{"jsonrpc":"2.0","id":"3","method":"tools/call","params":{{"name":"runPythonCodeInRemoteEnvironment","arguments":{{"environmentId":"'$id'","pythonCode":"print(6 * 7)"}}}}}}'

  {curl} -d '{{"jsonrpc":"2.0","id":"4","method":"tools/call","params":{{"name":"runShellCommandInRemoteEnvironment","arguments":{{"environmentId":"'$id'","shellCommand":"uname -a"}}}}}}'"#
        ),
        Offer::Others => format!(
            r#"See what there is:

  {curl} -d '{{"jsonrpc":"2.0","id":"1","method":"initialize"}}'

  {curl} -d '{{"jsonrpc":"2.0","id":"2","method":"tools/list"}}'"#
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:8080/mcp";

    #[test]
    fn what_is_to_be_pasted_is_whole() {
        let ways = [
            (Access::Open, Offer::Environments, 1),
            (Access::ApiKey, Offer::Environments, 4),
            (Access::ApiKey, Offer::Others, 2),
        ];
        for (access, offer, keys) in ways {
            let text = banner(URL, access, offer, "baton");
            for body in text.split("-d '").skip(1) {
                // The shell puts an id between two quoted parts.
                let body = body.replace("'$id'", "bte_x");
                let json = body.split('\'').next().unwrap();
                assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
            }
            let client = text.split("mcp.json:").nth(1).unwrap();
            let mut values = serde_json::Deserializer::from_str(client).into_iter();
            let config: serde_json::Value = values.next().unwrap().unwrap();
            assert_eq!(config["servers"]["baton"]["url"], URL);
            assert_eq!(text.matches("x-ms-apikey:").count(), keys);
            assert!(text.lines().count() < 24, "it fits a terminal\n{text}");
        }
    }

    #[test]
    fn a_secret_is_named_and_not_shown() {
        assert!(
            banner(URL, Access::ApiKey, Offer::Others, "baton")
                .contains("\"x-ms-apikey: $BATON_API_KEY\"")
        );
        assert!(
            banner(URL, Access::Open, Offer::Others, "baton").contains("export BATON_API_KEY=")
        );
    }
}
