//! What `baton help` says.

use super::command::{COMMANDS, Refusal, suggestion};
use super::settings::Role;
use super::settings::render::{render_help, render_markdown};

/// `baton --version`.
pub(super) fn version() -> String {
    format!("baton {}\n", env!("CARGO_PKG_VERSION"))
}

/// `baton help SUBJECT`; the subject may be empty.
pub(super) fn about(subject: &str) -> Result<String, Refusal> {
    let settings = |usage: &str, role| format!("{usage}\n\n{}{SOURCES}", render_help(role));
    Ok(match subject {
        "" | "help" => format!("{}{OVERVIEW}", version()),
        "dev" => settings(DEV, Role::Dev),
        "gateway" => settings(GATEWAY, Role::Gateway),
        "worker" => settings(WORKER, Role::Worker),
        "doctor" => settings(DOCTOR, Role::Doctor),
        "key" => format!("{KEY}\n\n{}", render_help(Role::Key)),
        "call" => format!("{CALL}\n\n{}", render_help(Role::Call)),
        "migrate" => format!("{MIGRATE}\n\n{}", render_help(Role::Migrate)),
        "config" => CONFIG.to_owned(),
        "markdown" => render_markdown(),
        unknown => {
            let subjects = [&COMMANDS[..], &["config", "markdown"]].concat();
            let near = suggestion(unknown, &subjects);
            return Err(Refusal::new(format!(
                "there is no help about \"{}\"{near}\nask about one of: {}",
                unknown.escape_debug(),
                subjects.join(", ")
            )));
        }
    })
}

const OVERVIEW: &str = "\
A stateless MCP gateway in front of sandboxes that run Python and shell code.

  baton                   the same as `baton dev`
  baton dev               gateway, worker and directory in one process, to try it and to develop
  baton gateway           one gateway replica
  baton worker            one worker, which runs the sandboxes
  baton doctor            checks all that a deployment needs, and says how to mend it
  baton key KIND          makes a key: signing, worker-root, worker, api
  baton call TOOL k=v …   calls a tool; without a tool it lists them
  baton migrate FILE      makes a configuration of a session pool of Azure Container Apps
  baton help SUBJECT      a command and its flags; `config` for the file; `markdown` for a table of all
";

const SOURCES: &str = "\
Each flag is also a variable (--max-calls is BATON_MAX_CALLS; lists separate by commas) and a key of the file
that --config names (max_calls). The first of flag, variable, file that is set wins whole.
";

const DEV: &str = "\
baton dev [FLAG …]
Gateway, worker and directory in one process, over loopback. Needs Linux and python3.";

const GATEWAY: &str = "\
baton gateway --signing-key-file FILE --worker-root-key-file FILE --config FILE [FLAG …]
One of any number of identical replicas. They share keys and Redis, nothing else.";

const WORKER: &str = "\
baton worker --worker-key-file FILE --gateway URL [FLAG …]
Runs sandboxes, and reports to every gateway that it hears of.";

const DOCTOR: &str = "\
baton doctor [FLAG …]
Checks what the same flags, variables and file would start: the gateway if its keys or Redis are named, the worker
if its key is, else `baton dev`. Exit code 0 if all is well, 1 if not.";

const KEY: &str = "\
baton key signing > signing.key                      signs handles; equal on all gateways
baton key worker-root > root.key                     root of the workers' keys; equal on all gateways
baton key worker --root root.key --id w1 > w1.key    one worker's name and key
baton key api --tenant T --subject S                 an API key, shown once, and its lines for the configuration
Keep key files to one user: chmod 600.";

const CALL: &str = "\
baton call                                  lists the tools and their arguments
baton call TOOL key=text key:=JSON key=@FILE
baton call --new runPythonCodeInRemoteEnvironment pythonCode='print(6 * 7)'
Prints output as it comes and exits with the tool's exit code; 1 if the tool refused. `key=@-` is standard input.";

const MIGRATE: &str = "\
baton migrate pool.json > baton.toml                    for `baton dev --config baton.toml`
baton migrate pool.json --role gateway > gateway.toml   likewise --role worker
az containerapp sessionpool show --name NAME --resource-group GROUP | baton migrate -
Reads a template with a Microsoft.App/sessionPools (Bicep after `az bicep build`), an exported pool, or its properties.
What is the same, what differs and what has no counterpart goes to standard error. No secret is read.";

const CONFIG: &str = "\
The file that --config (or BATON_CONFIG) names is TOML. Its keys are the flags, `-` written as `_`:

  listen = \"0.0.0.0:8080\"
  idle_timeout_seconds = 600
  allowed_host = [\"baton.example.com\"]

Four things are tables:

  [[api_key]]                     # `baton key api` prints one
  hash = \"…\"                      # SHA-256 of the key, hexadecimal
  tenant = \"acme\"
  subject = \"ci\"

  [tools]
  environments = false            # hides the tools for environments

  [tool_rate_per_second]          # likewise method_rate_per_second
  launchShell = 0.5

  [[upstream]]                    # another MCP server behind the gateway; at most 64
  name = \"files\"
  url = \"https://files.example.com/mcp\"             # or urls = [\"…\", \"…\"]: equal endpoints, at most 8
  prefix = \"files_\"                                # before the names of its tools and prompts
  tools = { allow = [\"read*\"], deny = [\"read_all\"] } # likewise prompts, and resources (by URI)
  headers = { Authorization = \"env:FILES_TOKEN\" }  # env:VARIABLE, file:PATH, or the value itself
  era = \"auto\"                  # or modern (2026-07-28), legacy
  priority = 0                  # of equal names the higher serves, then the first
  shared = false                # legacy: it keeps no state, so callers may share a session
  private_networks = [\"10.1.0.0/16\"]               # addresses that are not public, and http, only here
  ca_file = \"ca.pem\"            # trusts these authorities instead of the machine's
  connect_timeout_seconds = 2   # name, connection and TLS
  call_timeout_seconds = 300
  list_timeout_seconds = 5
  session_idle_seconds = 300    # legacy: then its session is closed
  list_fresh_seconds = 60       # where it does not say how long its lists are good
  list_stale_seconds = 600      # how long its last lists are offered while it is away

[[upstream]] tables, and the files that they name, are read again at SIGHUP and when one of the files changes. A wrong
file changes nothing, and the log says why. Everything else needs a restart.
";
