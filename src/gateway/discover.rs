//! `server/discover`, `initialize` and `tools/list`: written once, answered from bytes.
//!
//! Discover and initialize are never limited or shed: some clients that are refused one are legacy for good.

use std::sync::Arc;
use std::time::Duration;

use super::lists::{FRESH_FOR, Own};
use super::pages::Pages;
use super::tools::Tools;
use super::upstream::Known;
use crate::mcp::{
    CacheHint, Discover, Era, Identity, Initialize, JsonBuf, LegacyVersion, ListResult, Listed,
    Rendered, Reply, ServerCapabilities, TASKS_EXTENSION,
};

/// The same where others decide what changes.
const FRESH_WITH_UPSTREAMS: Duration = Duration::from_mins(1);

const INSTRUCTIONS: &str = "Runs Python and shell code in isolated Linux environments. Call launchShell once, keep the \
    environmentId it returns, and pass it verbatim to runPythonCodeInRemoteEnvironment and \
    runShellCommandInRemoteEnvironment; variables and files stay from call to call. Call closeEnvironment when done.";

/// Bytes of instructions at most; what upstreams add beyond is left out.
const MAX_INSTRUCTIONS: usize = 16 * 1024;

/// What Baton has of its own.
#[derive(Clone, Debug)]
pub(super) struct OwnOffer {
    /// Its tools, as the clients of each era read them.
    tools: Vec<(Era, Own)>,
    /// Whether calls may become tasks.
    tasks: bool,
    /// Whether environments can be read as resources.
    pub resources: bool,
}

impl OwnOffer {
    /// What these tools are to clients.
    pub(super) fn of(tools: &Tools) -> Self {
        Self {
            tools: eras().map(|era| (era, Own::always(tools.definitions(era)))).collect(),
            tasks: tools.have_tasks(),
            resources: tools.choice.environments,
        }
    }

    /// The tools, to clients of an era.
    pub(super) fn tools(&self, era: Era) -> &Own {
        let known = self.tools.iter().find(|(it, _)| *it == era);
        &known.expect("every era has its own").1
    }
}

/// The answers that are the same for everyone, rendered.
#[derive(Debug)]
pub(super) struct Standing {
    version: u64,
    capabilities: ServerCapabilities,
    discover: Rendered,
    initialize: Vec<(LegacyVersion, Rendered)>,
    tools: Vec<(Era, Rendered)>,
    pages: Pages,
}

impl Standing {
    /// Renders them for this server, its own tools, and what upstreams have said of themselves; `version` numbers
    /// that.
    pub(super) fn new(
        identity: &Identity,
        own: &OwnOffer,
        upstreams: &[Arc<Known>],
        version: u64,
    ) -> Self {
        let capabilities = capabilities(own, upstreams);
        let instructions = instructions(own, upstreams);
        let fresh = if upstreams.is_empty() { FRESH_FOR } else { FRESH_WITH_UPSTREAMS };
        let mut discover = Discover::new(capabilities.clone(), CacheHint::public(fresh));
        if let Some(instructions) = &instructions {
            discover = discover.with_instructions(instructions);
        }
        let initialize = |version: LegacyVersion| {
            let mut result = Initialize::new(version, capabilities.clone());
            if let Some(instructions) = &instructions {
                result = result.with_instructions(instructions);
            }
            (version, Reply::new(Era::Legacy(version), identity, &result).render())
        };
        let list = |era: Era| {
            let tools = own.tools(era).items.iter().map(|it| it.definition.clone()).collect();
            let result = ListResult::new(Listed::Tools, tools, CacheHint::public(FRESH_FOR));
            (era, Reply::new(era, identity, &result).render())
        };
        Self {
            version,
            capabilities: capabilities.clone(),
            discover: Reply::new(Era::Modern, identity, &discover).render(),
            initialize: LegacyVersion::ALL.map(initialize).into(),
            tools: eras().map(list).collect(),
            pages: Pages::default(),
        }
    }

    /// What there is.
    pub(super) fn capabilities(&self) -> &ServerCapabilities {
        &self.capabilities
    }

    /// Which state of the upstreams it tells of.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The result of `server/discover`.
    pub(super) fn discover(&self) -> &Rendered {
        &self.discover
    }

    /// The result of `initialize` for the version that was asked for, if one was.
    pub(super) fn initialize(&self, asked: Option<&str>) -> &Rendered {
        let version = LegacyVersion::negotiate(asked);
        let known = self.initialize.iter().find(|(it, _)| *it == version);
        &known.expect("every legacy version is rendered").1
    }

    /// The lists with upstreams' parts in them, as they were rendered last.
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The result of `tools/list`.
    pub(super) fn tools(&self, era: Era) -> &Rendered {
        let known = self.tools.iter().find(|(it, _)| *it == era);
        &known.expect("every era is rendered").1
    }
}

fn eras() -> impl Iterator<Item = Era> {
    [Era::Modern].into_iter().chain(LegacyVersion::ALL.map(Era::Legacy))
}

fn capabilities(own: &OwnOffer, upstreams: &[Arc<Known>]) -> ServerCapabilities {
    let mut all = ServerCapabilities::default();
    let has_tools = !own.tools(Era::Modern).items.is_empty();
    if has_tools || upstreams.is_empty() {
        all = all.with_tools_list_changed();
    }
    if own.tasks {
        // SEP-2663, "Capability Negotiation": there are no settings.
        let none = JsonBuf::parse("{}").expect("an empty object is JSON");
        all = all.with_extension(TASKS_EXTENSION, none);
    }
    if own.resources {
        all = all.with_resources_list_changed().with_resource_subscriptions();
    }
    upstreams.iter().fold(all, |all, known| all.merge(known.capabilities.clone()))
}

/// Baton's own guidance, then that of each upstream.
fn instructions(own: &OwnOffer, upstreams: &[Arc<Known>]) -> Option<String> {
    let own = (!own.tools(Era::Modern).items.is_empty()).then(|| INSTRUCTIONS.to_owned());
    let theirs = upstreams.iter().filter_map(|it| it.instructions.clone());
    let mut all = String::new();
    for text in own.into_iter().chain(theirs) {
        if all.len() + text.len() > MAX_INSTRUCTIONS {
            break;
        }
        if !all.is_empty() {
            all.push_str("\n\n");
        }
        all.push_str(&text);
    }
    (!all.is_empty()).then_some(all)
}
