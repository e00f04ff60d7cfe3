"""A client of 2026-07-28 that goes on when replicas die: a keyed call is sent again until it has its answer."""

import asyncio
import itertools
import json
import random
import time
from dataclasses import dataclass

from exchange import Broken, Invalid, NotSent, exchange

REVISION = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
PYTHON, SHELL = "runPythonCodeInRemoteEnvironment", "runShellCommandInRemoteEnvironment"
# Longer than any call here runs: a client that leaves cancels.
ANSWER_SECONDS = 90
# How long a keyed call is worth sending again.
KEYED_SECONDS = 75
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
OUTCOME_UNKNOWN = 50201
# A keyed call whose worker was lost says "not known" for ever; this often it is asked again.
MAX_UNKNOWN = 3


@dataclass(frozen=True)
class Reply:
    """One JSON-RPC response, read as README's table of errors says."""

    status: int
    replica: str
    message: dict

    @property
    def result(self) -> dict:
        return self.message.get("result") or {}

    @property
    def error(self) -> dict:
        return self.message.get("error") or {}

    @property
    def data(self) -> dict:
        return self.error.get("data") or self.result.get("structuredContent") or {}

    @property
    def is_ok(self) -> bool:
        return "result" in self.message and not self.result.get("isError")

    @property
    def code(self):
        return self.error.get("code") or self.data.get("code")

    @property
    def is_replayed(self) -> bool:
        return bool(self.data.get("replayed"))

    @property
    def notice(self):
        """Why the interpreter was restarted, if this answer says so."""
        restarted = (self.data.get("environment") or {}).get("restarted")
        return None if restarted is None or self.is_replayed else restarted.get("reason")

    @property
    def pause(self):
        """After how many seconds to try again; None if nothing is to be gained by it."""
        return self.data["retryAfterMs"] / 1000 if self.data.get("retryable") else None

    @property
    def has_not_run(self) -> bool:
        return self.data.get("executed") == "no"

    @property
    def stdout(self) -> str:
        return self.data.get("stdout", "")

    def __str__(self):
        text = self.error.get("message") or " ".join(part.get("text", "") for part in self.result.get("content", []))
        return f"{self.replica} {self.status} {self.code or ''} {text[:160]!r} executed={self.data.get('executed')}"


@dataclass
class Outcome:
    """What came of a keyed call, however often it was sent."""

    key: str
    reply: Reply = None
    trouble: str = ""
    attempts: int = 0
    unknown: int = 0
    notices: int = 0
    seconds: float = 0.0
    replicas: tuple = ()

    @property
    def is_acknowledged(self) -> bool:
        return self.reply is not None and self.reply.is_ok

    def takes(self, reply: Reply) -> bool:
        """Takes in an answer; true if it is the last word."""
        self.reply, self.trouble = reply, str(reply)
        self.replicas += (reply.replica,)
        self.notices += reply.notice is not None
        if reply.code == OUTCOME_UNKNOWN:
            self.unknown += 1
            return reply.is_replayed or self.unknown >= MAX_UNKNOWN
        return reply.is_ok or reply.pause is None


class Caller:
    """One principal in front of several replicas, without a load balancer: it is the one that goes round."""

    def __init__(self, gateways: list, key: str):
        self.gateways, self.key = list(gateways), key
        self.turns, self.ids = itertools.count(), itertools.count(1)
        self.answers, self.invalid = 0, []

    async def once(self, tool: str, arguments: dict, gateway: str = None, key: str = None) -> Reply:
        """Sends a call once; with `key` it is a keyed one."""
        number = next(self.ids)
        meta = {
            PREFIX + "protocolVersion": REVISION,
            PREFIX + "clientInfo": {"name": "faults", "version": "1"},
            PREFIX + "clientCapabilities": {},
            **({"dev.baton/idempotencyKey": key} if key else {}),
        }
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
            "x-ms-apikey": self.key,
        }
        url = gateway or self.next_gateway()
        try:
            answer = await exchange("POST", url, headers, json.dumps(body).encode(), ANSWER_SECONDS)
            self.answers += 1
            return Reply(answer.status, answer.headers.get("baton-replica", url), response(answer, number))
        except Invalid as fault:
            self.invalid.append(str(fault))
            raise

    def next_gateway(self) -> str:
        return self.gateways[next(self.turns) % len(self.gateways)]

    async def keyed(self, tool: str, arguments: dict, key: str, gateway: str = None) -> Outcome:
        """Sends a keyed call until it has its last word, each time through the next replica."""
        began, outcome = time.monotonic(), Outcome(key)
        first = self.gateways.index(gateway or self.next_gateway())
        while True:
            pause = backoff(outcome.attempts)
            chosen = self.gateways[(first + outcome.attempts) % len(self.gateways)]
            outcome.attempts += 1
            try:
                reply = await self.once(tool, arguments, chosen, key)
            except (NotSent, Broken, Invalid) as trouble:
                outcome.trouble = str(trouble)
            else:
                if outcome.takes(reply):
                    break
                pause = max(pause, reply.pause or 0)
            if time.monotonic() + pause - began > KEYED_SECONDS:
                break
            await asyncio.sleep(pause)
        outcome.seconds = time.monotonic() - began
        return outcome

    async def keyless(self, tool: str, arguments: dict) -> Reply:
        """Sends a call until something came of it, but never once more if it may have run."""
        began = time.monotonic()
        for attempt in itertools.count():
            pause = backoff(attempt)
            try:
                reply = await self.once(tool, arguments)
            except NotSent:
                reply = None
            if reply is not None:
                if not reply.has_not_run or reply.pause is None:
                    return reply
                pause = max(pause, reply.pause)
            if time.monotonic() + pause - began > KEYED_SECONDS:
                raise TimeoutError(f"{tool} was not begun within {KEYED_SECONDS} s: {reply}")
            await asyncio.sleep(pause)

    async def launch(self) -> str:
        """A new environment's handle. Asking again after a broken answer may leave a spare one, which idles out."""
        began = time.monotonic()
        while True:
            try:
                reply = await self.once("launchShell", {})
                if reply.is_ok:
                    return reply.data["environmentId"]
                trouble = str(reply)
            except (NotSent, Broken) as error:
                trouble = str(error)
            if time.monotonic() - began > KEYED_SECONDS:
                raise TimeoutError(f"no environment within {KEYED_SECONDS} s: {trouble}")
            await asyncio.sleep(LONGEST_PAUSE)


def backoff(attempts: int) -> float:
    """Doubles up to a second, with jitter, so that those who failed together do not come back together."""
    return min(FIRST_PAUSE * 2 ** min(attempts, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def response(answer, number: int) -> dict:
    """The one response of an answer, held to JSON-RPC 2.0."""
    messages = answer.messages()
    if not messages:
        raise Invalid(f"an answer without a message, status {answer.status}")
    message = messages[-1]
    if any("id" in earlier for earlier in messages[:-1]):
        raise Invalid(f"more than one response: {messages}")
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or ("result" in message) == ("error" in message):
        raise Invalid(f"no JSON-RPC response: {message}")
    if "error" in message and not (
        isinstance(message["error"].get("code"), int) and isinstance(message["error"].get("message"), str)
    ):
        raise Invalid(f"no JSON-RPC error: {message}")
    # A body that was refused unread has no id to give back.
    if message.get("id", number) != number or ("result" in message and "id" not in message):
        raise Invalid(f"an answer to {number} with the id {message.get('id')}")
    return message
