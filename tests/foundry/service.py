"""What Azure AI Foundry's agent service does on the wire when an agent calls a tool of an MCP server: the project
connection's keys become request headers, its target wins over the tool's own URL, there is no session, and a call of
which no byte came in time is given up. Raw sockets, so that every byte of a request is chosen here."""

import http.client
import json
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

JSON_ONLY = "application/json"
STREAMS = "application/json, text/event-stream"
CURL = "*/*"
BODY_SECONDS = 60


class Aborted(Exception):
    """No byte of a response came in time; the service's agent is told that the tool failed."""


@dataclass
class Connection:
    """A project connection of category RemoteTool with authType CustomKeys."""

    target: str
    keys: dict = field(default_factory=dict)

    @classmethod
    def of(cls, properties: dict) -> "Connection":
        """What the service makes of the properties it is given."""
        connection = cls(properties["target"], properties["credentials"]["keys"])
        if properties != connection.properties():
            raise AssertionError(f"not a connection to an MCP server with keys: {properties}")
        return connection

    def properties(self) -> dict:
        return {
            "authType": "CustomKeys",
            "category": "RemoteTool",
            "target": self.target,
            "credentials": {"keys": self.keys},
        }


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    first_byte_seconds: float
    pieces: list

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def replica(self):
        return self.headers.get("baton-replica")

    @property
    def is_stream(self) -> bool:
        return self.media_type == "text/event-stream"

    @property
    def messages(self) -> list:
        if not self.is_stream:
            return [json.loads(self.body)] if self.body else []
        events = self.body.decode().replace("\r\n", "\n").split("\n\n")
        data = ["\n".join(line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")) for event in events]
        return [json.loads(text) for text in data if text]

    @property
    def message(self) -> dict:
        """The response itself: the last message of a stream, or the only one."""
        return self.messages[-1]

    @property
    def result(self) -> dict:
        if "result" not in self.message:
            raise AssertionError(f"no result: {self.status} {self.message}")
        return self.message["result"]

    @property
    def error(self) -> dict:
        if "error" not in self.message:
            raise AssertionError(f"no error: {self.status} {self.message}")
        return self.message["error"]

    @property
    def text(self) -> str:
        return "".join(block.get("text", "") for block in self.result["content"])


class Service:
    """One agent's MCP tool, as the service runs it. Every request comes on a connection of its own unless it is told
    otherwise, so that a load balancer gives each its own turn."""

    def __init__(self, connection: Connection, server_url=None, accept=STREAMS, version=None, no_byte_seconds=30.0):
        self.connection, self.server_url = connection, server_url
        self.accept, self.version, self.no_byte_seconds = accept, version, no_byte_seconds
        self.next_id, self.seen = 0, []
        self.leaves_after_head = False

    @property
    def url(self) -> str:
        """The connection's target wins over the tool's server_url."""
        return self.connection.target or self.server_url

    def but(self, **changed) -> "Service":
        """The same with some things changed."""
        same = {"accept": self.accept, "version": self.version, "no_byte_seconds": self.no_byte_seconds}
        return Service(changed.pop("connection", self.connection), self.server_url, **{**same, **changed})

    def headers(self, body) -> list:
        """In the order in which they are sent."""
        version = [("MCP-Protocol-Version", self.version)] if self.version else []
        length = [("Content-Type", "application/json; charset=utf-8"), ("Content-Length", str(len(body)))]
        host = urlsplit(self.url).netloc
        return [("Host", host), ("Accept", self.accept), *self.connection.keys.items(), *version, *(length if body else [])]

    def send(self, verb: str, body=b"", headers=None, path=None) -> Answer:
        """One exchange of exactly these bytes."""
        url = urlsplit(self.url)
        lines = [f"{name}: {value}" for name, value in (self.headers(body) if headers is None else headers)]
        head = "\r\n".join([f"{verb} {path or url.path} HTTP/1.1", *lines, "", ""]).encode()
        with socket.create_connection((url.hostname, url.port), timeout=self.no_byte_seconds) as stream:
            answer = self.exchange(stream, verb, head + body)
        self.seen.append(answer)
        return answer

    def exchange(self, stream, verb: str, request: bytes) -> Answer:
        began = time.monotonic()
        try:
            stream.sendall(request)
        except OSError:
            pass  # refused before all of it was read: the answer says why
        response = http.client.HTTPResponse(stream, method=verb)
        try:
            response.begin()
        except TimeoutError as silence:
            raise Aborted(f"no byte within {self.no_byte_seconds} s") from silence
        first_byte = time.monotonic() - began
        if self.leaves_after_head:
            raise Aborted("left after the head")
        stream.settimeout(BODY_SECONDS)
        pieces = []
        while piece := response.read1(65536):
            pieces.append((time.monotonic() - began, piece))
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, b"".join(piece for _, piece in pieces), first_byte, pieces)

    def post(self, message, headers=None) -> Answer:
        body = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        return self.send("POST", body, headers)

    def ask(self, method: str, params=None, id_=None) -> Answer:
        if id_ is None:
            self.next_id += 1
            id_ = self.next_id
        answer = self.post({"jsonrpc": "2.0", "id": id_, "method": method, **({} if params is None else {"params": params})})
        if answer.messages and "id" in answer.message and answer.message["id"] != id_:
            raise AssertionError(f"asked as {id_!r}, answered to {answer.message['id']!r}")
        return answer

    def call(self, tool: str, arguments=None, **more) -> Answer:
        return self.ask("tools/call", {"name": tool, "arguments": arguments or {}, **more})

    def delete(self) -> Answer:
        """What some clients send when they begin, and others when they end: there is no session to delete."""
        return self.send("DELETE")

    @contextmanager
    def leaving_after_head(self):
        """Within it, connections are closed as soon as a response has begun."""
        self.leaves_after_head = True
        yield
        self.leaves_after_head = False

    @contextmanager
    def environment(self):
        launched = self.call("launchShell").result["structuredContent"]["environmentId"]
        try:
            yield launched
        finally:
            self.call("closeEnvironment", {"environmentId": launched})

    def python(self, environment: str, code: str, **more) -> Answer:
        arguments = {"environmentId": environment, "pythonCode": code, **more}
        return self.call("runPythonCodeInRemoteEnvironment", arguments)

    def shell(self, environment: str, command: str, **more) -> Answer:
        arguments = {"environmentId": environment, "shellCommand": command, **more}
        return self.call("runShellCommandInRemoteEnvironment", arguments)


def transport_after(answer: Answer) -> str:
    """Which transport the .NET client uses after this answer to its first request: whatever is no success and no
    JSON-RPC error in application/json makes it take the server for one of the old HTTP+SSE transport."""
    if 200 <= answer.status < 300:
        return "streamable"
    if answer.media_type != "application/json":
        return "sse"
    try:
        message = json.loads(answer.body)
    except ValueError:
        return "sse"
    is_error = isinstance(message, dict) and message.get("jsonrpc") == "2.0" and "method" not in message
    detail = message.get("error") if is_error else None
    known = isinstance(detail, dict) and isinstance(detail.get("code"), int) and isinstance(detail.get("message"), str)
    return "streamable" if known else "sse"
