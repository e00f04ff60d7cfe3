"""Plain HTTP and the official JSON Schema: what schema_check.py needs to look at the bytes without an SDK in between."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from jsonschema import Draft202012Validator
from report import expect

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures/schema"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
PREFIX = "io.modelcontextprotocol/"
CALLS = {"tools/call", "prompts/get", "resources/read"}


class Wire:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def post(self, body, headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        accept = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        return self.send("POST", data, {**accept, **headers})

    def send(self, verb, data, headers):
        """Status, headers and body, whatever the status; a header given as None is left out."""
        if self.key:
            headers = {"x-ms-apikey": self.key, **headers}
        headers = {name: value for name, value in headers.items() if value is not None}
        request = urllib.request.Request(self.url, data, headers, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read() if verb == "POST" else b""
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def modern(self, method, params=None, headers=None, meta=None):
        """Headers mirrored from the body; `headers` and `meta` then break what a case wants broken."""
        params = dict(params or {})
        params["_meta"] = {
            PREFIX + "protocolVersion": MODERN,
            PREFIX + "clientInfo": {"name": "schema-check", "version": "1"},
            PREFIX + "clientCapabilities": {},
            **(meta or {}),
        }
        params["_meta"] = {key: value for key, value in params["_meta"].items() if value is not None}
        mirrored = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if method in CALLS:
            mirrored["Mcp-Name"] = params.get("name") or params.get("uri")
        body = {"jsonrpc": "2.0", "id": "m-1", "method": method, "params": params}
        return self.post(body, {**mirrored, **(headers or {})})

    def legacy(self, method, params=None, version=LEGACY):
        body = {"jsonrpc": "2.0", "id": 7, "method": method, **({"params": params} if params is not None else {})}
        return self.post(body, {"MCP-Protocol-Version": version} if version else {})


class Schema:
    def __init__(self, revision):
        self.document = json.loads((FIXTURES / f"mcp-{revision}.json").read_text())

    def check(self, definition, value):
        validator = Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": self.document["$defs"]})
        errors = sorted(validator.iter_errors(value), key=lambda error: len(error.path))
        expect(not errors, f"{definition}: {errors and errors[0].message} at {errors and list(errors[0].path)}")


def messages(headers, body):
    """The JSON-RPC messages of an answer: one as JSON, or those of an event stream, the response last."""
    if headers.get_content_type() == "text/event-stream":
        events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
        expect("\nid:" not in "\n" + body.decode(), "a modern event must not carry an id")
        return [json.loads(event) for event in events]
    expect(headers.get_content_type() == "application/json", f"Content-Type {headers.get('Content-Type')}")
    return [json.loads(body)]
