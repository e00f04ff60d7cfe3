"""Many kept connections to one gateway, each with one request: answered and at rest, or listening."""

import asyncio

from drive import Request
from processes import Trouble

# Each of these addresses has ports of its own.
SOURCES = [f"127.0.0.{it}" for it in range(2, 10)]
AT_ONCE = 200
PATIENCE = 60


class Crowd:
    """Who is connected, and how many of them were told what is waited for."""

    def __init__(self, url: str, request: Request):
        authority = url.split("/")[2]
        self.host, self.port = authority.split(":")
        headers = {**request.headers, "Host": authority, "Content-Length": len(request.body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.request = f"POST /mcp HTTP/1.1\r\n{lines}\r\n{request.body}".encode()
        self.members, self.told, self.lost, self.everybody = [], set(), 0, asyncio.Event()

    async def gather(self, count: int, until: bytes):
        """Opens so many connections, and waits until each was told that."""
        self.awaited = until
        for begun in range(0, count, AT_ONCE):
            opening = (self.open(number) for number in range(begun, min(begun + AT_ONCE, count)))
            await asyncio.gather(*opening)
            await self.wait_for_all()

    async def open(self, number: int):
        loop, source = asyncio.get_running_loop(), (SOURCES[number % len(SOURCES)], 0)
        await loop.create_connection(lambda: Member(self), self.host, self.port, local_addr=source)

    def forget(self, awaited: bytes):
        """From now on nobody was told what is waited for next."""
        self.awaited, self.told = awaited, set()

    async def wait_for_all(self):
        """Until each was told."""
        self.everybody.clear()
        self.look()
        try:
            await asyncio.wait_for(self.everybody.wait(), PATIENCE)
        except TimeoutError:
            raise Trouble(f"{len(self.told)} of {len(self.members)} were told {self.awaited}, {self.lost} were cut") from None

    def look(self):
        if len(self.told) == len(self.members):
            self.everybody.set()

    def close(self):
        for member in self.members:
            member.transport.abort()


class Member(asyncio.Protocol):
    """One connection of a crowd."""

    def __init__(self, crowd: Crowd):
        self.crowd = crowd

    def connection_made(self, transport):
        self.transport = transport
        self.crowd.members.append(self)
        transport.write(self.crowd.request)

    def data_received(self, data):
        if self.crowd.awaited in data:
            self.crowd.told.add(self)
            self.crowd.look()

    def connection_lost(self, _):
        self.crowd.lost += 1
