"""The deployment that a suite plays on: real processes that can be killed, and what their disks say."""

import asyncio
import base64
import json
import random
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "infra/local"))

import directory  # noqa: E402
import spaces  # noqa: E402
from caller import Caller  # noqa: E402
from cluster import Cluster, write_secret  # noqa: E402
from exchange import Broken, Invalid, NotSent, exchange  # noqa: E402
from processes import LISTENING, START_SECONDS, Process, Trouble  # noqa: E402

READY_SECONDS = 2
# Of the environments of one tenant, and of connections from one address: these suites are one tenant at one address.
ROOM = ["--rate-per-second", "0", "--max-environments", "1000", "--max-connections-per-address", "4000"]


class Stage(Cluster):
    """Gateways, workers and Redis, with two principals that know nothing of one another."""

    def __init__(self, folder: Path, options):
        super().__init__(folder, options.baton)
        self.is_full, self.seed = options.full, options.seed
        self.old_baton, self.is_apart = options.old_baton, options.apart
        self.random = random.Random(options.seed)
        self.owner = self.stranger = None
        # Gateways that were told to end: a load balancer sees by /readyz that they want no more.
        self.leaving = set()

    def start(self, gateways: int, workers: int, redis: str, gateway_flags=(), worker_flags=()):
        """All of it, on free ports; returns when each gateway gives environments."""
        owner, stranger = self.principals()
        self.start_gateways(gateways, redis, ["--config", self.folder / "gateway.toml", *ROOM, *gateway_flags])
        self.start_workers(workers, worker_flags)
        self.owner, self.stranger = Caller(self.gateways, owner), Caller(self.gateways, stranger)
        self.wait_until_each_serves(owner)
        if self.is_apart:
            spaces.reserve(self.ports())

    def ports(self) -> set:
        """Where something listens that may be away for a while."""
        listening = {urlsplit(url).port for it in self.processes for _, url in LISTENING.findall(it.out.read_text())}
        return listening | {it.port for it in self.processes if it.port}

    def one_redis(self) -> str:
        return directory.start_one(self)

    def watched_redis(self) -> str:
        return directory.start_watched(self)

    def principals(self) -> tuple:
        """The keys of two tenants; the gateways' file has their hashes."""
        made = [self.printed("key", "api", "--tenant", name, "--subject", "me").split("\n", 1) for name in ("owner", "stranger")]
        write_secret(self.folder / "gateway.toml", "\n".join(table for _, table in made))
        return tuple(key for key, _ in made)

    def process(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    def kind(self, kind: str) -> list:
        return [process for process in self.processes if process.name.startswith(f"{kind}-")]

    def url(self, gateway: Process) -> str:
        return gateway.listening("gateway")

    def kill(self, process: Process):
        """With -9: what it ends with says nothing of it."""
        process.kill()
        process.drains = False

    async def back(self, process: Process):
        """Starts a process again that has ended, and waits until it says that it is ready."""
        process.restart()
        process.drains = True
        role = process.name.split("-")[0]
        ready = process.listening(f"{role}-internal") + "/readyz"
        await until(lambda: answers(ready), f"{process.name} is ready again")
        if role == "gateway":
            self.leaving.discard(self.url(process))

    async def stopped(self, process: Process) -> int:
        """Tells a process to end, and waits until it has, while the load goes on."""
        if process.name.startswith("gateway-"):
            self.leaving.add(self.url(process))
        process.terminate()
        await until(lambda: done(process.child.poll() is not None), f"{process.name} ends", 60)
        return process.child.returncode

    def records(self) -> dict:
        """Environment → worker, for all that lie on the workers' disks and are not gone."""
        found = {}
        for worker in self.kind("worker"):
            for path in (self.folder / worker.name / "environments").glob("*/record.json"):
                try:
                    record = json.loads(path.read_text())
                except FileNotFoundError:  # it ended meanwhile
                    continue
                if record["state"]["is"] != "gone":
                    found[path.parent.name] = worker.name
        return found


def environment_of(handle: str) -> str:
    """The id that a handle names, as the workers write it: bytes 4 to 20 (src/domain/handle.rs)."""
    return base64.urlsafe_b64decode(handle.removeprefix("bte_"))[4:20].hex()


async def answers(url: str) -> bool:
    try:
        return (await exchange("GET", url, {}, b"", READY_SECONDS)).status == 200
    except (NotSent, Broken, Invalid):
        return False


async def done(value) -> bool:
    return value


async def until(condition, what: str, seconds: float = START_SECONDS) -> float:
    """Waits for an awaited condition; returns how long it took."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > seconds:
            raise Trouble(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def each(items, work, at_once: int = 16) -> list:
    """The results of `work` on every item, in order, some at once."""
    places = asyncio.Semaphore(at_once)

    async def one(item):
        async with places:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))
