"""Everything that can be refused, as the .NET client sees it: whatever is no success has a JSON-RPC error in
application/json, or the client takes the server for one of the old transport and begins again with a GET."""

import json
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import handshake
from report import expect
from service import Connection, Service, transport_after

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import topology  # noqa: E402

# -32020, -32021: the .NET client gives up for good on these, and they mean headers that a legacy client never sends.
NEVER_LEGACY = (-32020, -32021)
INITIALIZE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": handshake.opening("2025-06-18")}).encode()
LIST = b'{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}'
GUESSES = 60


def check(report, service: Service):
    for what, status, answer in refused(service):
        with report.check(f"{what} is refused with a JSON-RPC error, so nobody falls back to the old transport"):
            is_refusal(answer(), status)

    with report.check("a client that began the old way is told so in JSON, and goes on with POST"):
        opened = service.but(accept="text/event-stream").send("GET")
        is_refusal(opened, 405)
        expect(opened.headers.get("allow") == "POST", opened.headers)
        handshake.connect(service.but(version="2025-06-18"), "2025-06-18")

    with report.check("the environment of a client that was refused everything goes on"):
        with service.environment() as environment:
            service.python(environment, "x = 41")
            for _, _, answer in refused(service):
                answer()
            handshake.refuse_delete(service)
            said = service.python(environment, "print(x + 1)").result["structuredContent"]
            expect(said["stdout"] == "42\n", said)

    with lonely_gateway(service.connection.keys) as lonely:
        check_lonely(report, lonely)


def check_lonely(report, lonely: Service):
    """A gateway without workers, with every sample tool and almost no rate."""
    with report.check("every sample tool keeps the service's schema rules too"):
        tools = handshake.lint(lonely)
        expect({"whoami", "lookup_fact", "compute_primes", "tally"} <= {tool["name"] for tool in tools}, tools)

    with report.check("without a worker a call says so, and initialize is answered all the same"):
        answer = lonely.call("launchShell")
        expect(answer.status == 200 and answer.error["code"] in (50301, 50302), (answer.status, answer.message))
        expect(answer.error["data"]["executed"] == "no" and answer.error["message"], answer.error)
        expect(transport_after(lonely.post(INITIALIZE)) == "streamable", "fell back")

    with report.check("a head too long for the gateway itself is refused"):
        answer = lonely.post(INITIALIZE, [*lonely.headers(INITIALIZE), ("X-Long", "x" * 100_000)])
        expect(answer.status == 431, answer.status)  # the HTTP library's own refusal: it has no body

    with report.check("too many calls are refused with JSON-RPC, and initialize is answered all the same"):
        answers = [lonely.call("lookup_fact", {"topic": "mcp"}) for _ in range(GUESSES)]
        limited = [answer for answer in answers if "error" in answer.message]
        expect(limited and all(answer.error["code"] == 42901 for answer in limited), [answer.message for answer in limited])
        expect(all(answer.status == 200 for answer in limited), "old clients die of another status")
        expect(lonely.post(INITIALIZE).status == 200, "initialize was shed")

    with report.check("guessing keys is refused with JSON-RPC: first 401, then 429"):
        guess = lonely.but(connection=Connection(lonely.connection.target, {"x-ms-apikey": "guess"}))
        answers = [guess.post(INITIALIZE) for _ in range(GUESSES)]
        expect({answer.status for answer in answers} == {401, 429}, {answer.status for answer in answers})
        for answer in answers:
            is_refusal(answer, answer.status)
        expect(lonely.post(INITIALIZE).status == 200, "the right key was shut out with the wrong ones")


def refused(service: Service) -> list:
    """What is refused, the status, and a function that asks."""
    def changed(body=INITIALIZE, path=None, verb="POST", drop=(), **headers):
        sent = [(name, value) for name, value in service.headers(body) if name not in {*headers, *drop}]
        return lambda: service.send(verb, body, [*sent, *headers.items()], path)

    keyless = service.but(connection=Connection(service.connection.target))
    deep = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":' + b"[" * 5000 + b"]" * 5000 + b"}"
    return [
        ("a wrong key", 401, changed(**{"x-ms-apikey": "another"})),
        ("no key", 401, lambda: keyless.post(INITIALIZE)),
        ("another host", 403, changed(Host="elsewhere.example")),
        ("a foreign web page", 403, changed(Origin="https://elsewhere.example")),
        ("/mcp/ with a slash too many", 404, changed(path="/mcp/")),
        ("the root", 404, changed(path="/")),
        ("/sse of the old transport", 404, changed(path="/sse", verb="GET", body=b"")),
        ("a GET", 405, changed(verb="GET", body=b"", Accept="text/event-stream")),
        ("a DELETE", 405, changed(verb="DELETE", body=b"")),
        ("a DELETE with a session", 405, changed(verb="DELETE", body=b"", **{"Mcp-Session-Id": "0123"})),
        ("what is no JSON", 400, changed(body=b'{"jsonrpc":"2.0",')),
        ("no body", 400, changed(body=b"", **{"Content-Type": "application/json", "Content-Length": "0"})),
        ("a batch", 400, changed(body=b"[" + INITIALIZE + b"]")),
        ("an id of null", 400, changed(body=LIST.replace(b'"id":2', b'"id":null'))),
        ("a body of 5 MB", 413, changed(body=b'{"x":"' + b"x" * 5_000_000 + b'"}')),
        ("a head longer than the load balancer takes", 400, changed(**{"X-Long": "x" * 200_000})),
        ("a version of the future", 400, changed(**{"MCP-Protocol-Version": "2030-01-01"})),
        # What a legacy client of that name is still answered at 200, for old SDKs die of other statuses.
        ("text/plain", 200, changed(**{"Content-Type": "text/plain"})),
        ("no media type", 200, changed(drop=("Content-Type",))),
        ("a body nested too deeply", 200, changed(body=deep)),
        ("an unknown method", 200, changed(body=LIST.replace(b"tools/list", b"tools/none"))),
        ("an unknown tool", 200, changed(body=LIST.replace(b'tools/list","params":{}', b'tools/call","params":{"name":"none"}'))),
    ]


def is_refusal(answer, status: int):
    expect(answer.status == status, (answer.status, answer.headers, answer.body[:300]))
    expect(answer.media_type == "application/json", answer.headers)
    expect(transport_after(answer) == "streamable", f"falls back: {answer.body[:300]}")
    expect(answer.error["code"] not in NEVER_LEGACY and answer.error["message"], answer.error)


@contextmanager
def lonely_gateway(keys: dict):
    with tempfile.TemporaryDirectory(prefix="baton-foundry-") as folder:
        words = ["--gateways", "1", "--workers", "0", "--no-nginx", "--sample-tools", "--api-key", keys["x-ms-apikey"]]
        limits = ["--gateway-flag=--tool-rate-per-second=lookup_fact=5"]
        deployment = topology.Deployment(topology.parse([*words, *limits]), Path(folder))
        try:
            deployment.start_cluster()
            yield Service(Connection(deployment.gateways[0], keys))
        finally:
            deployment.stop()
