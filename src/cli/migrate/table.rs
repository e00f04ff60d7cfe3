//! Every property of a session pool that is known, and what it is here: API versions 2024-02-02-preview to
//! 2026-03-02-preview, with what the service adds when it is asked for a pool.

use crate::cli::settings::Role;
use Kind::{Differs, NoCounterpart, Same};
use Role::{Gateway, Worker};

/// What a property of a pool is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Baton does the same.
    Same,
    /// It does something near to it.
    Differs,
    /// It has nothing of the kind.
    NoCounterpart,
    /// This version knows no such property, or cannot know its value.
    Unknown,
}

/// How a property is judged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Whatever its value, which is not looked at: it may be secret.
    Any(Kind, &'static str),
    /// By its value, a word or a truth, in lower case.
    Word(&'static [(&'static str, Kind, &'static str)]),
    /// A number that becomes settings.
    Number(Unit, &'static [(Role, &'static str)], Kind, &'static str),
}

/// What a number counts, and what the settings made of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// The same.
    One,
    /// Processors, into thousandths of one.
    Processors,
    /// Bytes as Kubernetes writes them, such as `0.5Gi`, into mebibytes.
    Bytes,
}

/// One property.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its path in lower case; `[]` is the first of a list, `[*]` any of them.
    pub(super) path: &'static str,
    /// What it is.
    pub(super) rule: Rule,
}

/// Whether pools have a property of this name, as they are written without the resource around them.
pub(super) fn is_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let first = |known: &Known| {
        let path = known.path.strip_prefix("properties.")?;
        path.split(['.', '[']).next().map(|it| it == name)
    };
    TABLE.iter().any(|known| first(known) == Some(true))
}

const fn any(path: &'static str, kind: Kind, why: &'static str) -> Known {
    Known { path, rule: Rule::Any(kind, why) }
}

const fn word(path: &'static str, words: &'static [(&'static str, Kind, &'static str)]) -> Known {
    Known { path, rule: Rule::Word(words) }
}

const fn number(
    path: &'static str,
    unit: Unit,
    settings: &'static [(Role, &'static str)],
    (kind, why): (Kind, &'static str),
) -> Known {
    Known { path, rule: Rule::Number(unit, settings, kind, why) }
}

const COOLDOWN: (Kind, &str) =
    (Same, "an environment that nobody calls for so long ends; each call begins the time anew");
const TIMED: (&str, Kind, &str) = ("timed", Same, "environments end when they are idle");
const DEPLOYMENT: &str =
    "deployments are described by other means → infra/azure, infra/kubernetes, infra/compose.yaml";
const TOLD: &str = "the service says it of the pool, nobody sets it";

