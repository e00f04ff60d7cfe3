"""One HTTP/1.1 exchange on a connection of its own: nothing in between sends anything again, and what was sent is known."""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECT_SECONDS = 5
MAX_HEAD_BYTES = 1 << 16
MAX_BODY_BYTES = 1 << 22


class NotSent(Exception):
    """No connection came to be, so nothing was begun."""


class Broken(Exception):
    """The request went out and no whole answer came back: whether it had an effect is not known."""


class Invalid(Exception):
    """An answer that the protocol forbids."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    def messages(self) -> list:
        """The JSON-RPC messages: one as JSON, or those of an event stream, the response last."""
        kind = self.headers.get("content-type", "").split(";")[0]
        if kind == "text/event-stream":
            texts = [line[5:] for line in self.body.splitlines() if line.startswith(b"data:")]
        elif kind == "application/json":
            texts = [self.body]
        else:
            raise Invalid(f"Content-Type {kind!r} with status {self.status}")
        try:
            return [json.loads(text) for text in texts]
        except ValueError as error:
            raise Invalid(f"no JSON ({error}): {self.body[:200]!r}") from None


async def exchange(verb: str, url: str, headers: dict, body: bytes, seconds: float) -> Answer:
    """Sends one request and reads its answer to the end; leaving earlier would cancel the call (2026-07-28, cancellation)."""
    target = urlsplit(url)
    try:
        opening = asyncio.open_connection(target.hostname, target.port, limit=MAX_HEAD_BYTES)
        reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
    except (OSError, asyncio.TimeoutError) as error:
        raise NotSent(f"{target.netloc}: {error!r}") from None
    fields = {"Host": target.netloc, "Connection": "close", "Content-Length": len(body), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    try:
        writer.write(f"{verb} {target.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return await asyncio.wait_for(answer(reader), seconds)
    except (OSError, EOFError, asyncio.TimeoutError) as error:
        raise Broken(f"{target.netloc}: {error!r}") from None
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise Invalid(f"{target.netloc}: no HTTP/1.1 answer: {error!r}") from None
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> Answer:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await chunked(reader))
    length = int(headers.get("content-length", 0))
    if length > MAX_BODY_BYTES:
        raise Invalid(f"a body of {length} bytes")
    return Answer(status, headers, await reader.readexactly(length))


async def chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > MAX_BODY_BYTES:
            raise Invalid(f"a body of more than {MAX_BODY_BYTES} bytes")
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body
