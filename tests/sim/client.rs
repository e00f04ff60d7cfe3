//! Clients: each creates, calls with and without keys, closes, and tries what is not its own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton::domain::ids::EnvironmentId;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::faults::HEALED;
use crate::history::History;
use crate::mcp::{Mcp, Reply};
use crate::shelf::{Handle, Keyed, Shelf};
use crate::story::Said;

const LAUNCH: &str = "launchShell";
const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";
/// How often one call with a key is made, at most.
const ATTEMPTS: usize = 60;
/// How often one launch with a key is asked for, at most.
const LAUNCHES: usize = 8;
/// When no launch is asked for any more. One whose first gateway broke off is made again only when every worker is known
/// not to have it, which may take a young replica minutes.
const LAST_LAUNCH: Duration = Duration::from_secs(40);

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

impl Client {
    /// Does this and that, a while apart, until the faults are over; then asks again for what it launched with a key.
    pub async fn work(&self) {
        let mut launches = Vec::new();
        while turmoil::sim_elapsed().is_some_and(|elapsed| elapsed < HEALED) {
            sleep(self.dice.millis(50, 1400)).await;
            let all = self.shelf.all();
            let (own, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|it| it.owner == self.name);
            let what = self.dice.below(100);
            match (own.as_slice(), others.as_slice()) {
                ([], _) => launches.extend(self.create().await),
                (own, _) if what < 45 => self.call_with_key(self.dice.pick(own)).await,
                (own, _) if what < 66 => self.call_once(self.dice.pick(own)).await,
                (own, _) if what < 72 => self.repeat_elsewhere(self.dice.pick(own)).await,
                (own, _) if what < 78 => self.close(self.dice.pick(own)).await,
                (_, others @ [_, ..]) if what < 83 => self.trespass(self.dice.pick(others)).await,
                _ if what < 88 => self.repeat_of_others().await,
                _ => launches.extend(self.create().await),
            }
        }
        for launch in launches {
            self.launch(launch, 0).await;
        }
    }

    /// Creates an environment, every other time with a key; returns the launch that the key names.
    async fn create(&self) -> Option<usize> {
        if self.dice.percent(50) {
            let reply = self.ask(LAUNCH, json!({}), None, Duration::from_secs(8)).await;
            self.take(&reply);
            return None;
        }
        let launch = self.history.launches(self.name);
        self.launch(launch, 1 + self.dice.below(2)).await;
        Some(launch)
    }

    /// Asks for a launch until it is told what became of it, at times twice at once, and then so often again.
    async fn launch(&self, launch: usize, mut repeats: usize) {
        // Another principal's first key is the same, and names another environment.
        let key = format!("launch-{launch}");
        let ask = async || {
            let patience = self.dice.millis(300, 9000);
            let reply = self.ask(LAUNCH, json!({}), Some(&key), patience).await;
            if let Some(environment) = self.take(&reply) {
                self.history.launched(self.name, launch, environment);
            }
            if reply.is_gone() && self.history.launch_should_live(self.name, launch) {
                self.history
                    .broken(format_args!("launch {launch} of {} is told to be gone", self.name));
            }
            reply.of_execution().is_final()
        };
        for _ in 0..LAUNCHES {
            if turmoil::sim_elapsed().is_none_or(|elapsed| elapsed > LAST_LAUNCH) {
                return;
            }
            let told = if self.dice.percent(25) {
                let (one, other) = tokio::join!(ask(), ask());
                one || other
            } else {
                ask().await
            };
            if told && repeats == 0 {
                return;
            }
            repeats -= usize::from(told);
            sleep(self.dice.millis(50, 2500)).await;
        }
    }

    /// Takes in what a launch came to.
    fn take(&self, reply: &Reply) -> Option<EnvironmentId> {
        let Reply::Content(content) = reply else {
            self.history.note(format_args!("{} not created: {reply:?}", self.name));
            return None;
        };
        let token = content["environmentId"].as_str().expect("a handle").to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&token[4..]).expect("base64");
        let environment =
            EnvironmentId::from_bytes(bytes[4..20].try_into().expect("an id's length"));
        if self.history.created(environment, self.name) {
            self.shelf.put(Handle { token, environment, owner: self.name });
        }
        Some(environment)
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
                if let Said::Done(_) = said {
                    let (environment, owner) = (handle.environment, self.name);
                    self.shelf.is_done(Keyed {
                        call,
                        key: key.clone(),
                        tool,
                        arguments: arguments.clone(),
                        environment,
                        owner,
                    });
                }
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

    /// Asks for what somebody else's call came to, by its key and its arguments.
    async fn repeat_of_others(&self) {
        let done = self.shelf.done();
        let others: Vec<_> = done.iter().filter(|it| it.owner != self.name).collect();
        if others.is_empty() {
            return;
        }
        let Keyed { call, key, tool, arguments, .. } = self.dice.pick(&others);
        let reply = self.ask(tool, arguments.clone(), Some(key), Duration::from_secs(5)).await;
        let name = self.name;
        self.history.note(format_args!("{name} repeats c{call}: {:?}", reply.of_execution()));
        if let Reply::Content(_) = reply {
            self.history.broken(format_args!("c{call} is told to {name}, whose it is not"));
        }
        if reply.is_gone() {
            self.history.broken(format_args!("{name} learned of an end by repeating c{call}"));
        }
    }

    /// Makes a call that is done, anybody's, in an environment that it was not for, key and code and all: what it comes to
    /// there is its own.
    async fn repeat_elsewhere(&self, handle: &Handle) {
        let done = self.shelf.done();
        let elsewhere: Vec<_> =
            done.iter().filter(|it| it.environment != handle.environment).collect();
        if elsewhere.is_empty() {
            return self.call_with_key(handle).await;
        }
        let Keyed { call, key, tool, mut arguments, .. } = (*self.dice.pick(&elsewhere)).clone();
        arguments["environmentId"] = handle.token.clone().into();
        let twin = self.history.calls_elsewhere(call, handle.environment);
        self.history.has_key(twin);
        let id = handle.environment;
        self.history.note(format_args!("{} repeats c{call} as c{twin} in {id}", self.name));
        let patience = self.dice.millis(3000, 9000);
        let reply = self.ask(tool, arguments, Some(&key), patience).await;
        self.judge(handle, twin, &reply);
    }

    async fn close(&self, handle: &Handle) {
        self.shelf.take_away(handle.environment);
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
