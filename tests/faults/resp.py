"""What a suite asks Redis itself: who is master, does it take writes, what does it hold."""

import asyncio

ASK_SECONDS = 1
PROBE = "faults:probe"


class Redis:
    """One server, or several that Sentinels choose among; addresses are (host, port)."""

    def __init__(self, server=None, sentinels=()):
        self.server, self.sentinels = server, list(sentinels)

    @classmethod
    def of(cls, url: str):
        """From what --redis takes."""
        scheme, _, rest = url.partition("://")
        # Whom Baton logs in as is no matter here: the suites ask as Redis's own default user.
        hosts = rest.split("/")[0].rpartition("@")[2].split(",")
        addresses = [(host, int(port)) for host, _, port in (it.partition(":") for it in hosts)]
        return cls(sentinels=addresses) if "sentinel" in scheme else cls(server=addresses[0])

    async def master(self):
        """Whom most Sentinels name; None if there is no majority."""
        if self.server:
            return self.server
        named = [await asked(sentinel, "SENTINEL", "get-master-addr-by-name", "baton") for sentinel in self.sentinels]
        for answer in named:
            if isinstance(answer, list) and named.count(answer) * 2 > len(named):
                return answer[0], int(answer[1])
        return None

    async def takes_writes(self, other_than=None) -> bool:
        master = await self.master()
        return master is not None and master != other_than and await asked(master, "SET", PROBE, "1", "PX", "1000") == "OK"

    async def environments(self) -> dict:
        """Environment → worker, as the directory has it; empty if nobody answers."""
        master = await self.master()
        keys = await asked(master, "KEYS", "baton:{t:*}:env:*") if master else None
        if not isinstance(keys, list):
            return {}
        workers = [await asked(master, "HGET", key, "worker") for key in keys]
        return {key.rpartition(":")[2]: worker for key, worker in zip(keys, workers)}


async def asked(address: tuple, *words: str):
    """The answer to one command; None if there is none, an Exception if it is an error."""
    try:
        return await asyncio.wait_for(ask(address, words), ASK_SECONDS)
    except (OSError, EOFError, asyncio.TimeoutError):
        return None


async def ask(address: tuple, words: tuple):
    reader, writer = await asyncio.open_connection(*address)
    try:
        parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        writer.write(f"*{len(words)}\r\n{parts}".encode())
        return await value(reader)
    finally:
        writer.close()


async def value(reader):
    line = (await reader.readline()).decode().rstrip()
    if not line:
        raise EOFError
    kind, rest = line[0], line[1:]
    if kind == "-":
        return RuntimeError(rest)
    if kind == "$":
        return None if rest == "-1" else (await reader.readexactly(int(rest) + 2))[:-2].decode()
    if kind == "*":
        return None if rest == "-1" else [await value(reader) for _ in range(int(rest))]
    return int(rest) if kind == ":" else rest


def plants() -> dict:
    """Whether each form of what --redis takes is read as the addresses in it."""
    def of(url: str) -> tuple:
        redis = Redis.of(url)
        return redis.server, redis.sentinels

    watched = (None, [("10.0.0.1", 1), ("10.0.0.2", 2)])
    return {
        "one server": of("redis://10.0.0.1:1") == (("10.0.0.1", 1), []),
        "one server with a user": of("redis://sentinel:a@b@10.0.0.1:1/0") == (("10.0.0.1", 1), []),
        "Sentinels": of("redis+sentinel://10.0.0.1:1,10.0.0.2:2/baton") == watched,
        "Sentinels with a user": of("redis+sentinel://baton:baton@10.0.0.1:1,10.0.0.2:2/baton") == watched,
    }
