"""Which scenarios of the official suite say something about Baton's own tools, and why the others do not.

A scenario of the suite that stands in neither table fails the run, so a new one is noticed; so does an excused check
that passes. What is excused here runs with the suite's fixtures behind gateways (behind.py).
"""

FIXTURE_TOOL = "needs a tool of the suite's fixture server"
NO_PROMPTS = "Baton itself has no prompts"
FIXTURE_RESOURCE = "needs a resource of the suite's fixture server; Baton's own are its callers' environments"

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
        "sep-2549-resources-read-caching-hints": FIXTURE_RESOURCE,
    },
    "tools-list": {},
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
    "resources-": FIXTURE_RESOURCE,
    "sep-2164-": FIXTURE_RESOURCE,
    "sep-2640-": FIXTURE_RESOURCE,
    "prompts-": NO_PROMPTS,
    "completion-complete": NO_PROMPTS,
    "logging-set-level": "Baton logs to its operator, not to its clients, and does not claim `logging`",
}
