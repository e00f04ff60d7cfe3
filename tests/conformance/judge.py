"""What may come back for a request: the official JSON Schema of its revision, and the rules that no schema can say.

Reads tests/fixtures/schema, as the integration tests do (tests/it/schema.rs).
"""

import json
from functools import cache
from pathlib import Path

from jsonschema import validators

SCHEMAS = Path(__file__).resolve().parent.parent / "fixtures/schema"
ANSWERS = json.loads((SCHEMAS / "answers.json").read_text())
MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = "io.modelcontextprotocol/"


class Violation(Exception):
    pass


class Asked:
    """One request, as far as it decides which messages may answer it."""

    def __init__(self, headers: dict, body: bytes):
        message = parsed(body)
        self.id, self.method = message.get("id"), message.get("method", "")
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        self.meta = meta if isinstance(meta, dict) else {}
        version = headers.get("mcp-protocol-version")
        self.revision = version if version in ANSWERS else LEGACY
        if META + "protocolVersion" in self.meta or "mcp-method" in headers:
            self.revision = MODERN
        self.messages = 0  # that came back so far
        self.ended = False

    def admit(self, message: dict):
        """Raises a Violation if this message may not come next."""
        require(not self.ended, "a message follows the response")
        self.messages += 1
        if isinstance(message, dict) and "method" in message:
            self.admit_request_or_notification(message)
        else:
            self.ended = True
            self.admit_response(message)

    def admit_request_or_notification(self, message):
        kind = "Request" if "id" in message else "Notification"
        # Revision 2026-07-28 has no requests to the client (streamable-http, "Receiving Messages").
        require(self.revision != MODERN or kind == "Notification", f"a request to the client: {message['method']}")
        definition = definition_of(self.revision, message["method"], kind)
        require(definition, f"{self.revision} has no {kind.lower()} {message['method']}")
        fit(self.revision, definition, message)
        params = message.get("params", {})
        if message["method"] == "notifications/progress":
            require(same(params["progressToken"], self.meta.get("progressToken")), "the progress token is another's")
        if self.method == "subscriptions/listen":
            acknowledges = message["method"] == "notifications/subscriptions/acknowledged"
            require(acknowledges == (self.messages == 1), "the acknowledgement comes first, and once")
            subscription = params.get("_meta", {}).get(META + "subscriptionId")
            require(same(subscription, self.id), f"subscriptionId is {subscription!r}, not {self.id!r}")

    def admit_response(self, message):
        require(isinstance(message, dict), "the body is no JSON-RPC message")
        require("id" not in message or same(message["id"], self.id), f"the id is {message.get('id')!r}, not {self.id!r}")
        if "error" in message:
            return self.admit_error(message)
        result = message.get("result", {})
        # What `initialize` agrees on is the revision of its own result.
        revision = result.get("protocolVersion", self.revision)
        require(revision in ANSWERS, f"no schema of {revision}")
        kind = result.get("resultType", "task" if "task" in result else "complete")
        name = self.method if kind == "complete" else f"{self.method} {kind}"
        require(name in ANSWERS[revision]["results"], f"{revision} has no result of {name!r}")
        fit(revision, ANSWERS[revision]["responses"]["result"], message)
        fit(revision, ANSWERS[revision]["results"][name], result)

    def admit_error(self, message):
        answers = ANSWERS[self.revision]
        # Until 2025-11-25 the schema could not say that an id was unreadable.
        revision = self.revision if "id" in message else max(self.revision, LEGACY)
        special = answers["errors"].get(str(message["error"].get("code")))
        fit(revision, special or ANSWERS[revision]["responses"]["error"], message)


def same(one, other) -> bool:
    """Equal, with the same JSON type."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def require(holds, why: str):
    if not holds:
        raise Violation(why)


def parsed(body: bytes) -> dict:
    try:
        message = json.loads(body)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


@cache
def document(revision: str) -> dict:
    schema = json.loads((SCHEMAS / f"mcp-{revision}.json").read_text())
    if revision == MODERN:
        schema["$defs"] |= json.loads((SCHEMAS / "tasks.json").read_text())["$defs"]
    return schema


def definitions(revision: str):
    schema = document(revision)
    key = "$defs" if "$defs" in schema else "definitions"
    return key, schema[key]


@cache
def definition_of(revision: str, method: str, kind: str):
    """The definition of a message that names itself by a constant method."""
    for name, definition in definitions(revision)[1].items():
        if name.endswith(kind) and definition.get("properties", {}).get("method", {}).get("const") == method:
            return name
    return None


@cache
def validator(revision: str, definition: str):
    key, known = definitions(revision)
    schema = {"$schema": document(revision)["$schema"], "$ref": f"#/{key}/{definition}", key: known}
    return validators.validator_for(schema)(schema)


def fit(revision: str, definition: str, value):
    errors = sorted(validator(revision, definition).iter_errors(value), key=lambda error: len(error.path))
    if errors:
        place = "/".join(str(step) for step in errors[0].path)
        raise Violation(f"no {definition} of {revision}: {errors[0].message[:300]} at /{place}")
