"""Every kind of answer, of both revisions, against the official JSON Schema, the tools' own schemas and the HTTP status
the specification gives it. Speaks plain HTTP: no SDK between us and the bytes.

usage: schema_check.py URL [--key KEY]
"""

import argparse

from jsonschema import Draft202012Validator
from report import Report, expect
from wire import LEGACY, MODERN, PREFIX, Schema, Wire, messages


def flat(schema, where):
    """What Foundry refuses in a tool's arguments."""
    for key in ("anyOf", "oneOf", "allOf"):
        expect(key not in schema, f"{where} has {key}")
    expect(not isinstance(schema.get("type"), list), f"{where} has a list of types")
    for name, child in schema.get("properties", {}).items():
        flat(child, f"{where}.{name}")


def check_tools(tools):
    for tool in tools:
        name = tool["name"]
        expect(name.replace("_", "").isalnum() and name.isascii(), f"name {name!r}")
        expect(tool.get("description"), f"{name} has no description")
        for key in ("inputSchema", "outputSchema"):
            if key in tool:
                Draft202012Validator.check_schema(tool[key])
        flat(tool["inputSchema"], name)


def check_modern(wire, report):
    schema = Schema(MODERN)
    tools = {}

    def result(answer, definition):
        status, headers, body = answer
        *notifications, reply = messages(headers, body)
        expect(status == 200, f"HTTP {status}: {body[:300]}")
        for notification in notifications:
            schema.check("ServerNotification", notification)
        expect(reply.get("id") == "m-1", f"id {reply.get('id')!r}")
        schema.check(definition + "ResultResponse", reply)
        meta = reply["result"].get("_meta", {})
        expect(reply["result"].get("resultType") == "complete", "no resultType")
        expect(PREFIX + "serverInfo" in meta, "no serverInfo in _meta")
        replica = headers.get("Baton-Replica")
        expect(replica and meta.get("dev.baton/servedBy") == replica, f"servedBy of {meta} is not Baton-Replica {replica}")
        return reply["result"]

    def error(answer, status, code, definition="JSONRPCErrorResponse", id="m-1"):
        got, headers, body = answer
        expect(got == status, f"HTTP {got}, not {status}: {body[:300]}")
        [reply] = messages(headers, body)
        schema.check(definition, reply)
        expect(reply["error"]["code"] == code, f"code {reply['error']}")
        expect(reply.get("id") == id, f"id {reply.get('id')!r}")
        return reply["error"]

    def call(name, arguments, **more):
        return wire.modern("tools/call", {"name": name, "arguments": arguments}, **more)

    def tool_result(answer, name, is_error=False):
        got = result(answer, "CallTool")
        expect(got.get("isError", False) is is_error, got)
        if not is_error and "outputSchema" in tools[name]:
            Draft202012Validator(tools[name]["outputSchema"]).validate(got["structuredContent"])
        return got

    with report.check("modern: server/discover"):
        got = result(wire.modern("server/discover"), "Discover")
        expect(got["supportedVersions"] == [MODERN], got["supportedVersions"])
        expect(isinstance(got["ttlMs"], int) and got["cacheScope"] in ("public", "private"), "no ttlMs or cacheScope")

    with report.check("modern: tools/list, with schemas that every client takes"):
        got = result(wire.modern("tools/list"), "ListTools")
        expect(isinstance(got["ttlMs"], int) and got["cacheScope"] in ("public", "private"), "no ttlMs or cacheScope")
        tools.update({tool["name"]: tool for tool in got["tools"]})
        check_tools(got["tools"])

    environment = None
    with report.check("modern: tools/call, and structuredContent as the tools' outputSchema has it"):
        environment = tool_result(call("launchShell", {}), "launchShell")["structuredContent"]["environmentId"]
        python = "runPythonCodeInRemoteEnvironment"
        tool_result(call(python, {"environmentId": environment, "pythonCode": "print(1); 2"}), python)
        shell = "runShellCommandInRemoteEnvironment"
        tool_result(call(shell, {"environmentId": environment, "shellCommand": "true"}), shell)
        tool_result(call("listEnvironments", {}), "listEnvironments")

    with report.check("modern: tools/call as an event stream with progress"):
        code = "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.3)"
        answer = call("runPythonCodeInRemoteEnvironment", {"environmentId": environment, "pythonCode": code},
                      meta={"progressToken": "tok"})
        tool_result(answer, "runPythonCodeInRemoteEnvironment")
        *notifications, _ = messages(answer[1], answer[2])
        expect(notifications, "nothing came before the result")
        expect({n["params"]["progressToken"] for n in notifications} == {"tok"}, "another token")

    with report.check("modern: a client that takes only JSON gets JSON"):
        answer = call("runPythonCodeInRemoteEnvironment", {"environmentId": environment, "pythonCode": "print(1)"},
                      headers={"Accept": "application/json"}, meta={"progressToken": 1})
        expect(answer[1].get_content_type() == "application/json", answer[1].get("Content-Type"))
        tool_result(answer, "runPythonCodeInRemoteEnvironment")

    with report.check("modern: tool errors are results"):
        tool_result(call("runPythonCodeInRemoteEnvironment", {"environmentId": "bte_no", "pythonCode": "1"}), None, True)
        tool_result(call("runPythonCodeInRemoteEnvironment", {"environmentId": environment}), None, True)
        tool_result(call("runPythonCodeInRemoteEnvironment", {"environmentId": environment, "pythonCode": "1/0"}), None, True)
        tool_result(call("runPythonCodeInRemoteEnvironment", {"environmentId": 5, "pythonCode": []}), None, True)

    with report.check("modern: closeEnvironment"):
        tool_result(call("closeEnvironment", {"environmentId": environment}), "closeEnvironment")

    with report.check("modern: an unknown tool is -32602"):
        got, headers, body = call("noSuchTool", {})
        [reply] = messages(headers, body)
        schema.check("JSONRPCErrorResponse", reply)
        expect(reply["error"]["code"] == -32602 and reply["id"] == "m-1", reply)

    with report.check("modern: an unknown or a removed method is 404 -32601"):
        for method in ("unknown/method", "initialize", "ping", "logging/setLevel", "resources/subscribe"):
            error(wire.modern(method), 404, -32601)

    with report.check("modern: what _meta must have is 400 -32602"):
        for key in ("protocolVersion", "clientCapabilities"):
            error(wire.modern("tools/list", meta={PREFIX + key: None}), 400, -32602)

    with report.check("modern: headers and body that differ are 400 -32020"):
        mismatch = (400, -32020, "HeaderMismatchError")
        error(wire.modern("tools/list", headers={"Mcp-Method": "tools/call"}), *mismatch)
        error(wire.modern("tools/list", headers={"Mcp-Method": None}), *mismatch)
        error(wire.modern("tools/list", headers={"MCP-Protocol-Version": LEGACY}), *mismatch)
        error(call("launchShell", {}, headers={"Mcp-Name": "closeEnvironment"}), *mismatch)
        error(call("launchShell", {}, headers={"Mcp-Name": None}), *mismatch)

    with report.check("modern: an unknown version is 400 -32022, with what is supported"):
        answer = wire.modern("tools/list", headers={"MCP-Protocol-Version": "2031-01-01"},
                             meta={PREFIX + "protocolVersion": "2031-01-01"})
        got = error(answer, 400, -32022, "UnsupportedProtocolVersionError")
        expect(got["data"] == {"supported": [MODERN], "requested": "2031-01-01"}, got["data"])

    with report.check("modern: bytes that are no request"):
        plain = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
        error(wire.post(b"{", plain), 400, -32700, id=None)
        error(wire.post(b"[]", plain), 400, -32600, id=None)
        error(wire.post({"jsonrpc": "1.0", "id": "m-1", "method": "tools/list"}, plain), 400, -32600)

    with report.check("modern: a notification is 202 without a body"):
        body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        status, _, content = wire.post(body, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "notifications/cancelled"})
        expect((status, content) == (202, b""), (status, content))

    if wire.key:
        with report.check("modern: a wrong key is 401 with a JSON-RPC error"):
            status, headers, body = wire.modern("tools/list", headers={"x-ms-apikey": "wrong"})
            expect(status == 401, status)
            schema.check("JSONRPCErrorResponse", messages(headers, body)[0])

    with report.check("modern: a foreign Origin is 403"):
        status, headers, body = wire.modern("tools/list", headers={"Origin": "http://evil.example"})
        expect(status == 403, f"HTTP {status}")
        schema.check("JSONRPCErrorResponse", messages(headers, body)[0])