/// The properties in the order in which they are told. Of two that make one setting the first decides.
#[rustfmt::skip] // one property, one or two lines: a table is read down its columns
pub(super) const TABLE: &[Known] = &[
    word("properties.poolmanagementtype", &[
        ("dynamic", Same, "environments are made when they are asked for"),
        ("manual", Differs, "the pool was filled by hand → nothing to fill here: environments are made when they are asked for"),
    ]),
    word("properties.containertype", &[
        ("pythonlts", Differs, "the tools are the same; Python and its packages are the worker's → install the packages that your code imports into a venv and give each worker --python-packages VENV/lib/python3.X/site-packages"),
        ("shell", Same, "launchShell and runShellCommandInRemoteEnvironment; the commands are those that the worker's system has"),
        ("nodelts", NoCounterpart, "no tool runs JavaScript → install node on the workers and call it by runShellCommandInRemoteEnvironment"),
        ("customcontainer", Differs, "environments run Python and shell commands on the worker's system, no image → build the workers' image from yours, or keep your container and put it behind the gateway as an [[upstream]] if it speaks MCP"),
    ]),
    number("properties.dynamicpoolconfiguration.lifecycleconfiguration.cooldownperiodinseconds", Unit::One,
        &[(Gateway, "idle-timeout-seconds")], COOLDOWN),
    number("properties.dynamicpoolconfiguration.cooldownperiodinseconds", Unit::One,
        &[(Gateway, "idle-timeout-seconds")], COOLDOWN),
    word("properties.dynamicpoolconfiguration.lifecycleconfiguration.lifecycletype", &[TIMED,
        ("oncontainerexit", Differs, "sessions lived until their container ended; environments end when they are idle or too old, and a Python interpreter that ends is started anew with the files kept → idle_timeout_seconds is the longest life, where that is given"),
    ]),
    word("properties.dynamicpoolconfiguration.executiontype", &[TIMED]),
    number("properties.dynamicpoolconfiguration.lifecycleconfiguration.maxaliveperiodinseconds", Unit::One,
        &[(Gateway, "max-life-seconds")], (Same, "no environment, and no handle, lives longer")),
    number("properties.scaleconfiguration.maxconcurrentsessions", Unit::One,
        &[(Gateway, "max-environments"), (Worker, "capacity")],
        (Differs, "the pool counted all its sessions; max_environments counts those of one tenant, capacity those of one worker → share the number among your tenants, and divide it by your workers")),
    number("properties.scaleconfiguration.readysessioninstances", Unit::One, &[(Worker, "warm-pool")],
        (Differs, "each worker keeps so many sandboxes ready → divide it by your workers")),
    word("properties.sessionnetworkconfiguration.status", &[
        ("egressdisabled", Same, "sandboxes have no network"),
        ("egressenabled", NoCounterpart, "sandboxes have no network → fetch what code needs before the call, and put it into the environment's files; or run what needs the network as an [[upstream]]"),
    ]),
    word("properties.mcpserversettings.ismcpserverenabled", &[
        ("true", Same, "the endpoint is /mcp, with the same tools and arguments → agents change the URL"),
        ("false", Differs, "the pool was called by its REST API, which has no counterpart → call the tools of /mcp"),
    ]),
    word("properties.mcpserversettings.ismcpserverapikeydisabled", &[
        ("false", Differs, "the same header x-ms-apikey, other keys → baton key api --tenant T --subject S for each caller, and its [[api_key]] lines into the gateway's file"),
        ("true", Differs, "nobody is let in without a key unless you say so → make keys (baton key api), or add --anonymous where something before the gateway tells callers apart"),
    ]),
    any("properties.mcpserversettings.mcpserverendpoint", Differs, "→ agents call https://YOUR-GATEWAY/mcp"),
    any("properties.poolmanagementendpoint", Differs, "the REST API has no counterpart → agents call https://YOUR-GATEWAY/mcp"),
    any("properties.customcontainertemplate.containers[].image", Differs, "no image runs as an environment → what it holds has to be on the workers, or it becomes an [[upstream]]"),
    number("properties.customcontainertemplate.containers[].resources.cpu", Unit::Processors, &[(Worker, "cpu-millis")],
        (Same, "of one sandbox, where the worker may write cgroups (`baton doctor` says whether)")),
    number("properties.customcontainertemplate.containers[].resources.memory", Unit::Bytes, &[(Worker, "memory-mebibytes")],
        (Same, "of one sandbox")),
    number("properties.customcontainertemplate.containers[].resources.ephemeralstorage", Unit::Bytes, &[(Worker, "workspace-mebibytes")],
        (Same, "the size of /workspace")),
    any("properties.customcontainertemplate.containers[].name", NoCounterpart, "a sandbox has no name"),
    any("properties.customcontainertemplate.containers[].command", NoCounterpart, "a sandbox has no entry point → what it started, a tool call starts"),
    any("properties.customcontainertemplate.containers[].args", NoCounterpart, "a sandbox has no entry point → what it started, a tool call starts"),
    any("properties.customcontainertemplate.containers[].env", NoCounterpart, "no variable of the deployment reaches a sandbox (the values were not read) → give code what it needs as an argument or a file"),
    any("properties.customcontainertemplate.containers[].probes", NoCounterpart, "sandboxes are watched by their worker"),
    any("properties.customcontainertemplate.containers[*]", NoCounterpart, "a sandbox is one: containers beside the first have no place"),
    any("properties.customcontainertemplate.ingress", NoCounterpart, "nothing listens in a sandbox → call tools, or make the server an [[upstream]]"),
    any("properties.customcontainertemplate.registrycredentials", NoCounterpart, "no image is pulled for an environment (the values were not read)"),
    any("properties.secrets", NoCounterpart, "no secret reaches a sandbox (the values were not read) → keep them where they are, and out of code"),
    any("properties.managedidentitysettings", NoCounterpart, "no identity reaches a sandbox → calls that need one belong before or behind the gateway"),
    any("properties.templateupdatetime", NoCounterpart, TOLD),
    any("properties.provisioningstate", NoCounterpart, TOLD),
    any("properties.nodecount", NoCounterpart, TOLD),
    any("properties.environmentid", NoCounterpart, DEPLOYMENT),
    any("identity", NoCounterpart, DEPLOYMENT),
    any("location", NoCounterpart, DEPLOYMENT),
    any("tags", NoCounterpart, DEPLOYMENT),
    any("sku", NoCounterpart, DEPLOYMENT),
    any("kind", NoCounterpart, DEPLOYMENT),
    any("scope", NoCounterpart, DEPLOYMENT),
    any("dependson", NoCounterpart, DEPLOYMENT),
    any("condition", NoCounterpart, DEPLOYMENT),
    any("copy", NoCounterpart, "several pools of one description → one deployment serves them as tenants: a [[api_key]] each"),
    any("comments", NoCounterpart, "it is a remark"),
    any("metadata", NoCounterpart, "it is a remark"),
    any("resourcegroup", NoCounterpart, TOLD),
    any("systemdata", NoCounterpart, TOLD),
    any("etag", NoCounterpart, TOLD),
    any("id", NoCounterpart, TOLD),
    any("name", NoCounterpart, "a gateway serves any number of tenants → `baton key api --tenant` names one"),
    any("apiversion", NoCounterpart, "of the resource's own description"),
    any("type", NoCounterpart, "of the resource's own description"),
];
