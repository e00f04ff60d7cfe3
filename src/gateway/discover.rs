//! `server/discover`, `initialize` and `tools/list`: written once, answered from bytes.
//!
//! Discover and initialize are never limited or shed: some clients that are refused one are legacy for good.

use std::time::Duration;

use serde_json::value::RawValue;

use super::tools::ToolChoice;
use crate::mcp::{
    CacheHint, Discover, Era, Identity, Initialize, LegacyVersion, ListResult, Listed, Rendered,
    Reply, ServerCapabilities,
};

/// How long clients may keep what does not change while a replica runs.
pub(super) const FRESH_FOR: Duration = Duration::from_mins(5);

const INSTRUCTIONS: &str = "Runs Python and shell code in isolated Linux environments. Call launchShell once, keep the \
    environmentId it returns, and pass it verbatim to runPythonCodeInRemoteEnvironment and \
    runShellCommandInRemoteEnvironment; variables and files stay from call to call. Call closeEnvironment when done.";

/// The answers that are the same for everyone, rendered.
#[derive(Debug)]
pub(super) struct Standing {
    capabilities: ServerCapabilities,
    discover: Rendered,
    initialize: Vec<(LegacyVersion, Rendered)>,
    tools: Vec<(Era, Rendered)>,
}

impl Standing {
    /// Renders them for this server and these tools.
    pub(super) fn new(identity: &Identity, tools: &[Box<RawValue>], choice: ToolChoice) -> Self {
        let mut capabilities = ServerCapabilities::default().with_tools_list_changed();
        if choice.environments {
            // Each environment is a resource.
            capabilities = capabilities.with_resources_list_changed().with_resource_subscriptions();
        }
        let cache = CacheHint::public(FRESH_FOR);
        let discover = Discover::new(capabilities.clone(), cache).with_instructions(INSTRUCTIONS);
        let initialize = |version: LegacyVersion| {
            let result = Initialize::new(version, capabilities.clone());
            let result = result.with_instructions(INSTRUCTIONS);
            (version, Reply::new(Era::Legacy(version), identity, &result).render())
        };
        let list = |era: Era| {
            let result = ListResult::new(Listed::Tools, tools.to_vec(), cache);
            (era, Reply::new(era, identity, &result).render())
        };
        Self {
            discover: Reply::new(Era::Modern, identity, &discover).render(),
            initialize: LegacyVersion::ALL.map(initialize).into(),
            tools: [Era::Modern]
                .into_iter()
                .chain(LegacyVersion::ALL.map(Era::Legacy))
                .map(list)
                .collect(),
            capabilities,
        }
    }

    /// What this server can do.
    pub(super) fn capabilities(&self) -> &ServerCapabilities {
        &self.capabilities
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

    /// The result of `tools/list`.
    pub(super) fn tools(&self, era: Era) -> &Rendered {
        let known = self.tools.iter().find(|(it, _)| *it == era);
        &known.expect("every era is rendered").1
    }
}
