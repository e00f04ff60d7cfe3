"""How the service begins: initialize in the forms that are known of it, tools/list under its schema rules, and calls
that each come to another replica, with a DELETE where nobody asked for one."""

import itertools
import json

import schema_rules
from report import expect
from service import CURL, JSON_ONLY, Connection, Service

LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")
STRAY_HEADERS = [("Mcp-Session-Id", "0123"), ("Last-Event-ID", "7"), ("MCP-Protocol-Version", "2025-03-26")]


def check(report, service: Service, replicas: list):
    with report.check("a stray DELETE before anything is a 405 and no harm"):
        refuse_delete(service)

    with report.check("initialize as the tutorials have it: a string id and no params"):
        for headers in ([], [("Accept", CURL)]):
            key = list(service.connection.keys.items())
            body = b'{ "jsonrpc": "2.0", "id": "1", "method": "initialize" }'
            common = [("Host", service.url.split("/")[2]), ("Content-Type", "application/json")]
            answer = service.post(body, [*common, *key, *headers, ("Content-Length", str(len(body)))])
            expect(answer.status == 200 and answer.media_type == JSON_ONLY, (answer.status, answer.headers))
            expect(answer.message["id"] == "1" and answer.result["protocolVersion"] == "2025-03-26", answer.message)
            expect(answer.result["capabilities"]["tools"] == {"call": True, "list": True}, answer.result)
            expect("mcp-session-id" not in answer.headers, "there are no sessions")

    for version in LEGACY:
        with report.check(f"initialize, initialized and tools/list as an SDK has them, {version}"):
            connect(service.but(version=version), version)

    with report.check("header names count in any casing and any order"):
        body = b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}'
        for spell in (str.lower, str.upper, str.title):
            for headers in (service.headers(body), service.headers(body)[::-1]):
                answer = service.post(body, [(spell(name), value) for name, value in headers])
                expect(answer.status == 200 and answer.result["tools"], answer.message)

    with report.check("headers of other servers and other times are no errors"):
        for header in STRAY_HEADERS:
            for method, params in [("initialize", opening("2025-11-25")), ("tools/list", {}), ("ping", {})]:
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
                answer = service.post(body, [*service.headers(body), header])
                expect(answer.status == 200 and "result" in answer.message, (header, answer.message))

    with report.check("the connection's target wins over the tool's server_url"):
        service = Service(Connection(service.connection.target, service.connection.keys), "http://127.0.0.1:9/elsewhere")
        expect(service.ask("tools/list").result["tools"], "no tools")

    with report.check("every tool keeps the service's schema rules"):
        for version in (None, *LEGACY):
            lint(service.but(version=version))

    with report.check("the rules themselves refuse what the service refuses"):
        plant()

    with report.check("an environment goes from replica to replica, with a DELETE between any two calls"):
        relay(service.but(accept=JSON_ONLY), replicas)


def refuse_delete(service: Service):
    answer = service.delete()
    expect(answer.status == 405 and answer.error["code"] == -32600, (answer.status, answer.body))


def connect(service: Service, version: str):
    """The opening exchange of an SDK; `service` says which version its later requests name."""
    answer = service.but(version=None).ask("initialize", opening(version), 0)
    expect(answer.status == 200 and answer.result["protocolVersion"] == version, answer.message)
    expect(answer.result["serverInfo"]["name"] and answer.result["capabilities"]["tools"] is not None, answer.result)
    noted = service.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    expect(noted.status == 202 and noted.body == b"", (noted.status, noted.body))
    tools = service.ask("tools/list", {}).result["tools"]
    expect("launchShell" in [tool["name"] for tool in tools], tools)
    return answer.result


def opening(version: str) -> dict:
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "foundry", "version": "1.0"}}


def lint(service: Service):
    tools, cursor = [], None
    for _ in range(schema_rules.MAX_TOOLS):
        page = service.ask("tools/list", {"cursor": cursor} if cursor else {}).result
        tools += page["tools"]
        cursor = page.get("nextCursor")
        if not cursor:
            break
    expect(not cursor, "the list has no end")
    broken = schema_rules.broken_by(tools)
    expect(not broken, "; ".join(broken))
    return tools


def plant():
    schema = {"type": "object", "properties": {"x": {"type": "string", "description": "X."}}}
    good = {"name": "a", "description": "A.", "inputSchema": schema}
    expect(schema_rules.broken_by([good]) == [], schema_rules.broken_by([good]))
    text = json.dumps(good)
    for was, planted in [
        ('"name": "a"', '"name": "a-b"'),
        ('"name": "a"', f'"name": "{"a" * 65}"'),
        ('"type": "string", ', ""),
        ('"type": "string"', '"type": ["string", "null"]'),
        ('"type": "string"', '"anyOf": [{"type": "string"}]'),
        ('"type": "string"', '"$ref": "#/$defs/x"'),
        ('"type": "string"', '"type": "array", "items": {"type": "string", "oneOf": []}'),
        (', "description": "X."', ""),
        ('"description": "A."', '"description": ""'),
    ]:
        expect(was in text and schema_rules.broken_by([json.loads(text.replace(was, planted, 1))]), f"{planted} passed")
    expect(schema_rules.broken_by([{**good, "name": f"a{n}"} for n in range(129)]), "129 tools passed")


def relay(service: Service, replicas: list):
    with service.environment() as environment:
        refuse_delete(service)
        for number in range(6):
            answer = service.python(environment, f"x = {number}" if number == 0 else f"x = x + {number}; print(x)")
            expect(answer.result["isError"] is False and not answer.is_stream, answer.message)
            refuse_delete(service)
        expect(answer.result["structuredContent"]["stdout"] == "15\n", answer.result)
        files = service.shell(environment, "echo kept > note && cat note")
        expect(files.result["structuredContent"]["stdout"] == "kept\n", files.result)
    served = [answer.replica for answer in service.seen]
    expect(set(served) == set(replicas), f"served by {set(served)} of {replicas}")
    expect(len(replicas) < 2 or all(a != b for a, b in itertools.pairwise(served)), served)
