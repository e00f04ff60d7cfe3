"""Redis goes away, forgets everything, or is another one: nobody who has an environment notices, and nobody gets in."""

import asyncio
import time

from caller import SHELL
from cluster import call, launched, write_secret
from processes import accepts
from resp import Redis, asked
from stage import ROOM, Stage, done, until
from verdicts import Verdicts
from witness import Witness, endure

OUTAGE_SECONDS = {False: 10, True: 60}
FAILOVER_SECONDS = 20
# Workers report to a replica that they know every two seconds.
COLD_SECONDS = 5


async def away(stage: Stage, verdicts: Verdicts):
    """Redis is killed and stays away; a gateway that starts meanwhile serves too."""
    redis = stage.one_redis()
    stage.start(3, 2, redis)
    retired = retired_handle(stage, redis)
    server, cold = stage.process("redis"), stage.kind("gateway")[-1]

    async def harm(witness: Witness) -> float:
        stage.kill(server)
        ends = time.monotonic() + OUTAGE_SECONDS[stage.is_full]
        stage.kill(cold)
        await stage.back(cold)
        took = await until(lambda: serves_all(witness, stage.url(cold)), "a gateway that started without Redis serves")
        verdicts.measured("a gateway that started without Redis serves every environment", took, COLD_SECONDS)
        await asyncio.sleep(max(0, ends - time.monotonic()))
        server.restart()
        return await back(Redis.of(redis))

    await endure(stage, verdicts, Redis.of(redis), stage.gateways[:2], retired, harm)


async def flushall(stage: Stage, verdicts: Verdicts):
    """Redis forgets everything at once."""
    redis = stage.one_redis()
    stage.start(3, 2, redis)
    retired = retired_handle(stage, redis)

    async def harm(_) -> float:
        answer = await asked(await Redis.of(redis).master(), "FLUSHALL")
        verdicts.held("Redis forgot everything", [] if answer == "OK" else [answer])
        return time.monotonic()

    await endure(stage, verdicts, Redis.of(redis), stage.gateways, retired, harm)


async def failover(stage: Stage, verdicts: Verdicts):
    """The master is killed, a replica takes its place, and the old master comes back as a replica."""
    url = stage.watched_redis()
    stage.start(3, 2, url)
    retired, redis = retired_handle(stage, url), Redis.of(url)

    async def harm(_) -> float:
        old = await redis.master()
        server = next(it for it in stage.kind("redis") if it.port == old[1])
        stage.kill(server)
        returned = await back(redis, old)
        server.restart()
        await until(lambda: done(accepts(server.port)), "the old master accepts connections again")
        return returned

    await endure(stage, verdicts, redis, stage.gateways, retired, harm)


async def back(redis: Redis, other_than=None) -> float:
    """The moment from which Redis takes writes."""
    await until(lambda: redis.takes_writes(other_than), "Redis takes writes", FAILOVER_SECONDS)
    return time.monotonic()


async def serves_all(witness: Witness, gateway: str) -> bool:
    before = len(witness.unserved)
    for number in range(len(witness.handles)):
        await witness.call(number, False, gateway)
    is_served = len(witness.unserved) == before
    del witness.unserved[before:]
    return is_served


def retired_handle(stage: Stage, redis: str) -> str:
    """A handle of an environment that exists, sealed by a key that the gateways no longer have."""
    key = stage.folder / "retired.key"
    write_secret(key, stage.printed("key", "signing"))
    flags = ["--signing-key-file", key, "--worker-root-key-file", stage.key("worker-root"), "--config", stage.folder / "gateway.toml", *ROOM]
    gateway = stage.run_baton("retired", "gateway", ["--redis", redis, "--replica-id", "retired", *flags])
    url = gateway.listening("gateway")
    handle = gateway.wait_for(lambda: launched(url, stage.owner.key), "an environment")
    call(url, stage.owner.key, SHELL, {"environmentId": handle, "shellCommand": "echo secret > kept"})
    stage.kill(gateway)
    return handle
