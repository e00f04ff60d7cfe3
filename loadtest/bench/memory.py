"""What waiting costs: a gateway at rest, kept connections, streams that listen; and how it begins."""

import asyncio
import resource
import signal
import subprocess
import time

from crowd import Crowd
from drive import Accounting, Request
from goals import Goal
from part import Part, configuration
from processes import program

CONNECTIONS, STREAMS = 5_000, 10_000
FILES_BESIDE = 500  # of this program and of the gateway, besides one for each connection
REST_SECONDS = 1
IDLE, CONNECTION, STREAM = "gateway, idle", "kept connection, at rest", "kept connection that listens"
START, BINARY, TOLD = "start to listening", "binary, stripped", "a change told to all who listen"
# Nobody is there: that it is configured is the change.
NEWCOMER = {"newcomer": "http://127.0.0.1:1/mcp"}


def listen() -> Request:
    return Request("subscriptions/listen", notifications={"toolsListChanged": True})


class Memory(Part):
    """A new gateway for each figure: what memory was given back once is not asked for again."""

    def start(self, samples):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = hard - FILES_BESIDE
        self.connections, self.streams = min(CONNECTIONS, most), min(STREAMS, most)
        stripped = self.folder / "stripped"
        subprocess.run([program("strip"), "-o", stripped, self.baton], check=True)
        samples.add(BINARY, "MB", stripped.stat().st_size / 1e6)
        self.gateway({}).stop()  # makes the keys, and Redis

    def round(self, samples):
        asyncio.run(self.rest(samples))
        asyncio.run(self.listen(samples))

    def begin(self, samples) -> Accounting:
        """A gateway that has just begun; its listener is told of once it is bound."""
        began = time.time()
        gateway = self.gateway({})
        samples.add(START, "ms", 1e3 * (gateway.out.stat().st_mtime - began))
        time.sleep(REST_SECONDS)
        accounting = Accounting(gateway)
        samples.add(IDLE, "MB", accounting.resident_mb())
        return accounting

    async def rest(self, samples):
        gateway, crowd = self.begin(samples), Crowd(self.gateways[-1], Request("server/discover"))
        await self.weigh(samples, CONNECTION, gateway, crowd, self.connections, b'"result"')
        self.end(gateway, crowd)

    async def listen(self, samples):
        gateway, crowd = self.begin(samples), Crowd(self.gateways[-1], listen())
        await self.weigh(samples, STREAM, gateway, crowd, self.streams, b"notifications/subscriptions/acknowledged")
        crowd.forget(b"notifications/tools/list_changed")
        self.config.write_text(configuration(NEWCOMER))
        began = time.perf_counter()
        gateway.process.child.send_signal(signal.SIGHUP)
        await crowd.wait_for_all()
        samples.add(TOLD, "ms", 1e3 * (time.perf_counter() - began))
        self.end(gateway, crowd)

    async def weigh(self, samples, name: str, gateway: Accounting, crowd: Crowd, count: int, told: bytes):
        before = gateway.resident_mb()
        await crowd.gather(count, told)
        samples.add(f"{name}, each of {count}", "kB", 1024 * (gateway.resident_mb() - before) / count)

    def end(self, gateway: Accounting, crowd: Crowd):
        crowd.close()
        gateway.process.stop()

    def goals(self, figures) -> list:
        connection, stream = (f"{name}, each of {count}" for name, count in [(CONNECTION, self.connections), (STREAM, self.streams)])
        return [
            Goal(f"{IDLE}, MB", figures.median(IDLE), at_most=15),
            Goal(f"{connection}, kB", figures.median(connection), at_most=12),
            Goal(f"{stream}, kB", figures.median(stream), at_most=12 + 8),
            Goal(f"{TOLD}, ms", figures.median(TOLD), at_most=1000),
            Goal(f"{START}, ms", figures.median(START), at_most=50),
            Goal(f"{BINARY}, MB", figures.median(BINARY), at_most=20),
        ]
