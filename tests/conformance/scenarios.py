"""Which scenarios of the official suite say something about Baton's own tools, and why the others do not yet.

A scenario of the suite that stands in neither table fails the run, so a new one is noticed; so does an excused check
that passes. Excuses go when upstream servers, which have prompts, resources and the suite's fixtures, come behind us.
"""

FIXTURE_TOOL = "needs a tool of the suite's fixture server"
NO_PROMPTS = "Baton itself has no prompts"
NO_RESOURCES = "needs the resources of the suite's fixture server"
NONE_LISTED = "without an API key nobody owns an environment, so no resource is listed to be read"

# scenario -> {id of a check that cannot pass yet: reason}
MODERN = {
    "server-stateless": {
        "sep-2575-server-rejects-undeclared-capability": FIXTURE_TOOL,
        "sep-2575-missing-capability-http-400": FIXTURE_TOOL,
        "sep-2575-http-server-no-independent-requests-on-stream": FIXTURE_TOOL,
        "sep-2575-server-no-log-without-loglevel": FIXTURE_TOOL,
        "sep-2575-server-sends-prompts-list-changed-on-subscription": NO_PROMPTS,
    },
    "http-header-validation": {},
    "caching": {
        "sep-2549-prompts-list-caching-hints": NO_PROMPTS,
        "sep-2549-resources-read-caching-hints": NONE_LISTED,
    },
    "tools-list": {},
    "sep-2164-resource-not-found": {},
    "dns-rebinding-protection": {},
    "server-sse-multiple-streams": {},
}

LEGACY = {
    "server-initialize": {},
    "server-session-lifecycle": {},
    "ping": {},
    "tools-list": {},
    "dns-rebinding-protection": {},
    "server-sse-multiple-streams": {},
}

RUNS = {"2026-07-28": MODERN, "2025-11-25": LEGACY, "2025-06-18": LEGACY, "2025-03-26": LEGACY}

# The first prefix that fits names the reason.
NOT_YET = {
    "tools-call-": FIXTURE_TOOL,
    "json-schema-2020-12": FIXTURE_TOOL,
    "http-custom-header-server-validation": "needs a tool with x-mcp-header; none of Baton's own has one",
    "server-sse-polling": FIXTURE_TOOL,
    "elicitation-": "needs a fixture tool and, in the legacy eras, a session to ask the client in",
    "input-required-result-": FIXTURE_TOOL,
    "tasks-": "tasks are a later issue",
    "resources-": NO_RESOURCES,
    "sep-2640-": NO_RESOURCES,
    "prompts-": NO_PROMPTS,
    "completion-complete": NO_PROMPTS,
    "logging-set-level": "Baton logs to its operator, not to its clients, and does not claim `logging`",
}