def check_legacy(wire, report):
    schema = Schema(LEGACY)

    def result(answer, definition):
        status, headers, body = answer
        *notifications, reply = messages(headers, body)
        expect(status == 200, f"HTTP {status}: {body[:300]}")
        for notification in notifications:
            schema.check("ServerNotification", notification)
        schema.check("JSONRPCResultResponse", reply)
        schema.check(definition, reply["result"])
        expect(reply["id"] == 7, f"id {reply['id']!r}")
        return reply["result"]

    def error(answer, code):
        status, headers, body = answer
        expect(status == 200, f"HTTP {status}: legacy errors are 200: {body[:300]}")
        [reply] = messages(headers, body)
        schema.check("JSONRPCErrorResponse", reply)
        expect(reply["error"]["code"] == code and reply["id"] == 7, reply)

    for version in ("2025-11-25", "2025-06-18", "2025-03-26"):
        with report.check(f"legacy: initialize {version}"):
            params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "schema-check", "version": "1"}}
            answer = wire.legacy("initialize", params, version=None)
            got = result(answer, "InitializeResult")
            expect(got["protocolVersion"] == version, got["protocolVersion"])
            expect("Mcp-Session-Id" not in answer[1], "a session was issued")

    with report.check("legacy: initialize for an unknown or the modern version offers 2025-11-25"):
        for version in ("2026-07-28", "1999-01-01"):
            params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "schema-check", "version": "1"}}
            got = result(wire.legacy("initialize", params, version=None), "InitializeResult")
            expect(got["protocolVersion"] == LEGACY, got["protocolVersion"])

    with report.check("legacy: ping"):
        result(wire.legacy("ping"), "EmptyResult")

    with report.check("legacy: tools/list"):
        check_tools(result(wire.legacy("tools/list", {}), "ListToolsResult")["tools"])

    with report.check("legacy: tools/call, results and tool errors"):
        got = result(wire.legacy("tools/call", {"name": "launchShell"}), "CallToolResult")
        environment = got["structuredContent"]["environmentId"]
        arguments = {"environmentId": environment, "pythonCode": "print(1)"}
        params = {"name": "runPythonCodeInRemoteEnvironment", "arguments": arguments, "_meta": {"progressToken": 0}}
        result(wire.legacy("tools/call", params), "CallToolResult")
        params = {"name": "runPythonCodeInRemoteEnvironment", "arguments": {"environmentId": "1", "pythonCode": "1"}}
        expect(result(wire.legacy("tools/call", params), "CallToolResult").get("isError") is True, "no tool error")
        params = {"name": "closeEnvironment", "arguments": {"environmentId": environment}}
        result(wire.legacy("tools/call", params), "CallToolResult")

    with report.check("legacy: errors are HTTP 200"):
        error(wire.legacy("unknown/method"), -32601)
        error(wire.legacy("tools/call", {"name": "noSuchTool", "arguments": {}}), -32602)

    with report.check("legacy: GET and DELETE are 405"):
        for method in ("GET", "DELETE"):
            status, _, _ = wire.send(method, None, {"Accept": "text/event-stream"})
            expect(status == 405, f"{method}: HTTP {status}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key")
    options = parser.parse_args()
    wire, report = Wire(options.url, options.key), Report("schema")
    check_modern(wire, report)
    check_legacy(wire, report)
    report.exit()


main()
