"""The old master is cut from its replicas and the Sentinels, but not from the gateways, which go on writing to it."""

import asyncio
import socket
import time

import directory
import spaces
from processes import Process, Trouble, program
from redis_faults import retired_handle
from resp import Redis, asked
from stage import Stage, until
from verdicts import Verdicts
from witness import Witness, endure

HERE, OLD, OTHERS = "10.77.0.254", "10.77.0.1", "10.77.0.2"
REDIS_PORT, SENTINEL_PORT = 6379, 26379
SPLIT_SECONDS = {False: 12, True: 40}
# Two replicas are gone for at most a second before the master takes no more writes (infra/redis/redis.conf).
FENCED_SECONDS = 5


async def run(stage: Stage, verdicts: Verdicts):
    """A master that lost its replicas is asked on by gateways, while Sentinels have chosen another."""
    url, links = start(stage)
    redis = Redis.of(url)
    stage.start(3, 2, url)
    retired = retired_handle(stage, url)

    async def harm(witness: Witness):
        old = await redis.master()
        if old != (OLD, REDIS_PORT):
            raise Trouble(f"the master is {old} before anything was cut")
        ends = time.monotonic() + SPLIT_SECONDS[stage.is_full]
        spaces.isolate(links, "on")
        await witness.sees_redis_back(old)
        reached = await asked(old, "PING")
        verdicts.held("the old master is there for the gateways all the time", [] if reached == "PONG" else [reached])
        fenced = await until(lambda: is_fenced(old), "the old master takes no more writes")
        verdicts.measured("and takes no more writes", fenced, FENCED_SECONDS)
        await asyncio.sleep(max(0, ends - time.monotonic()))
        spaces.isolate(links, "off")
        await until(lambda: follows(old), "the old master follows the new one", 30)

    await endure(stage, verdicts, redis, stage.gateways, retired, harm)


async def is_fenced(server: tuple) -> bool:
    return isinstance(await asked(server, "SET", "faults:fence", "1", "PX", "1000"), RuntimeError)


async def follows(server: tuple) -> bool:
    role = await asked(server, "ROLE")
    return isinstance(role, list) and role[0] == "slave" and role[3] == "connected"


def start(stage: Stage) -> tuple:
    """Redis and Sentinels behind two links to one bridge; returns what --redis takes, and the links."""
    spaces.bridge(HERE)
    old, others = spaces.space(stage, "old", OLD), spaces.space(stage, "others", OTHERS)
    servers = [(old, OLD, REDIS_PORT), (others, OTHERS, REDIS_PORT), (others, OTHERS, REDIS_PORT + 1)]
    for number, (holder, host, port) in enumerate(servers, 1):
        follows = "" if number == 1 else f"replicaof {OLD} {REDIS_PORT}\n"
        conf = (directory.CONFIGURATION / "redis.conf").read_text() + f"protected-mode no\n{follows}"
        redis = server(stage, holder, f"redis-{number}", "redis-server", "redis.conf", conf, host, port)
        if follows:
            redis.wait_for(lambda: directory.SYNCED in redis.out.read_text(), "a first copy of the master's data")
    ports = [SENTINEL_PORT + number for number in range(directory.SENTINELS)]
    for number, port in enumerate(ports, 1):
        conf = directory.sentinel_conf(OLD, REDIS_PORT)
        server(stage, others, f"sentinel-{number}", "redis-sentinel", "sentinel.conf", conf, OTHERS, port)
    return f"redis+sentinel://{','.join(f'{OTHERS}:{port}' for port in ports)}/baton", ("old", "others")


def server(stage: Stage, holder: Process, name: str, binary: str, file: str, conf: str, host: str, port: int) -> Process:
    folder = stage.folder / name
    folder.mkdir()
    (folder / file).write_text(conf)
    words = [program(binary), folder / file, "--bind", host, "--port", port, "--dir", folder]
    process = stage.run(name, [*spaces.inside(holder), *words])
    process.wait_for(lambda: reaches(host, port), f"accepting connections on {host}:{port}")
    process.port = port
    return process


def reaches(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
