#!/usr/bin/env python3
"""Stands between a client and one or more gateways: sends requests to them in turn, streams the answers as they come,
and holds every message to the schema of the revision that was asked in (judge.py).

usage: witness.py --violations FILE URL [URL…]

Prints `listening URL`. Each violation is a line of JSON in FILE: what was asked, what came, what is wrong with it. Host
and Origin go through as they came, so a client's test of them tests the gateway.
"""

import argparse
import asyncio
import itertools
import json
import socket
import sys

import httpx2
import uvicorn

from judge import Asked, Violation, require

HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade"}
STOP_SECONDS = 1
# Longer than any scenario: what hangs is the suite's to say.
SILENCE_SECONDS = 120


class Witness:
    """The ASGI application."""

    def __init__(self, gateways: list, violations):
        self.turns, self.violations = itertools.cycle(gateways), violations
        limits = httpx2.Limits(max_connections=None)
        self.http = httpx2.AsyncClient(timeout=SILENCE_SECONDS, limits=limits, trust_env=False)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body = await whole(receive)
        passing = asyncio.create_task(self.forward(scope, body, send))
        leaving = asyncio.create_task(left(receive))
        # A client that leaves has to be seen leaving by the gateway.
        await asyncio.wait([passing, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not passing.done():
            passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)

    async def forward(self, scope, body, send):
        asked = Asked({name.decode(): value.decode("latin-1") for name, value in scope["headers"]}, body)
        headers = [(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP]
        request = httpx2.Request(scope["method"], next(self.turns), headers=headers, content=body)
        answer = await self.http.send(request, stream=True)
        try:
            headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            reader = Reader(answer)
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self.look(scope, asked, reader, reader.feed(chunk))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            self.look(scope, asked, reader, reader.end())
        finally:
            await answer.aclose()

    def look(self, scope, asked, reader, contents: list):
        if scope["method"] != "POST":
            return
        for content in contents:
            try:
                reader.check()
                asked.admit(json.loads(content))
            except (Violation, ValueError) as violation:
                known = {"revision": asked.revision, "method": asked.method, "status": reader.status}
                line = {**known, "violation": str(violation), "message": content}
                print(json.dumps(line), file=self.violations, flush=True)


class Reader:
    """The messages of one answer, taken from its bytes as they come."""

    def __init__(self, answer):
        self.status, self.waiting, self.headers = answer.status_code, b"", answer.headers
        self.kind = answer.headers.get("content-type", "").split(";")[0].strip()
        self.ids = False

    def feed(self, chunk: bytes) -> list:
        self.waiting += chunk
        if self.kind != "text/event-stream":
            return []
        *events, self.waiting = self.waiting.replace(b"\r\n", b"\n").split(b"\n\n")
        return [message for event in events if (message := self.message(event.decode()))]

    def message(self, event: str) -> str:
        lines = event.split("\n")
        self.ids = self.ids or any(line.startswith("id:") for line in lines)
        return "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))

    def end(self) -> list:
        if self.kind == "text/event-stream":
            return [self.waiting.decode()] if self.waiting.strip() else []
        return [self.waiting.decode()] if self.waiting else []

    def check(self):
        """What the transport says of an answer from a server without sessions."""
        require(self.kind in ("application/json", "text/event-stream"), f"Content-Type is {self.kind!r}")
        require("mcp-session-id" not in self.headers, "a session was issued")
        require(not self.ids, "an event carries an id, but no stream can be resumed")


async def whole(receive) -> bytes:
    body = b""
    while (part := await receive())["type"] == "http.request":
        body += part["body"]
        if not part["more_body"]:
            break
    return body


async def left(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


class Announcing(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(f"listening http://127.0.0.1:{sockets[0].getsockname()[1]}/mcp", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--violations", required=True)
    parser.add_argument("urls", nargs="+")
    options = parser.parse_args()
    with open(options.violations, "w") as violations:
        witness = Witness(options.urls, violations)
        config = uvicorn.Config(
            witness, log_level="warning", lifespan="off", timeout_graceful_shutdown=STOP_SECONDS, date_header=False,
            server_header=False,
        )
        Announcing(config).run([socket.create_server(("127.0.0.1", 0))])


if __name__ == "__main__":
    sys.exit(main())
