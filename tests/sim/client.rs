//! Clients: each creates, calls with and without keys, closes, and tries what is not its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton::domain::ids::EnvironmentId;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::faults::HEALED;
use crate::history::{History, Said};
use crate::mcp::{Mcp, Reply};

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";
/// How often one call with a key is made, at most.
const ATTEMPTS: usize = 60;

/// A handle, and whose it is.
#[derive(Clone, Debug)]
pub struct Handle {
    pub token: String,
    pub environment: EnvironmentId,
    pub owner: &'static str,
}

/// Every handle that was given out and that nobody asked to close. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Vec<Handle>>>);

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    pub mcp: Mcp,
    /// Its API key, which names its principal.
    pub name: &'static str,
    pub gateways: Arc<[String]>,
    pub shelf: Shelf,
    pub history: History,
    pub dice: Dice,
}

impl Shelf {
    fn handles(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are there.
    pub fn all(&self) -> Vec<Handle> {
        self.handles().clone()
    }
}

impl Client {
    /// Does this and that, a while apart, until the faults are over.
    pub async fn work(&self) {
        while turmoil::sim_elapsed().is_some_and(|elapsed| elapsed < HEALED) {
            sleep(self.dice.millis(50, 1400)).await;
            let all = self.shelf.all();
            let (own, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|it| it.owner == self.name);
            let what = self.dice.below(100);
            match (own.as_slice(), others.as_slice()) {
                ([], _) => self.create().await,
                (own, _) if what < 50 => self.call_with_key(self.dice.pick(own)).await,
                (own, _) if what < 75 => self.call_once(self.dice.pick(own)).await,
                (own, _) if what < 82 => self.close(self.dice.pick(own)).await,
                (_, others @ [_, ..]) if what < 90 => self.trespass(self.dice.pick(others)).await,
                _ => self.create().await,
            }
        }
    }

    async fn create(&self) {
        let reply = self.ask("launchShell", json!({}), None, Duration::from_secs(8)).await;
        let Reply::Content(content) = reply else {
            self.history.note(format_args!("{} not created: {reply:?}", self.name));
            return;
        };
        let token = content["environmentId"].as_str().expect("a handle").to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&token[4..]).expect("base64");
        let id = EnvironmentId::from_bytes(bytes[4..20].try_into().expect("an id's length"));
        self.history.created(id);
        self.shelf.handles().push(Handle { token, environment: id, owner: self.name });
    }

    /// Calls until there is an outcome, at times twice at once. Now and then it asks again for one that it has, or makes
    /// another call under the same key.
    async fn call_with_key(&self, handle: &Handle) {
        let (call, tool, arguments) = self.order(handle, true);
        self.history.has_key(call);
        let key = format!("key-{call}");
        let ask = async || {
            let patience = self.dice.millis(300, 9000);
            let reply = self.ask(tool, arguments.clone(), Some(&key), patience).await;
            self.judge(handle, call, &reply);
            reply.of_execution()
        };
        let mut repeats = self.dice.below(3);
        for _ in 0..ATTEMPTS {
            let said =
                if self.dice.percent(25) { tokio::join!(ask(), ask()).0 } else { ask().await };
            if said.is_final() && repeats == 0 {
                if said.executed() && self.dice.percent(20) {
                    self.reuse_key(handle, &key).await;
                }
                return;
            }
            if said.is_final() {
                repeats -= 1;
            }
            sleep(self.dice.millis(50, 900)).await;
        }
        self.history.broken(format_args!("c{call} has no outcome after {ATTEMPTS} attempts"));
    }

    /// Another call under a key that has an outcome.
    async fn reuse_key(&self, handle: &Handle, key: &str) {
        let (call, tool, arguments) = self.order(handle, true);
        let reply = self.ask(tool, arguments, Some(key), Duration::from_secs(5)).await;
        self.judge(handle, call, &reply);
        if let Reply::Content(_) = reply {
            self.history.broken(format_args!("c{call} was done under the key of another call"));
        }
    }

    /// Calls without a key.
    pub async fn call_once(&self, handle: &Handle) {
        let (call, tool, arguments) = self.order(handle, true);
        let reply = self.ask(tool, arguments, None, self.dice.millis(300, 9000)).await;
        self.judge(handle, call, &reply);
    }

    /// Calls in somebody else's environment.
    async fn trespass(&self, handle: &Handle) {
        let (call, tool, arguments) = self.order(handle, false);
        let reply = self.ask(tool, arguments, None, Duration::from_secs(5)).await;
        self.history.said(call, reply.of_execution());
        if let Reply::Content(_) = reply {
            self.history.broken(format_args!("c{call} of {} got in", self.name));
        }
        if reply.is_gone() {
            self.history.broken(format_args!("c{call} of {} learned of an end", self.name));
        }
    }

    async fn close(&self, handle: &Handle) {
        self.shelf.handles().retain(|it| it.environment != handle.environment);
        self.history.close_asked(handle.environment);
        for _ in 0..5 {
            let arguments = json!({"environmentId": handle.token});
            let patience = Duration::from_secs(16);
            match self.ask("closeEnvironment", arguments, None, patience).await {
                Reply::Content(_) => return self.history.closed(handle.environment),
                Reply::Error(..) | Reply::Nothing => sleep(self.dice.millis(100, 900)).await,
            }
        }
    }

    /// A call in an environment that must be there, until it has run. Returns what it came to.
    pub async fn call_for_sure(&self, handle: &Handle, attempts: usize) -> Option<String> {
        for _ in 0..attempts {
            let (call, tool, arguments) = self.order(handle, true);
            let reply = self.ask(tool, arguments, None, Duration::from_secs(20)).await;
            self.judge(handle, call, &reply);
            if let Said::Done(result) = reply.of_execution() {
                return Some(result);
            }
            sleep(Duration::from_millis(500)).await;
        }
        None
    }

    /// Takes in what was said of a call in an environment of one's own.
    fn judge(&self, handle: &Handle, call: u64, reply: &Reply) {
        self.history.said(call, reply.of_execution());
        if reply.is_gone() && self.history.should_live(handle.environment) {
            let id = handle.environment;
            self.history.broken(format_args!("c{call} was told that {id} is gone"));
        }
    }

    fn order(&self, handle: &Handle, is_owner: bool) -> (u64, &'static str, Value) {
        let call = self.history.calls(handle.environment, is_owner);
        let time = if self.dice.percent(25) { self.dice.below(4000) } else { self.dice.below(200) };
        let code = format!("c{call} {time}");
        let id = &handle.token;
        self.history.note(format_args!("{} calls c{call} in {}", self.name, handle.environment));
        if self.dice.percent(60) {
            (call, PYTHON, json!({"environmentId": id, "pythonCode": code}))
        } else {
            (call, SHELL, json!({"environmentId": id, "shellCommand": code}))
        }
    }

    async fn ask(
        &self,
        tool: &str,
        arguments: Value,
        key: Option<&str>,
        patience: Duration,
    ) -> Reply {
        let gateway = self.dice.pick(&self.gateways);
        self.mcp.call(gateway, tool, arguments, key, patience).await
    }
}
